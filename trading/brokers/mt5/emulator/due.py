"""Say what falls due on its own, without a tick. At equal times it comes before the tick."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator import expiry, overnight
from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.matching import Execution
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.scene import Scene
from trading.brokers.mt5.emulator.zones import ServerZone


@dataclass(frozen=True, slots=True)
class Due:
    """An instant at which an order expires, or (with no ticket) at which the server's day ends."""

    time_ms: int
    login: int
    ticket: int = 0


Event = Due | Tick


def between(books: Collection[AccountBooks], zone: ServerZone, after_us: int, until_us: int) -> list[Due]:
    """Return what falls due after one instant, up to another."""
    found = [
        Due(order.expires_us // 1_000, order.login, order.ticket)
        for each in books
        for order in each.working.values()
        if order.expires_us and after_us < order.expires_us <= until_us
    ]
    concerned = [each.profile.login for each in books if each.positions or each.working]
    midnight_us = expiry.midnight_after_us(after_us, zone)
    while concerned and midnight_us <= until_us:
        found += [Due(midnight_us // 1_000, login) for login in concerned]
        midnight_us = expiry.midnight_after_us(midnight_us, zone)
    return sorted(found, key=order_of)


def sends(late: Iterable[Sequence[object]], until_us: int) -> list[int]:
    """Return the instants up to another at which accepted requests are executed. Takes: rows that begin with it."""
    return sorted(instant_us for each in late if (instant_us := int(str(each[0]))) <= until_us)


def order_of(event: Event) -> tuple[int, int, str]:
    """Return the key that puts events into the order in which they happen."""
    if isinstance(event, Tick):
        return (event.time_ms, 1, event.symbol)
    return (event.time_ms, 0, f"{event.login:020}{event.ticket:020}")


def plan(event: Due, books: AccountBooks, scene: Scene) -> Plan:
    """Return what is done: the day ends, or an order that still waits expires."""
    if not event.ticket:
        return overnight.plan(books, scene)
    order = books.working.get(event.ticket)
    if order is None or order.expires_us > scene.now_us:
        return Plan()
    execution = Execution(scene, books.profile, scene.market.instruments[order.symbol])
    return Plan(order=execution.finished(order, mt5.ORDER_STATE_EXPIRED), gone=(order.ticket,))
