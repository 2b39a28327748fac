"""What no market could make valid: steps, bounds, ticks and terms. Nothing is rounded for the caller."""

from datetime import datetime
from decimal import Decimal

from nexus.core import money
from nexus.core.errors import FieldError, Invalid
from trading.states import OrderType, TimeInForce
from trading.types import Instrument, OrderIntent

# Which prices an order of each type has to name, and which it may not.
PRICES: dict[OrderType, frozenset[str]] = {
    OrderType.MARKET: frozenset(),
    OrderType.LIMIT: frozenset({"limit_price"}),
    OrderType.STOP: frozenset({"stop_price"}),
    OrderType.STOP_LIMIT: frozenset({"limit_price", "stop_price"}),
}
MARKET_TIMES = frozenset({TimeInForce.IOC, TimeInForce.FOK})
RESTING_TIMES = frozenset({TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD})


def refuse_misshapen(intent: OrderIntent, *, instrument: Instrument, at: datetime) -> None:
    """Refuse an intent that can never be an order of this instrument. Raises: Invalid, naming every field at fault."""
    faults = [
        *_quantity_faults(intent, instrument=instrument),
        *_price_faults(intent, instrument=instrument),
        *_time_faults(intent, instrument=instrument, at=at),
        *_stop_faults(intent, instrument=instrument),
    ]
    if intent.order_type not in instrument.order_types:
        faults.append(FieldError("/type", "not_offered", f"{instrument.symbol} knows no {intent.order_type} orders"))
    if intent.is_reducing and intent.order_type is not OrderType.MARKET:
        faults.append(FieldError("/type", "not_offered", "a position is closed at the market"))
    if faults:
        raise Invalid(f"{faults[0].pointer[1:]} {faults[0].detail}.", errors=faults)


def _quantity_faults(intent: OrderIntent, *, instrument: Instrument) -> list[FieldError]:
    """Refuse a quantity that is none here. How much of a position may be closed is judged beside the position: a broker
    that has raised its minimum, or its step, still closes the whole of it.
    """
    text, quantity = money.as_text, intent.quantity
    least = Decimal(0) if intent.is_reducing else instrument.quantity_min
    if not least <= quantity <= instrument.quantity_max:
        bounds = f"between {text(instrument.quantity_min)} and {text(instrument.quantity_max)} lots"
        return [FieldError("/quantity", "out_of_range", f"must be {bounds}")]
    if not intent.is_reducing and not money.is_multiple(quantity, instrument.quantity_step):
        return [FieldError("/quantity", "off_step", f"must be a multiple of {text(instrument.quantity_step)} lots")]
    return []


def _price_faults(intent: OrderIntent, *, instrument: Instrument) -> list[FieldError]:
    faults = []
    for field in ("entry_price", "limit_price", "stop_price", "stop_loss", "take_profit"):
        price = getattr(intent, field)
        if price is not None and not money.is_multiple(price, instrument.tick_size):
            step = money.as_text(instrument.tick_size)
            faults.append(FieldError(f"/{field}", "off_tick", f"must be a multiple of {step}"))
    for field in ("limit_price", "stop_price"):
        is_named, is_wanted = getattr(intent, field) is not None, field in PRICES[intent.order_type]
        if is_wanted and not is_named:
            faults.append(FieldError(f"/{field}", "required", f"is required for {intent.order_type} orders"))
        if is_named and not is_wanted:
            faults.append(FieldError(f"/{field}", "not_allowed", f"has no place in {intent.order_type} orders"))
    return faults


def _stop_faults(intent: OrderIntent, *, instrument: Instrument) -> list[FieldError]:
    """Refuse a stop that would not be there: a loss that looks bounded and is not."""
    if instrument.takes_stops:
        return []
    named = [field for field in ("stop_loss", "take_profit") if getattr(intent, field) is not None]
    words = f"cannot be attached: positions in {instrument.symbol} carry no stops at this broker"
    return [FieldError(f"/{field}", "not_offered", words) for field in named]


def _time_faults(intent: OrderIntent, *, instrument: Instrument, at: datetime) -> list[FieldError]:
    faults = []
    time = intent.time_in_force
    offered = MARKET_TIMES if intent.order_type is OrderType.MARKET else RESTING_TIMES
    if time is not None and (time not in offered or time not in instrument.times_in_force):
        faults.append(FieldError("/time_in_force", "not_offered", f"{time} is not offered for this order"))
    if time is TimeInForce.GTD and (intent.expires_at is None or intent.expires_at <= at):
        faults.append(FieldError("/expires_at", "required", "must be a time to come for GTD orders"))
    if time is not TimeInForce.GTD and intent.expires_at is not None:
        faults.append(FieldError("/expires_at", "not_allowed", "belongs to GTD orders only"))
    return faults
