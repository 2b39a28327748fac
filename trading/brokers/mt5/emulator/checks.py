"""Refuse a request as the trade server does: the first failed check answers. Order and codes: specification, part 6.

Margin, liquidity and unchanged levels are judged last, in `judging`, because they need the outcome.
"""

from collections.abc import Callable

from trading.brokers.mt5.emulator import amounts, pending
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.case import PENDING, Case
from trading.brokers.mt5.emulator.instruments import FILL_BOC, FILL_FOK, FILL_IOC, ORDERS_CLOSE_BY, PRICE_IS_ASKED
from trading.brokers.mt5.emulator.records import BUY, SELL
from trading.brokers.mt5.emulator.requests import HEDGE_PROHIBITED

FILLING_BITS = {
    mt5.ORDER_FILLING_FOK: FILL_FOK,
    mt5.ORDER_FILLING_IOC: FILL_IOC,
    mt5.ORDER_FILLING_BOC: FILL_BOC,
}


def first_refusal(case: Case) -> int | None:
    """Return the code of the first check that fails, or None."""
    return next((code for check in CHECKS if (code := check(case)) is not None), None)


def _connection(case: Case) -> int | None:
    return None if case.desk.connected else mt5.TRADE_RETCODE_CONNECTION


def _permissions(case: Case) -> int | None:
    if case.desk.by_program and not case.desk.algo_trading:
        return mt5.TRADE_RETCODE_CLIENT_DISABLES_AT
    if case.desk.by_program and not case.profile.trade_expert:
        return mt5.TRADE_RETCODE_SERVER_DISABLES_AT
    if case.desk.is_investor or not case.profile.trade_allowed:
        return mt5.TRADE_RETCODE_TRADE_DISABLED
    return None


def _rate(case: Case) -> int | None:
    limited = case.desk.by_program and case.recent >= case.profile.requests_per_second
    return mt5.TRADE_RETCODE_TOO_MANY_REQUESTS if limited else None


def _kind(case: Case) -> int | None:
    """Refuse unknown actions and types, and orders that wait no more."""
    request = case.request
    if case.is_about_order:
        if case.order is None:
            return mt5.TRADE_RETCODE_INVALID_ORDER
        return None if case.is_removal or case.order.type in PENDING else mt5.TRADE_RETCODE_INVALID
    known = (
        request.action == mt5.TRADE_ACTION_SLTP
        or (case.is_deal and request.type in (BUY, SELL))
        or (case.is_pending and request.type in PENDING)
        or (case.is_close_by and case.profile.is_hedging)
    )
    return None if known else mt5.TRADE_RETCODE_INVALID


def _symbol(case: Case) -> int | None:
    instrument, selected = case.instrument, case.desk.selected
    if instrument is None or (selected is not None and instrument.name not in selected):
        return mt5.TRADE_RETCODE_INVALID
    if case.is_removal:
        return None
    if instrument.trade_mode == mt5.SYMBOL_TRADE_MODE_DISABLED:
        return mt5.TRADE_RETCODE_TRADE_DISABLED
    if case.is_pending or (case.is_deal and not _only_closes(case)):
        forbidden = {
            (mt5.SYMBOL_TRADE_MODE_LONGONLY, SELL): mt5.TRADE_RETCODE_LONG_ONLY,
            (mt5.SYMBOL_TRADE_MODE_SHORTONLY, BUY): mt5.TRADE_RETCODE_SHORT_ONLY,
            (mt5.SYMBOL_TRADE_MODE_CLOSEONLY, BUY): mt5.TRADE_RETCODE_CLOSE_ONLY,
            (mt5.SYMBOL_TRADE_MODE_CLOSEONLY, SELL): mt5.TRADE_RETCODE_CLOSE_ONLY,
        }.get((instrument.trade_mode, case.side))
        if forbidden is not None:
            return forbidden
    if not instrument.order_bits & _order_bit(case):
        return mt5.TRADE_RETCODE_INVALID
    return None if case.is_open else mt5.TRADE_RETCODE_MARKET_CLOSED


def _order_bit(case: Case) -> int:
    """Return the bit of `order_mode` that a request needs, or all of them if it needs none in particular."""
    if case.is_close_by:
        return ORDERS_CLOSE_BY
    return pending.ORDER_BITS.get(case.type, -1) if case.is_pending else -1


def _only_closes(case: Case) -> bool:
    """Say whether the order closes, before its volume has been checked."""
    return amounts.scaled(case.request.volume, 8) is not None and case.is_closing


def _volume(case: Case) -> int | None:
    if not case.is_deal and not case.is_pending:
        return None
    volume, symbol = amounts.scaled(case.request.volume, 8), case.symbol
    if volume is None or volume % symbol.volume_step or not symbol.volume_min <= volume <= symbol.volume_max:
        return mt5.TRADE_RETCODE_INVALID_VOLUME
    if symbol.volume_limit and not (case.is_deal and case.is_closing):
        signed = case.books.one_way(symbol.name, case.side)
        against = case.position
        if against is not None and against.type != case.side:
            signed -= against.volume  # a reversal opens only what exceeds the old position
        if signed + volume > symbol.volume_limit:
            return mt5.TRADE_RETCODE_LIMIT_VOLUME
    return None


