"""A symbol's own rules for orders: steps, fillings, types and times, and how prices meet its ticks."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import IntEnum

from nexus.core.errors import Refused
from trading.brokers.base import Instrument, OrderType, Side, TimeInForce
from trading.brokers.mt5 import wire

TRADE_MODES_OPEN = frozenset({1, 2, 4})  # long only, short only, full

# The bits of `order_mode` and `expiration_mode` are not constants of the package.
TYPE_BITS = {OrderType.MARKET: 1, OrderType.LIMIT: 2, OrderType.STOP: 4, OrderType.STOP_LIMIT: 8}
CLOSE_BY_BIT = 64
TIME_BITS = {TimeInForce.GTC: 1, TimeInForce.DAY: 2, TimeInForce.GTD: 4}


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
FILLINGS = {TimeInForce.FOK: Filling.FOK, TimeInForce.IOC: Filling.IOC}


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
    order_types: frozenset[OrderType]
    times_in_force: frozenset[TimeInForce]
    offers_close_by: bool

    @classmethod
    def of_symbol(cls, entry: wire.Plain) -> "Terms":
        """Read the terms from the venue's description."""
        with wire.understanding():
            point = wire.number(entry["point"])
            execution = wire.integer(entry["trade_exemode"])
            if execution not in Execution.__members__.values() or point <= 0:
                raise wire.BadAnswer(f"execution mode {execution} with point {point} is not known")
            filling_bits = wire.integer(entry["filling_mode"])
            order_bits = wire.integer(entry["order_mode"])
            time_bits = wire.integer(entry["expiration_mode"])
            if wire.integer(entry["order_gtc_mode"]):  # the venue deletes every order at the end of the day
                time_bits &= ~TIME_BITS[TimeInForce.GTC]
            times = {time for time, bit in TIME_BITS.items() if bit & time_bits}
            times |= {time for time, each in FILLINGS.items() if _is_offered(each, Execution(execution), filling_bits)}
            return cls(
                execution=Execution(execution),
                filling_bits=filling_bits,
                point=point,
                tick_size=wire.number(entry["trade_tick_size"]) or point,
                quantity_min=wire.number(entry["volume_min"]),
                quantity_max=wire.number(entry["volume_max"]),
                quantity_step=wire.number(entry["volume_step"]),
                order_types=frozenset(each for each, bit in TYPE_BITS.items() if bit & order_bits),
                times_in_force=frozenset(times),
                offers_close_by=bool(order_bits & CLOSE_BY_BIT),
            )


def instrument(entry: wire.Plain) -> Instrument:
    """Return one instrument as the venue describes it."""
    terms = Terms.of_symbol(entry)
    with wire.understanding():
        return Instrument(
            symbol=wire.text(entry["name"]),
            base_currency=wire.text(entry["currency_base"]),
            profit_currency=wire.text(entry["currency_profit"]),
            margin_currency=wire.text(entry["currency_margin"]),
            contract_size=wire.number(entry["trade_contract_size"]),
            tick_size=terms.tick_size,
            digits=wire.integer(entry["digits"]),
            quantity_min=terms.quantity_min,
            quantity_max=terms.quantity_max,
            quantity_step=terms.quantity_step,
            stops_distance_min=wire.number(wire.integer(entry["trade_stops_level"]) * terms.point),
            is_tradable=wire.integer(entry["trade_mode"]) in TRADE_MODES_OPEN and OrderType.MARKET in terms.order_types,
            freeze_distance=wire.number(wire.integer(entry["trade_freeze_level"]) * terms.point),
            order_types=terms.order_types,
            times_in_force=terms.times_in_force,
            one_way_max=wire.number(entry["volume_limit"]) or None,
        )


def choose_filling(terms: Terms, policy: Sequence[Filling]) -> Filling:
    """Choose the first filling of the policy that the symbol offers. Raises: Refused when it offers none of them."""
    for filling in policy:
        if _is_offered(filling, terms.execution, terms.filling_bits):
            return filling
    allowed = ", ".join(filling.name for filling in policy)
    raise Refused(f"the symbol offers none of the fillings that we allow: {allowed}", code="FILLING_NOT_OFFERED")


def _is_offered(filling: Filling, execution: Execution, bits: int) -> bool:
    if execution in {Execution.INSTANT, Execution.REQUEST} and filling is Filling.FOK:
        return True
    if filling is Filling.RETURN:
        return execution is Execution.EXCHANGE  # under MARKET it is forbidden
    return bool(BITS[filling] & bits)


def check_quantity(quantity: Decimal, terms: Terms) -> None:
    """Refuse a quantity that the symbol does not take; nothing is rounded."""
    if not quantity.is_finite() or not terms.quantity_min <= quantity <= terms.quantity_max:
        limits = f"{terms.quantity_min} to {terms.quantity_max} lots"
        raise Refused(f"{quantity} lots are outside {limits}", code="QUANTITY_OUT_OF_RANGE")
    if terms.quantity_step <= 0 or quantity % terms.quantity_step:
        raise Refused(f"{quantity} lots are not a multiple of {terms.quantity_step}", code="QUANTITY_OFF_STEP")


def check_prices(*prices: Decimal | None) -> None:
    """Refuse a price that cannot be one; None is the absence of a price."""
    if not all(price.is_finite() and price > 0 for price in prices if price is not None):
        raise Refused("a price that is not positive and finite cannot be sent", code="PRICE_NOT_VALID")


def stop_loss(price: Decimal | None, side: Side, terms: Terms) -> float:
    """Return a stop for a position of this side, on the ticks and never further away: what is at risk does not grow."""
    return _level(price, terms, ROUND_CEILING if side is Side.BUY else ROUND_FLOOR)


def take_profit(price: Decimal | None, side: Side, terms: Terms) -> float:
    """Return a target for a position of this side, on the ticks and never further away."""
    return _level(price, terms, ROUND_FLOOR if side is Side.BUY else ROUND_CEILING)


def to_step(price: Decimal, step: Decimal, rounding: str) -> Decimal:
    """Round a price to a multiple of `step`."""
    return (price / step).quantize(Decimal(1), rounding=rounding) * step


def _level(price: Decimal | None, terms: Terms, rounding: str) -> float:
    return 0.0 if price is None else float(to_step(price, terms.tick_size, rounding))
