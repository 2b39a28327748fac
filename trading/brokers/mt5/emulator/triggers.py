"""Say what a tick does to an account, one thing at a time: stops of positions first, then pending orders.

Within each kind the oldest goes first. A plan is made on the books as they are; the next one after it is carried out.
"""

from collections.abc import Iterator

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator import orders, pending
from trading.brokers.mt5.emulator.books import AccountBooks, Plan
from trading.brokers.mt5.emulator.case import LIMITS, STOP_LIMITS
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.judging import RESTS
from trading.brokers.mt5.emulator.matching import Execution
from trading.brokers.mt5.emulator.rates import NoRateError
from trading.brokers.mt5.emulator.records import BUY, Position, Tick, WorkingOrder
from trading.brokers.mt5.emulator.scene import Scene


def reached(positions: list[Position], tick: Tick) -> Iterator[tuple[Position, int, int | None]]:
    """Yield the positions that the tick closes, with the reason and the price that binds. A stop loss goes first."""
    for position in sorted(positions, key=lambda each: each.ticket):
        price = tick.exit_price(position.type)
        if position.sl and (price <= position.sl if position.type == BUY else price >= position.sl):
            yield position, mt5.ORDER_REASON_SL, None
        elif position.tp and (price >= position.tp if position.type == BUY else price <= position.tp):
            yield position, mt5.ORDER_REASON_TP, position.tp


def close(
    scene: Scene, books: AccountBooks, position: Position, tick: Tick, *, reason: int, comment: str, limit: int | None
) -> Plan:
    """Return how a position is closed by the broker, as far as the liquidity goes."""
    keeps_magic = books.profile.stops_keep_magic
    order = orders.closing(position, scene, reason=reason, comment=comment, keeps_magic=keeps_magic)
    fills = scene.fills(order, tick, limit=limit)
    if not fills:
        return Plan()
    execution = Execution(scene, books.profile, scene.market.instruments[position.symbol])
    return execution.plan(order, position, fills, rest_works=False)


def stop_comment(position: Position, reason: int, instrument: Instrument) -> str:
    """Return the words that the server writes into a deal that a stop has made."""
    kind, level = ("sl", position.sl) if reason == mt5.ORDER_REASON_SL else ("tp", position.tp)
    return f"[{kind} {instrument.price_text(level)}]"


def activate(scene: Scene, books: AccountBooks, order: WorkingOrder, tick: Tick) -> Plan:
    """Return what a tick does to a working order: nothing, a change, or an execution."""
    if not pending.is_reached(order, tick):
        return Plan()
    if order.type in STOP_LIMITS:
        order = pending.as_limit(order)
        if not pending.is_reached(order, tick):
            return Plan(working=order)
    execution = Execution(scene, books.profile, scene.market.instruments[order.symbol])
    fills = scene.fills(order, tick, limit=pending.limit_of(order))
    rest = order.volume_current - sum(each.volume for each in fills)
    rest_works = order.type_filling in RESTS or not rest
    if rest and order.type_filling == mt5.ORDER_FILLING_FOK:
        fills = ()
    if not fills:
        return _unfilled(order, books, execution, rest_works=rest_works)
    plan = execution.plan(order, _position_of(order, books), fills, rest_works=rest_works)
    try:
        if scene.is_affordable(books, plan):
            return plan
    except NoRateError:
        pass
    return Plan(order=execution.finished(order, mt5.ORDER_STATE_REJECTED), gone=(order.ticket,))


def _unfilled(order: WorkingOrder, books: AccountBooks, execution: Execution, *, rest_works: bool) -> Plan:
    """Return what happens without liquidity: an order that may rest, or a limit order, waits for the next tick."""
    if rest_works or order.type in LIMITS:
        return Plan() if books.working.get(order.ticket) == order else Plan(working=order)
    return Plan(order=execution.finished(order, mt5.ORDER_STATE_CANCELED), gone=(order.ticket,))


def _position_of(order: WorkingOrder, books: AccountBooks) -> Position | None:
    """Return the position that a fill changes: on a hedging account the order's own, else that of the symbol."""
    if books.profile.is_hedging:
        return books.positions.get(order.ticket)
    return next(iter(books.of_symbol(order.symbol)), None)
