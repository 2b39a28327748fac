"""Judge pending orders: where their prices may be, how long they may wait, when the market reaches them."""

from dataclasses import replace

from trading.brokers.mt5.emulator import amounts, expiry
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.case import LIMITS, STOP_LIMITS, STOPS, Case
from trading.brokers.mt5.emulator.instruments import (
    FILL_BOC,
    FILL_FOK,
    FILL_IOC,
    ORDERS_LIMIT,
    ORDERS_STOP,
    ORDERS_STOP_LIMIT,
)
from trading.brokers.mt5.emulator.records import BUY, Tick, WorkingOrder

ORDER_BITS = {
    **dict.fromkeys(LIMITS, ORDERS_LIMIT),
    **dict.fromkeys(STOPS, ORDERS_STOP),
    **dict.fromkeys(STOP_LIMITS, ORDERS_STOP_LIMIT),
}


def filling_refusal(case: Case) -> int | None:
    """Refuse a filling that the symbol does not offer; RETURN is always right for an order that waits."""
    filling, bits = case.request.type_filling, case.symbol.filling_bits
    fits = {
        mt5.ORDER_FILLING_RETURN: True,
        mt5.ORDER_FILLING_FOK: bool(bits & FILL_FOK) or case.symbol.exemode == mt5.SYMBOL_TRADE_EXECUTION_INSTANT,
        mt5.ORDER_FILLING_IOC: bool(bits & FILL_IOC),
        mt5.ORDER_FILLING_BOC: bool(bits & FILL_BOC) and case.type not in STOPS,
    }.get(filling, False)
    return None if fits else mt5.TRADE_RETCODE_INVALID_FILL


def lifetime_refusal(case: Case) -> int | None:
    """Refuse a lifetime that the symbol does not offer, or one that is over."""
    bit = expiry.BIT_OF.get(case.request.type_time, 0)
    if not bit & case.symbol.expiration_bits or case.request.expiration < 0:
        return mt5.TRADE_RETCODE_INVALID_EXPIRATION
    until_us = case.expires_us
    return mt5.TRADE_RETCODE_INVALID_EXPIRATION if bit > 1 and until_us <= case.now_us else None


def price_refusal(case: Case) -> int | None:
    """Refuse prices off the tick size, on the wrong side of the market, or nearer to it than the stops level."""
    digits, level = case.symbol.digits, case.symbol.stops_level
    prices = [amounts.scaled(case.request.price, digits)]
    if case.type in STOP_LIMITS:
        prices.append(amounts.scaled(case.request.stoplimit, digits))
    if any(each is None or each <= 0 or each % case.symbol.tick_size for each in prices):
        return mt5.TRADE_RETCODE_INVALID_PRICE
    up = 1 if case.side == BUY else -1
    waits_below = case.type in LIMITS
    distance = (case.price - case.quote.entry_price(case.side)) * (-up if waits_below else up)
    if distance < max(level, 1) and not (waits_below and _is_exchange(case)):
        return mt5.TRADE_RETCODE_INVALID_PRICE
    if case.type in STOP_LIMITS and (case.price - case.stoplimit) * up < level:
        return mt5.TRADE_RETCODE_INVALID_PRICE
    return None


def stops_refusal(case: Case) -> int | None:
    """Refuse stops on the wrong side of the price that the order waits for."""
    entry, level = case.stoplimit or case.price, case.symbol.stops_level
    up = 1 if case.side == BUY else -1
    for request, direction in ((case.request.sl, -up), (case.request.tp, up)):
        points = amounts.scaled(request, case.symbol.digits)
        if points is None or points < 0 or points % case.symbol.tick_size:
            return mt5.TRADE_RETCODE_INVALID_STOPS
        if points and (points - entry) * direction < max(level, 1):
            return mt5.TRADE_RETCODE_INVALID_STOPS
    return None


def frozen_refusal(case: Case) -> int | None:
    """Refuse to touch an order that the market has nearly reached."""
    freeze, order = case.symbol.freeze_level, case.waiting
    if not freeze or case.tick is None or not case.is_open or order.type not in ORDER_BITS:
        return None
    near = abs(order.price - case.tick.entry_price(order.side)) <= freeze
    return mt5.TRADE_RETCODE_FROZEN if near else None


def crosses(order: WorkingOrder, tick: Tick) -> bool:
    """Say whether a limit order could be filled at once."""
    if order.side == BUY:
        return tick.ask <= order.price
    return tick.bid >= order.price


def is_reached(order: WorkingOrder, tick: Tick) -> bool:
    """Say whether the market has come to the price that the order waits for; the rest of a stop waits no more."""
    if order.type in LIMITS:
        return crosses(order, tick)
    if order.type in STOPS and order.filled:
        return True
    if order.type in (*STOPS, *STOP_LIMITS):
        return tick.ask >= order.price if order.side == BUY else tick.bid <= order.price
    return True


def as_limit(order: WorkingOrder) -> WorkingOrder:
    """Return the limit order that a triggered stop limit becomes, under the same ticket."""
    kind = mt5.ORDER_TYPE_BUY_LIMIT if order.side == BUY else mt5.ORDER_TYPE_SELL_LIMIT
    return replace(order, type=kind, price=order.stoplimit, stoplimit=0)


def limit_of(order: WorkingOrder) -> int | None:
    """Return the worst price that the order accepts, None for any."""
    return order.price if order.type in LIMITS else None


def _is_exchange(case: Case) -> bool:
    return case.symbol.exemode == mt5.SYMBOL_TRADE_EXECUTION_EXCHANGE
