"""Orders as Alpaca wants them, in text. Nothing is rounded, and nothing is sent that would do more than was asked."""

import re
import uuid
from decimal import Decimal

from nexus.core import money
from nexus.core.errors import Refused
from trading.brokers.alpaca import wire
from trading.brokers.base import OrderChange, OrderRequest, OrderType, Quote, Side, TimeInForce

# Alpaca publishes no maximum. More shares than this are an error of ours.
QUANTITY_MAX = Decimal(1_000_000)

RESTING = frozenset({TimeInForce.DAY, TimeInForce.GTC})
AT_ONCE = frozenset({TimeInForce.IOC, TimeInForce.FOK})
# Which times an order of each type may have. A part of a share has the day alone.
TIMES = {
    OrderType.MARKET: frozenset({TimeInForce.DAY}) | AT_ONCE,
    OrderType.LIMIT: RESTING | AT_ONCE,
    OrderType.STOP: RESTING,
    OrderType.STOP_LIMIT: RESTING,
}
_WORDS = {kind: word for word, kind in wire.TYPES.items() if word != "trailing_stop"}
_SYMBOL = re.compile(r"(?=.{1,8}\Z)[A-Z]{1,6}(\.[A-Z]{1,4})?")  # of shares: neither options nor crypto


def check_symbol(symbol: str) -> None:
    """Refuse what cannot be the symbol of a share."""
    if not _SYMBOL.fullmatch(symbol):
        raise Refused(f"{symbol!r} is no symbol of a share", code="SYMBOL_NOT_VALID")


def check_venue_id(venue_order_id: str) -> None:
    """Refuse what cannot be an order's id at the venue."""
    try:
        uuid.UUID(venue_order_id)
    except ValueError:
        raise Refused(f"{venue_order_id!r} is no order of this venue", code="VENUE_ID_NOT_VALID") from None


def check(order: OrderRequest) -> None:
    """Refuse an order that Alpaca cannot take, or could take for another one."""
    check_symbol(order.symbol)
    if not order.quantity.is_finite() or not 0 < order.quantity <= QUANTITY_MAX:
        raise Refused(f"{order.quantity} shares are outside 0 to {QUANTITY_MAX}", code="QUANTITY_OUT_OF_RANGE")
    if order.quantity % wire.FINEST:
        raise Refused(f"{order.quantity} shares are not a multiple of {wire.FINEST:f}", code="QUANTITY_OFF_STEP")
    if order.stop_loss is not None or order.take_profit is not None:
        raise Refused("positions at Alpaca carry no stops", code="STOPS_NOT_OFFERED")
    if order.expires_at is not None:
        raise Refused("an order at Alpaca has no end of its own", code="EXPIRY_NOT_VALID")
    if order.venue_position_id and order.order_type is not OrderType.MARKET:
        raise Refused("only a market order closes a position", code="CLOSE_NOT_AT_MARKET")
    _check_time(order)
    _check_prices(order)


def check_collar(order: OrderRequest, quote: Quote | None) -> None:
    """Refuse a market order whose market is further from its reference than it allows.

    Alpaca cannot hold a market order to a price: this look is the last, and is no promise about the fill.
    """
    price = Decimal(0) if quote is None else quote.ask if order.side is Side.BUY else quote.bid
    if price <= 0:
        raise Refused(f"nobody quotes {order.symbol} now", code="NO_QUOTE")
    if order.deviation < (price - order.reference_price) * order.side.direction:
        raise Refused(f"{price} is outside {order.reference_price} ± {order.deviation}", code="PRICE_OUTSIDE_COLLAR")


def as_text(order: OrderRequest, *, closing: wire.Plain | None = None) -> dict[str, str]:
    """Write the order. With `closing`, the position as it stands, it only reduces that position.

    Raises: Refused when it would do more than that.
    """
    quantity = order.quantity if closing is None else _reducing(order, closing)
    time = order.time_in_force or TimeInForce.DAY
    written = {
        "symbol": order.symbol,
        "qty": money.as_text(quantity),
        "side": order.side.lower(),
        "type": _WORDS[order.order_type],
        "time_in_force": time.lower(),
        "client_order_id": order.client_order_id,
    } | prices(order.limit_price, order.stop_price)
    if closing is not None:
        written["position_intent"] = f"{order.side.lower()}_to_close"
    return written


