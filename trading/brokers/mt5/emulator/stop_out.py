"""Take an account out of trades that its equity no longer carries: orders that bind margin first, then the worst."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from trading.brokers.mt5.emulator import amounts, triggers, valuation
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.matching import Execution
from trading.brokers.mt5.emulator.profiles import AccountProfile
from trading.brokers.mt5.emulator.rates import NoRateError
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.scene import Scene
from trading.brokers.mt5.emulator.valuation import Figures


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a stop-out does, and the tick that it is done at."""

    plan: Plan
    tick: Tick | None = None


def step(scene: Scene, books: AccountBooks, tried: set[int], is_open: Callable[[Instrument], bool]) -> Step | None:
    """Return the next thing that is done, or None if nothing need or can be done; `tried` collects what was."""
    if not books.positions:
        return None
    try:
        sums = scene.figures(books)
    except NoRateError:
        return None
    if not is_due(books.profile, sums):
        return None
    for order in books.working.values():
        instrument = scene.market.instruments[order.symbol]
        if instrument.orders_hold_margin:
            finished = Execution(scene, books.profile, instrument).finished(order, mt5.ORDER_STATE_CANCELED)
            tried.add(order.ticket)
            return Step(Plan(order=finished, gone=(order.ticket,)))
    return _close_worst(scene, books, tried, is_open, comment=f"[so {sums.level:.2f}%]")


def is_due(profile: AccountProfile, sums: Figures) -> bool:
    """Say whether the equity is so low that positions are closed."""
    if not sums.margin:
        return False
    level = Decimal(profile.stop_out)
    if profile.stop_out_mode == mt5.ACCOUNT_STOPOUT_MODE_MONEY:
        return sums.free <= level * amounts.UNIT
    return 100 * sums.equity <= level * sums.margin


def shortfall(books: AccountBooks) -> int:
    """Return what the broker gives to an account that has nothing left but debt, if it does that."""
    is_ruined = not books.positions and books.balance + books.credit < 0
    return -books.balance - books.credit if is_ruined and books.profile.corrects_negative_balance else 0


def _close_worst(
    scene: Scene, books: AccountBooks, tried: set[int], is_open: Callable[[Instrument], bool], *, comment: str
) -> Step | None:
    """Return the closing of the worst position that can be closed now."""

    def result(ticket: int) -> int:
        row = books.positions[ticket]
        return valuation.floating(books.profile, row, scene.market) + row.swap

    for ticket in sorted(books.positions.keys() - tried, key=lambda each: (result(each), each)):
        position = books.positions[ticket]
        tick = scene.market.quotes.at(position.symbol, scene.market.time_ms)
        if tick is None or not is_open(scene.market.instruments[position.symbol]):
            continue
        tried.add(ticket)
        plan = triggers.close(scene, books, position, tick, reason=mt5.ORDER_REASON_SO, comment=comment, limit=None)
        if plan.deals:
            return Step(plan, tick)
    return None
