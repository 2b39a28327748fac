"""One market order as the terminal wants it: every key set, every type right, nothing left to its defaults."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from enum import IntEnum
from typing import TypedDict

from nexus.core.errors import Refused
from trading.brokers import ids
from trading.brokers.base import OrderRequest, Quote, Side
from trading.brokers.mt5 import wire

ACTION_DEAL = 1
TIME_GTC = 0
DEVIATION_MAX = 1_000_000  # points; more than any price may move, less than any field may hold


class Execution(IntEnum):
    """How a symbol's market orders are executed."""

    REQUEST = 0
    INSTANT = 1
    MARKET = 2
    EXCHANGE = 3


class Filling(IntEnum):
    """What may happen to the part that cannot be filled at once. The symbol's bits are other numbers: see `BITS`."""

    FOK = 0  # all or nothing
    IOC = 1  # the rest is canceled
    RETURN = 2  # the rest works on


BITS = {Filling.FOK: 1, Filling.IOC: 2}


class TerminalRequest(TypedDict):
    """The dictionary for `order_send`. A missing key would be sent as zero, an unknown one silently dropped."""

    action: int
    symbol: str
    volume: float
    type: int
    price: float
    sl: float
    tp: float
    deviation: int
    type_filling: int
    type_time: int
    magic: int
    comment: str


@dataclass(frozen=True, slots=True)
class Terms:
    """The part of a symbol's description that shapes its orders. Units: lots, and price."""

    execution: Execution
    filling_bits: int
    point: Decimal
    tick_size: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    quantity_step: Decimal

    @classmethod
    def of_symbol(cls, entry: wire.Plain) -> "Terms":
        """Read the terms from the venue's description."""
        with wire.understanding():
            point = wire.number(entry["point"])
            execution = wire.integer(entry["trade_exemode"])
            if execution not in Execution.__members__.values() or point <= 0:
                raise wire.BadAnswer(f"execution mode {execution} with point {point} is not known")
            return cls(
                execution=Execution(execution),
                filling_bits=wire.integer(entry["filling_mode"]),
                point=point,
                tick_size=wire.number(entry["trade_tick_size"]) or point,
                quantity_min=wire.number(entry["volume_min"]),
                quantity_max=wire.number(entry["volume_max"]),
                quantity_step=wire.number(entry["volume_step"]),
            )


def build(order: OrderRequest, *, terms: Terms, quote: Quote, policy: Sequence[Filling]) -> TerminalRequest:
    """Build the request. Raises: Refused when the symbol's rules or the caller's collar do not allow the order."""
    _check_numbers(order)
    _check_quantity(order.quantity, terms)
    price = quote.ask if order.side is Side.BUY else quote.bid
    room = order.deviation - (price - order.reference_price) * order.side.direction
    if room < 0:
        raise Refused(f"{price} is outside {order.reference_price} ± {order.deviation}", code="PRICE_OUTSIDE_COLLAR")
    return TerminalRequest(
        action=ACTION_DEAL,
        symbol=order.symbol,
        volume=float(order.quantity),
        type=wire.BUY if order.side is Side.BUY else wire.SELL,
        price=float(_to_step(price, terms.tick_size, ROUND_HALF_EVEN)),
        # The stop moves toward the price and the target too: what is at risk never grows.
        sl=_level(order.stop_loss, terms, ROUND_CEILING if order.side is Side.BUY else ROUND_FLOOR),
        tp=_level(order.take_profit, terms, ROUND_FLOOR if order.side is Side.BUY else ROUND_CEILING),
        deviation=min(int(room // terms.point), DEVIATION_MAX),
        type_filling=choose_filling(terms, policy),
        type_time=TIME_GTC,
        magic=ids.magic(order.client_order_id),
        comment=order.client_order_id,
    )


def choose_filling(terms: Terms, policy: Sequence[Filling]) -> Filling:
    """Choose the first filling of the policy that the symbol offers. Raises: Refused when it offers none of them."""
    for filling in policy:
        if terms.execution in {Execution.INSTANT, Execution.REQUEST}:
            is_offered = filling is Filling.FOK or bool(BITS.get(filling, 0) & terms.filling_bits)
        elif filling is Filling.RETURN:
            is_offered = terms.execution is Execution.EXCHANGE  # under MARKET it is forbidden
        else:
            is_offered = bool(BITS[filling] & terms.filling_bits)
        if is_offered:
            return filling
    allowed = ", ".join(filling.name for filling in policy)
    raise Refused(f"the symbol offers none of the fillings that we allow: {allowed}", code="FILLING_NOT_OFFERED")


def _check_numbers(order: OrderRequest) -> None:
    prices = [order.reference_price, *(level for level in (order.stop_loss, order.take_profit) if level is not None)]
    if not all(price.is_finite() and price > 0 for price in prices):
        raise Refused("a price that is not positive and finite cannot be sent", code="PRICE_NOT_VALID")
    if not order.deviation.is_finite() or order.deviation < 0:
        raise Refused(f"{order.deviation} is not a distance between prices", code="DEVIATION_NOT_VALID")


def _check_quantity(quantity: Decimal, terms: Terms) -> None:
    if not quantity.is_finite() or not terms.quantity_min <= quantity <= terms.quantity_max:
        limits = f"{terms.quantity_min} to {terms.quantity_max} lots"
        raise Refused(f"{quantity} lots are outside {limits}", code="QUANTITY_OUT_OF_RANGE")
    if terms.quantity_step <= 0 or quantity % terms.quantity_step:
        raise Refused(f"{quantity} lots are not a multiple of {terms.quantity_step}", code="QUANTITY_OFF_STEP")


def _level(price: Decimal | None, terms: Terms, rounding: str) -> float:
    return 0.0 if price is None else float(_to_step(price, terms.tick_size, rounding))


def _to_step(price: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (price / step).quantize(Decimal(1), rounding=rounding) * step
