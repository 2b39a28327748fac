"""Orders as the terminal wants them: every key set, every type right, nothing left to its defaults."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from enum import IntEnum
from typing import TypedDict

from nexus.core.errors import Refused
from trading.brokers import ids
from trading.brokers.base import OrderRequest, OrderType, Quote, Side, TimeInForce, VenuePosition
from trading.brokers.mt5 import terms as rules
from trading.brokers.mt5 import wire
from trading.brokers.mt5.terms import FILLINGS, Filling, Terms

DEVIATION_MAX = 1_000_000  # points; more than any price may move, less than any field may hold


class Action(IntEnum):
    """What a request asks for."""

    DEAL = 1
    PENDING = 5
    CHANGE_STOPS = 6
    MODIFY = 7
    REMOVE = 8
    CLOSE_BY = 10


class RestingTime(IntEnum):
    """How long a resting order stays (`type_time`)."""

    GTC = 0
    DAY = 1
    SPECIFIED = 2


TIMES = {
    TimeInForce.GTC: RestingTime.GTC,
    TimeInForce.DAY: RestingTime.DAY,
    TimeInForce.GTD: RestingTime.SPECIFIED,
}
TYPES = {
    (OrderType.LIMIT, Side.BUY): 2,
    (OrderType.LIMIT, Side.SELL): 3,
    (OrderType.STOP, Side.BUY): 4,
    (OrderType.STOP, Side.SELL): 5,
    (OrderType.STOP_LIMIT, Side.BUY): 6,
    (OrderType.STOP_LIMIT, Side.SELL): 7,
}


class TerminalRequest(TypedDict, total=False):
    """The dictionary for `order_send`. A missing key is sent as zero, an unknown one silently dropped."""

    action: int
    symbol: str
    volume: float
    type: int
    price: float
    stoplimit: float
    sl: float
    tp: float
    deviation: int
    type_filling: int
    type_time: int
    expiration: int  # seconds by the server's clock
    magic: int
    comment: str
    order: int
    position: int
    position_by: int


@dataclass(frozen=True, slots=True)
class Held:
    """A position as it stands now, and the ticket by which the terminal wants it named."""

    ticket: int
    position: VenuePosition


def market(
    order: OrderRequest, *, terms: Terms, quote: Quote, policy: Sequence[Filling], held: Held | None = None
) -> TerminalRequest:
    """Build a market order; with `held` it only reduces that position.

    Raises: Refused when the symbol's rules, the position or the caller's collar do not allow the order.
    """
    _check_numbers(order, terms)
    if held is None:
        rules.check_quantity(order.quantity, terms)
    else:
        _check_reduces(order, held.position, terms)
    price = quote.ask if order.side is Side.BUY else quote.bid
    room = order.deviation - (price - order.reference_price) * order.side.direction
    if room < 0:
        raise Refused(f"{price} is outside {order.reference_price} ± {order.deviation}", code="PRICE_OUTSIDE_COLLAR")
    request = TerminalRequest(
        action=Action.DEAL,
        symbol=order.symbol,
        volume=float(order.quantity),
        type=wire.BUY if order.side is Side.BUY else wire.SELL,
        price=float(rules.to_step(price, terms.tick_size, ROUND_HALF_EVEN)),
        sl=rules.stop_loss(order.stop_loss, order.side, terms),
        tp=rules.take_profit(order.take_profit, order.side, terms),
        deviation=min(int(room // terms.point), DEVIATION_MAX),
        type_filling=rules.choose_filling(terms, _fillings(order, policy)),
        type_time=RestingTime.GTC,
        magic=ids.magic(order.client_order_id),
        comment=order.client_order_id,
    )
    if held is not None:
        request["position"] = held.ticket
    return request


def pending(order: OrderRequest, *, terms: Terms, expiration: int) -> TerminalRequest:
    """Build an order that rests until its price comes. Takes: `expiration` by the server's clock, 0 for none.

    Raises: Refused when the symbol's rules do not allow the order.
    """
    _check_numbers(order, terms)
    rules.check_quantity(order.quantity, terms)
    if order.venue_position_id:
        raise Refused("only a market order closes a position", code="CLOSE_NOT_AT_MARKET")
    assert order.time_in_force is not None
    trigger, limit = resting_prices(order.order_type, order.side, order.limit_price, order.stop_price, terms)
    return TerminalRequest(
        action=Action.PENDING,
        symbol=order.symbol,
        volume=float(order.quantity),
        type=TYPES[order.order_type, order.side],
        price=trigger,
        stoplimit=limit,
        sl=rules.stop_loss(order.stop_loss, order.side, terms),
        tp=rules.take_profit(order.take_profit, order.side, terms),
        deviation=min(int(order.deviation // terms.point), DEVIATION_MAX),
        type_filling=Filling.RETURN,
        type_time=TIMES[order.time_in_force],
        expiration=expiration,
        magic=ids.magic(order.client_order_id),
        comment=order.client_order_id,
    )


def resting_prices(
    order_type: OrderType, side: Side, limit_price: Decimal | None, stop_price: Decimal | None, terms: Terms
) -> tuple[float, float]:
    """Return the price at which a resting order acts, and the limit that a STOP_LIMIT then becomes (else 0).

    Limits are rounded away from the market and so are triggers. Raises: Refused for prices that the type does not have.
    """
    wants = (
        order_type in {OrderType.LIMIT, OrderType.STOP_LIMIT},
        order_type in {OrderType.STOP, OrderType.STOP_LIMIT},
    )
    if wants != (limit_price is not None, stop_price is not None):
        raise Refused(f"these are not the prices of a {order_type} order", code="PRICES_DO_NOT_FIT_TYPE")
    below, above = (ROUND_FLOOR, ROUND_CEILING) if side is Side.BUY else (ROUND_CEILING, ROUND_FLOOR)
    limit = 0.0 if limit_price is None else float(rules.to_step(limit_price, terms.tick_size, below))
    trigger = 0.0 if stop_price is None else float(rules.to_step(stop_price, terms.tick_size, above))
    return (trigger, limit) if order_type is OrderType.STOP_LIMIT else (trigger or limit, 0.0)


def check_time(time: TimeInForce | None, expires_at: datetime | None, *, now_s: float, terms: Terms) -> None:
    """Refuse a resting time that the symbol does not offer, or an end that is missing, superfluous or past."""
    if time not in TIMES or time not in terms.times_in_force:
        raise Refused(f"the symbol does not offer {time} for resting orders", code="TIME_IN_FORCE_NOT_OFFERED")
    if (time is TimeInForce.GTD) != (expires_at is not None):
        raise Refused("an order has an end of its own exactly when it is GTD", code="EXPIRY_NOT_VALID")
    if expires_at is not None and expires_at.timestamp() <= now_s:
        raise Refused(f"{expires_at.isoformat()} has passed", code="EXPIRY_NOT_VALID")


def _fillings(order: OrderRequest, policy: Sequence[Filling]) -> Sequence[Filling]:
    """Return what the order allows: its own word, or the policy of the link."""
    if order.time_in_force is None:
        return policy
    if order.time_in_force not in FILLINGS:
        raise Refused(f"a market order cannot be {order.time_in_force}", code="TIME_IN_FORCE_NOT_OFFERED")
    return [FILLINGS[order.time_in_force]]


def _check_reduces(order: OrderRequest, position: VenuePosition, terms: Terms) -> None:
    """Refuse whatever would do more than reduce the position: on a netting account it would turn it around."""
    if order.symbol != position.symbol or order.side is position.side:
        what = f"the {position.side} position in {position.symbol}"
        raise Refused(f"a {order.side} of {order.symbol} does not close {what}", code="POSITION_DOES_NOT_MATCH")
    if order.stop_loss is not None or order.take_profit is not None:
        raise Refused("an order that closes has no stops of its own", code="STOPS_ON_CLOSE")
    if not order.quantity.is_finite() or order.quantity > position.quantity:
        raise Refused(f"the position holds {position.quantity} lots only", code="QUANTITY_EXCEEDS_POSITION")
    if order.quantity != position.quantity:  # the whole of it may be closed whatever the steps are now
        rules.check_quantity(order.quantity, terms)


def _check_numbers(order: OrderRequest, terms: Terms) -> None:
    if order.order_type not in terms.order_types:
        raise Refused(f"the symbol does not offer {order.order_type} orders", code="ORDER_TYPE_NOT_OFFERED")
    if order.order_type is OrderType.MARKET and (order.limit_price, order.stop_price) != (None, None):
        raise Refused("a market order has no price of its own", code="PRICES_DO_NOT_FIT_TYPE")
    rules.check_prices(order.reference_price, order.stop_loss, order.take_profit, order.limit_price, order.stop_price)
    if not order.deviation.is_finite() or order.deviation < 0:
        raise Refused(f"{order.deviation} is not a distance between prices", code="DEVIATION_NOT_VALID")