def prices(limit_price: Decimal | None, stop_price: Decimal | None) -> dict[str, str]:
    """Write the prices that there are."""
    both = {"limit_price": limit_price, "stop_price": stop_price}
    return {name: money.as_text(price) for name, price in both.items() if price is not None}


def replacement(change: OrderChange, current: wire.Plain) -> dict[str, str]:
    """Write the new terms of a working order. Raises: Refused for terms that it cannot have."""
    if change.stop_loss is not None or change.take_profit is not None:
        raise Refused("positions at Alpaca carry no stops", code="STOPS_NOT_OFFERED")
    kind = wire.TYPES[current["type"]]
    if change.expires_at is not None or change.time_in_force not in TIMES[kind]:
        raise Refused(f"a {kind} order cannot be {change.time_in_force}", code="TIME_IN_FORCE_NOT_OFFERED")
    wanted = prices(change.limit_price, change.stop_price)
    _check_positive(change.limit_price, change.stop_price)
    if wanted.keys() != {name for name in ("limit_price", "stop_price") if current[name] is not None}:
        raise Refused(f"these are not the prices of a {kind} order", code="PRICES_DO_NOT_FIT_TYPE")
    time = change.time_in_force.lower()
    return wanted if time == current["time_in_force"] else wanted | {"time_in_force": time}


def is_of(entry: wire.Plain, order: OrderRequest) -> bool:
    """Tell whether an order at the venue is this one, and not another that had the same id."""
    with wire.understanding():
        quantity = wire.optional(entry["qty"])
        return (
            (entry["symbol"], wire.SIDES[entry["side"]], wire.TYPES[entry["type"]])
            == (order.symbol, order.side, order.order_type)
            and quantity is not None
            and wire.shares(quantity) == order.quantity
        )


def _reducing(order: OrderRequest, closing: wire.Plain) -> Decimal:
    """Return how many shares close what was asked: all of a position to its last part, which our books cannot hold."""
    with wire.reading():
        held = wire.number(closing["qty"])
    side = Side.BUY if held > 0 else Side.SELL
    if order.symbol != closing["symbol"] or order.side is side:
        raise Refused(f"a {order.side} does not close a {side} position", code="POSITION_DOES_NOT_MATCH")
    whole = abs(wire.shares(held))
    if order.quantity > whole:
        raise Refused(f"the position holds {whole} shares only", code="QUANTITY_EXCEEDS_POSITION")
    return abs(held) if order.quantity == whole else order.quantity


def _check_time(order: OrderRequest) -> None:
    time = order.time_in_force
    if time is None and order.order_type is OrderType.MARKET:
        return
    offered = TIMES[order.order_type] if order.quantity % 1 == 0 else frozenset({TimeInForce.DAY})
    if time not in offered:
        words = f"{money.as_text(order.quantity)} shares at {order.order_type} cannot be {time}"
        raise Refused(words, code="TIME_IN_FORCE_NOT_OFFERED")


def _check_prices(order: OrderRequest) -> None:
    wants = (
        order.order_type in {OrderType.LIMIT, OrderType.STOP_LIMIT},
        order.order_type in {OrderType.STOP, OrderType.STOP_LIMIT},
    )
    if wants != (order.limit_price is not None, order.stop_price is not None):
        raise Refused(f"these are not the prices of a {order.order_type} order", code="PRICES_DO_NOT_FIT_TYPE")
    _check_positive(order.reference_price, order.limit_price, order.stop_price)
    if not order.deviation.is_finite() or order.deviation < 0:
        raise Refused(f"{order.deviation} is not a distance between prices", code="DEVIATION_NOT_VALID")


def _check_positive(*prices: Decimal | None) -> None:
    if not all(price.is_finite() and price > 0 for price in prices if price is not None):
        raise Refused("a price that is not positive and finite cannot be sent", code="PRICE_NOT_VALID")
