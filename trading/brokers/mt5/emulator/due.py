"""Say what falls due on its own, without a tick: the expiry of orders. At equal times it comes before the tick."""

from collections.abc import Iterable
from dataclasses import dataclass

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.matching import Execution
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.scene import Scene


@dataclass(frozen=True, slots=True)
class Expiry:
    """An order that waits no longer than this."""

    time_ms: int
    login: int
    ticket: int


Event = Expiry | Tick


def between(books: Iterable[AccountBooks], after_us: int, until_us: int) -> list[Expiry]:
    """Return what falls due after one instant, up to another."""
    found = [
        Expiry(order.expires_us // 1_000, order.login, order.ticket)
        for each in books
        for order in each.working.values()
        if order.expires_us and after_us < order.expires_us <= until_us
    ]
    return sorted(found, key=order_of)


def order_of(event: Event) -> tuple[int, int, str]:
    """Return the key that puts events into the order in which they happen."""
    if isinstance(event, Tick):
        return (event.time_ms, 1, event.symbol)
    return (event.time_ms, 0, f"{event.login:020}{event.ticket:020}")


def plan(event: Expiry, books: AccountBooks, scene: Scene) -> Plan:
    """Return what is done: an order that still waits expires."""
    order = books.working.get(event.ticket)
    if order is None or order.expires_us > scene.now_us:
        return Plan()
    execution = Execution(scene, books.profile, scene.market.instruments[order.symbol])
    return Plan(order=execution.finished(order, mt5.ORDER_STATE_EXPIRED), gone=(order.ticket,))
