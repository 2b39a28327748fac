"""Pure arithmetic of orders: quotes, worst cases, conversions and holdings. No I/O at all.

Source: execution reference §4 (risk) and §8 (quotes).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from nexus.core import money
from nexus.core.money import CENT
from trading.states import (
    ACKED,
    CANCELED,
    EXPIRED,
    FILLED,
    PARTIAL,
    QUEUED,
    REJECTED,
    Delivery,
    OrderType,
    Side,
    State,
    VenueState,
)
from trading.types import (
    Conversion,
    Difference,
    Holding,
    Instrument,
    OrderIntent,
    Quote,
    Reservation,
    VenuePosition,
)

ZERO = Decimal(0)
ONE = Decimal(1)
FUTURE_TOLERANCE = timedelta(seconds=2)
JUMP_WINDOW = timedelta(seconds=60)

Rates = Mapping[str, Quote]


@dataclass(frozen=True, slots=True)
class Leg:
    """One entry of a correction. Units: signed lots; of no quantity, the price is the average that it sets."""

    venue_position_id: str
    quantity: Decimal
    price: Decimal


def still_remembers(remembers: Mapping[str, int], known: tuple[str, int]) -> bool:
    """Tell whether what stands before a venue remembers at least what it was known to remember: `known`, one of its
    runs and how far that had come.

    Another one, or an older copy of the same that was put back, has never heard of that run, or not of its end.
    """
    run, beats = known
    return not run or remembers.get(run, -1) >= beats


def quote_fault(
    quote: Quote | None,
    *,
    at: datetime,
    tick_size: Decimal | None,
    age_max: timedelta,
    spread_max: Decimal,
    last_good: tuple[Decimal, datetime] | None = None,
    jump_max: Decimal = ONE,
) -> str:
    """Return why a quote cannot be trusted, or an empty text.

    Takes: `last_good`: the last mid price that could be trusted and its time; further than `jump_max` of it within
    `JUMP_WINDOW` is more likely an error than a market. No `tick_size` of a pair that only converts.
    """
    if quote is None:
        return "QUOTE_MISSING"
    if not (quote.bid.is_finite() and quote.ask.is_finite() and quote.bid > 0 and quote.ask > 0):
        return "QUOTE_NOT_POSITIVE"
    if quote.size_least is not None and quote.size_least <= 0:
        return "QUOTE_NOT_POSITIVE"  # a price at which nothing can be had
    if quote.bid > quote.ask:
        return "QUOTE_CROSSED"
    if at - quote.at > age_max:
        return "QUOTE_STALE"
    if quote.at - at > FUTURE_TOLERANCE:
        return "QUOTE_IN_THE_FUTURE"
    if (quote.ask - quote.bid) * 2 / (quote.ask + quote.bid) > spread_max:
        return "SPREAD_EXCEEDS_LIMIT"
    mid = (quote.bid + quote.ask) / 2
    if last_good is not None and at - last_good[1] <= JUMP_WINDOW and abs(mid - last_good[0]) / last_good[0] > jump_max:
        return "QUOTE_JUMPED"
    if tick_size is not None and not all(money.is_multiple(price, tick_size) for price in (quote.bid, quote.ask)):
        return "QUOTE_OFF_TICK"
    return ""


def implausible(quote: Quote, *, spread_max: Decimal | None, band: tuple[Decimal, ...] | None) -> str:
    """Return why a quote that can be traded on is none of this instrument's, by what is set for it; or an empty text.

    Takes: a quote without a fault; `band`, the least and the most that its price can be.
    """
    if band is not None and not band[0] <= quote.bid <= quote.ask <= band[1]:
        return "QUOTE_OUTSIDE_BAND"
    if spread_max is not None and (quote.ask - quote.bid) * 2 / (quote.ask + quote.bid) > spread_max:
        return "SPREAD_EXCEEDS_LIMIT"
    return ""


def reference_price(quote: Quote, side: Side) -> Decimal:
    """Return the side of the quote that an order of `side` trades at."""
    return quote.ask if side is Side.BUY else quote.bid


def entry_fault(intent: OrderIntent, *, quote: Quote, distance_min: Decimal) -> str:
    """Return why a pending order cannot wait where it wants to, or an empty text.

    A buy limit waits below the ask and a buy stop above it; a sell is the mirror at the bid. A stop limit's limit is
    free of its trigger: it works from the moment the trigger is touched.
    """
    price = intent.resting_price
    if price is None:
        return ""
    reference = reference_price(quote, intent.side)
    way = -1 if intent.order_type is OrderType.LIMIT else 1
    distance = way * intent.side.direction * (price - reference)
    if distance <= 0:
        return "ENTRY_PRICE_WRONG_SIDE"
    return "ENTRY_PRICE_TOO_NEAR" if distance < distance_min else ""


def worst_entry(intent: OrderIntent, *, quote: Quote, deviation: Decimal) -> Decimal:
    """Return the worst price an order can open at: its limit where it has one, else its trigger or the market, plus
    the allowed deviation.
    """
    if intent.limit_price is not None:
        return intent.limit_price
    start = intent.stop_price if intent.stop_price is not None else reference_price(quote, intent.side)
    return start + intent.side.direction * deviation


def stops_fault(intent: OrderIntent, *, quote: Quote, distance_min: Decimal) -> str:
    """Return why the stops cannot stand, or an empty text.

    A buy closes at the bid, a sell at the ask; a pending order's stops stand about the price it opens at.
    """
    closing = quote.bid if intent.side is Side.BUY else quote.ask
    opening = intent.limit_price if intent.limit_price is not None else intent.stop_price
    closing = closing if opening is None else opening
    stops = (("STOP_LOSS", intent.stop_loss, 1), ("TAKE_PROFIT", intent.take_profit, -1))
    for name, price, way in stops:
        distance = None if price is None else way * intent.side.direction * (closing - price)
        if distance is not None and distance <= 0:
            return f"{name}_WRONG_SIDE"
        if distance is not None and distance < distance_min:
            return f"{name}_TOO_NEAR"
    return ""


def usd_rate(conversion: Conversion, rates: Rates, *, owed: bool) -> Decimal | None:
    """Return USD for one unit of a currency, at the side that costs us more, or None without a quote.

    `owed` amounts (risk, loss, value) convert at the higher rate, amounts we count on at the lower.
    """
    if not conversion.symbol:
        return ONE
    quote = rates.get(conversion.symbol)
    if quote is None or quote.bid <= 0 or quote.ask <= 0:
        return None
    if conversion.usd_is_base:
        return ONE / (quote.bid if owed else quote.ask)
    return quote.ask if owed else quote.bid


def worst_exit(stop_loss: Decimal, *, side: Side, gap: Decimal) -> Decimal:
    """Return where a stop-loss may really fill when the market gaps: S·(1 − g) for a long, S·(1 + g) for a short."""
    return stop_loss * (ONE - side.direction * gap)


def further_stop(side: Side, stops: Iterable[Decimal | None]) -> Decimal | None:
    """Return the stop of them that is furthest away: none at all is further than any."""
    told = list(stops)
    known = [stop for stop in told if stop is not None]
    if len(known) < len(told):
        return None
    return min(known) if side is Side.BUY else max(known)


def reserve(
    intent: OrderIntent,
    *,
    instrument: Instrument,
    quote: Quote,
    usd: Decimal,
    deviation: Decimal,
    gap: Decimal,
    unstopped_move: Decimal | None,
    commission_per_lot: Decimal,
    venue_loss: Decimal = ZERO,
) -> Reservation | None:
    """Return the worst an order can cost, or None when its loss is not bounded.

    R = ceil_cent(max(0, dir·(P_worst − S_worst))·max(Q·CS·FX, v) + c·Q); without a stop, R = m·P_worst·max(…) + c·Q.
    Value limits price both sides at the ask. `usd` is the rate of the profit currency; the commission is in USD.
    Takes: `venue_loss` v, the USD that the venue itself says are lost for each unit of price; nothing when it does not.
    """
    entry = worst_entry(intent, quote=quote, deviation=deviation)
    units = intent.quantity * instrument.contract_size
    fees = commission_per_lot * intent.quantity
    if intent.stop_loss is not None:
        stop = worst_exit(intent.stop_loss, side=intent.side, gap=gap)
        moved = max(ZERO, intent.side.direction * (entry - stop))
    elif unstopped_move is not None:
        moved = unstopped_move * entry
    else:
        return None
    value = money.ceil_to(units * max(quote.ask, entry) * usd, CENT)
    risk = money.ceil_to(moved * max(units * usd, venue_loss) + fees, CENT)
    return Reservation(risk=risk, value=value, units=units, deviation=deviation)


def reserved_for(risk: Decimal, *, leaves: Decimal, quantity: Decimal) -> Decimal:
    """Return what stays reserved for the unfilled part: ceil_cent(R·L/Q), always from the first R."""
    return money.ceil_to(risk * leaves / quantity, CENT) if leaves > 0 else ZERO


def open_risk(
    position: VenuePosition, *, contract_size: Decimal, usd: Decimal, gap: Decimal, unstopped_move: Decimal | None
) -> Decimal | None:
    """Return how much more a position can lose from its mark to its stop, in USD, or None when that is not bounded, as
    without a mark: a terminal that has no price yet shows zero, and a long position could lose nothing from there.
    """
    if position.price_current <= 0:
        return None
    units = position.quantity * contract_size
    if position.stop_loss is not None:
        stop = worst_exit(position.stop_loss, side=position.side, gap=gap)
        return max(ZERO, position.side.direction * (position.price_current - stop)) * units * usd
    if unstopped_move is not None:
        return unstopped_move * units * position.price_current * usd
    return None


def apply_fill(holding: Holding, *, signed_quantity: Decimal, price: Decimal) -> Holding:
    """Return the holding after a fill: adding averages the price, reducing keeps it, flipping starts anew."""
    after = holding.quantity + signed_quantity
    is_adding = holding.quantity * signed_quantity >= 0
    if is_adding:
        total = abs(after)
        averaged = (abs(holding.quantity) * holding.price + abs(signed_quantity) * price) / total
        return Holding(after, averaged)
    if after == 0 or after * holding.quantity > 0:
        return Holding(after, holding.price)
    return Holding(after, price)


def next_state(
    state: State, *, reported: VenueState, filled: Decimal, quantity: Decimal, is_new_fill: bool
) -> State | None:
    """Return where an order goes on a report, or None when the report tells nothing new.

    What is filled decides first: a fill wins over a cancellation, and a late one over any end (execution reference §2,
    moves 5 to 16). `filled` is the sum of the stored fills, never a figure from the report.
    """
    if filled >= quantity:
        return FILLED if is_new_fill or state != FILLED else None
    if state.delivery is Delivery.DONE:
        return CANCELED if is_new_fill else None
    if state == QUEUED and not filled:
        return None  # it has not left us: whatever this report tells, it is not of this order
    if not filled and state == PARTIAL:
        return ACKED if is_new_fill else None
    if filled > 0:
        ended = {VenueState.CANCELED: CANCELED, VenueState.EXPIRED: EXPIRED}.get(reported)
        return ended or (PARTIAL if is_new_fill or state != PARTIAL else None)
    reached = {
        VenueState.WORKING: ACKED,
        VenueState.FILLED: ACKED,  # it says filled and shows no fill yet: we wait for the fill
        VenueState.CANCELED: CANCELED,
        VenueState.EXPIRED: EXPIRED,
        VenueState.REJECTED: REJECTED,
        VenueState.NEVER_SENT: REJECTED,
    }.get(reported)
    return reached if reached is not None and reached != state else None


def average_price(fills: Iterable[tuple[Decimal, Decimal]]) -> Decimal | None:
    """Return the volume-weighted price of (quantity, price) pairs, or None when there are none."""
    pairs = list(fills)
    total = sum((quantity for quantity, _ in pairs), start=ZERO)
    return sum((quantity * price for quantity, price in pairs), start=ZERO) / total if total else None


def slippage(*, side: Side, price: Decimal, reference: Decimal) -> Decimal:
    """Return adverse slippage as a fraction of the reference: s = dir·(fill − ref)/ref; better prices are negative."""
    return side.direction * (price - reference) / reference


def correction_legs(difference: Difference, *, held: Mapping[str, Holding]) -> tuple[Leg, ...] | None:
    """Return the entries that turn what we hold into what the broker holds, or None when no price can explain them.

    Takes: `held`, our open positions of the key by identifier. Every position but the broker's is closed at its own
    average. The broker's is reached at p = (q_t·a_t − q_c·a_c) / (q_t − q_c); through zero it takes two entries.
    Source: execution reference §6, correction.
    """
    legs = [
        Leg(name, -each.quantity, each.price) for name, each in held.items() if name != difference.venue_position_id
    ]
    if not difference.venue_quantity:
        return tuple(legs)
    target, price = difference.venue_quantity, difference.venue_price
    if price is None or price <= 0:
        return None
    current = held.get(difference.venue_position_id, Holding(ZERO, price))
    if current.quantity * target < 0:
        legs.append(Leg(difference.venue_position_id, -current.quantity, current.price))
        current = Holding(ZERO, price)
    step = target - current.quantity
    if step == 0:
        return (*legs, Leg(difference.venue_position_id, ZERO, price)) if price != current.price else tuple(legs)
    entry = (target * price - current.quantity * current.price) / step
    return (*legs, Leg(difference.venue_position_id, step, entry)) if entry > 0 else None