def _filling(case: Case) -> int | None:
    if case.is_pending:
        return pending.filling_refusal(case)
    if not case.is_deal:
        return None
    filling, symbol = case.request.type_filling, case.symbol
    has_bit = filling != mt5.ORDER_FILLING_BOC and bool(symbol.filling_bits & FILLING_BITS.get(filling, 0))
    if symbol.exemode in PRICE_IS_ASKED:
        fits = has_bit or filling in (mt5.ORDER_FILLING_FOK, mt5.ORDER_FILLING_RETURN)
    elif symbol.exemode == mt5.SYMBOL_TRADE_EXECUTION_EXCHANGE:
        fits = has_bit or filling == mt5.ORDER_FILLING_RETURN
    else:
        fits = has_bit
    return None if fits else mt5.TRADE_RETCODE_INVALID_FILL


def _lifetime(case: Case) -> int | None:
    if case.is_pending or (case.is_about_order and not case.is_removal):
        return pending.lifetime_refusal(case)
    if not case.is_deal:
        return None
    known = mt5.ORDER_TIME_GTC <= case.request.type_time <= mt5.ORDER_TIME_SPECIFIED_DAY
    return None if known else mt5.TRADE_RETCODE_INVALID_EXPIRATION


def _price(case: Case) -> int | None:
    if case.is_removal:
        return None
    if case.tick is None:
        return mt5.TRADE_RETCODE_PRICE_OFF
    if case.is_pending or case.is_about_order:
        return pending.price_refusal(case)
    if not case.is_deal or case.symbol.exemode not in PRICE_IS_ASKED:
        return None
    price = amounts.scaled(case.request.price, case.symbol.digits)
    if price is None or price <= 0 or price % case.symbol.tick_size:
        return mt5.TRADE_RETCODE_INVALID_PRICE
    moved = abs(case.quote.entry_price(case.request.type) - price) > case.request.deviation
    return mt5.TRADE_RETCODE_REQUOTE if moved else None


def _stops(case: Case) -> int | None:
    """Check the stops against the price that would trigger them. Closing orders carry none that count."""
    held = case.position
    if case.is_removal or case.is_close_by or (case.is_deal and case.is_closing):
        return None
    if case.is_pending or case.is_about_order:
        return pending.stops_refusal(case)
    side = case.request.type if case.is_deal else held.type if held else None
    levels = [amounts.scaled(each, case.symbol.digits) for each in (case.request.sl, case.request.tp)]
    if side is None:
        return None
    for level, direction in zip(levels, (-1, 1) if side == BUY else (1, -1), strict=True):
        if level is None or level < 0 or level % case.symbol.tick_size:
            return mt5.TRADE_RETCODE_INVALID_STOPS
        distance = (level - case.quote.exit_price(side)) * direction
        if level and distance < max(case.symbol.stops_level, 1):
            return mt5.TRADE_RETCODE_INVALID_STOPS
    return None


def _frozen(case: Case) -> int | None:
    """Refuse to move or close a position whose stop, or an order whose price, the market has nearly reached."""
    if case.is_about_order:
        return pending.frozen_refusal(case)
    if case.is_pending or case.is_close_by:
        return None
    held, freeze = case.position, case.symbol.freeze_level
    if held is None or not freeze or (case.is_deal and not case.is_closing):
        return None
    price = case.quote.exit_price(held.type)
    near = any(level and abs(level - price) <= freeze for level in (held.sl, held.tp))
    return mt5.TRADE_RETCODE_FROZEN if near else None


def _position(case: Case) -> int | None:
    request, held = case.request, case.position
    if case.is_about_order or case.is_pending:
        return _hedge(case) if case.is_pending else None
    if case.is_close_by:
        return _close_by(case)
    if held is None:
        missing = request.position or not case.is_deal
        return mt5.TRADE_RETCODE_POSITION_CLOSED if missing else _hedge(case)
    if held.symbol != request.symbol:
        return mt5.TRADE_RETCODE_INVALID
    if case.profile.is_hedging and case.is_deal:
        if held.type == request.type:
            return mt5.TRADE_RETCODE_INVALID
        if case.volume > held.volume:
            return mt5.TRADE_RETCODE_INVALID_CLOSE_VOLUME
        older = min(case.books.of_symbol(held.symbol), key=lambda each: each.ticket)
        if case.profile.fifo_close and older.ticket != held.ticket:
            return mt5.TRADE_RETCODE_FIFO_CLOSE
    return None


def _close_by(case: Case) -> int | None:
    first, second = case.position, case.books.positions.get(case.request.position_by)
    if first is None or second is None:
        return mt5.TRADE_RETCODE_POSITION_CLOSED
    fits = first.symbol == second.symbol and first.type != second.type
    return None if fits else mt5.TRADE_RETCODE_INVALID


def _hedge(case: Case) -> int | None:
    opposite = any(each.type != case.side for each in case.books.of_symbol(case.request.symbol))
    return HEDGE_PROHIBITED if opposite and case.profile.is_hedging and not case.profile.hedge_allowed else None


def _limits(case: Case) -> int | None:
    profile, books = case.profile, case.books
    if case.is_pending and profile.limit_orders and len(books.working) >= profile.limit_orders:
        return mt5.TRADE_RETCODE_LIMIT_ORDERS
    limit, opens = profile.limit_positions, case.is_deal and case.position is None
    return mt5.TRADE_RETCODE_LIMIT_POSITIONS if limit and opens and len(books.positions) >= limit else None


CHECKS: tuple[Callable[[Case], int | None], ...] = (
    _connection, _permissions, _rate, _kind, _symbol, _volume, _filling, _lifetime, _price, _stops, _frozen, _position,
    _limits,
)  # fmt: skip
