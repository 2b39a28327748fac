"""The evidence for one judgement, part by part: who asks, what they ask, and what is known of the world around it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from accounts import selectors as people
from accounts.states import Role
from accounts.types import Principal
from nexus.core import money
from nexus.core.money import CENT
from risk.rules import amounts, shape
from risk.rules.limits import plus
from risk.services import clearances, policy, stats
from risk.types import (
    Access,
    Context,
    Evidence,
    Exposure,
    Figure,
    Freshness,
    Market,
    Policy,
    Reduction,
    Shape,
    Stop,
    Unknown,
    Usage,
)
from trading import rules
from trading.models import TradableInstrument, TradeLedger, TradingAccount
from trading.rules import ONE, ZERO
from trading.services import books, exposure, instruments, standing
from trading.services.books import Books
from trading.services.facts import Facts, Missing
from trading.services.usage import Counts
from trading.services.venues import UNASKED, Said
from trading.states import Delivery
from trading.types import Conversion, OrderIntent, Quote, Reservation

TRADERS = frozenset({Role.TRADER, Role.BOT})
NOBODY = Context()


@dataclass(frozen=True, slots=True)
class Question:
    """What is judged: an order of somebody on an account, and what is known of the world around it.

    `reduction` is the position that an order says it reduces: once verified, it passes
    the limits on exposure. `said` is what the venue itself says of the order, where it was asked; `changed_id` the
    order whose new terms these are.
    """

    user: Principal
    account: TradingAccount
    instrument: TradableInstrument
    intent: OrderIntent
    facts: Facts | Missing
    day: stats.Day
    at: datetime
    context: Context = NOBODY
    reduction: Reduction | None = None
    said: Said = UNASKED
    changed_id: int | None = None

    @property
    def missing(self) -> Unknown | None:
        """Return why the facts are not there, or None when they are."""
        return Unknown(self.facts.reason, self.facts.detail) if isinstance(self.facts, Missing) else None

    @property
    def quote(self) -> Quote | None:
        """Return the quote of the instrument, as read."""
        return None if isinstance(self.facts, Missing) else self.facts.quotes.get(self.intent.symbol)


def gather(q: Question) -> tuple[Evidence, Reservation | None]:
    """Gather the evidence, and what to reserve if it allows the order. The caller holds the locks.

    One statement reads what the locks guard; the rest is arithmetic.
    """
    known = books.read(
        user_id=q.user.pk, account=q.account, symbol=q.intent.symbol, intent=q.intent, facts=q.facts, at=q.at
    )
    worst = worst_case(q, beside=known.in_doubt)
    evidence = Evidence(
        access=_access(q, known, worst=worst),
        stop=Stop(known.stop.level, known.stop.scope, known.stop.reason, is_sweep=q.context.is_sweep),
        freshness=_freshness(q, known),
        shape=_shape(q),
        market=_market(q, known),
        exposure=_exposure(q, known, worst=worst),
        usage=usage_of(known.counts, past=known.history, day=q.day, facts=q.facts),
        limits=known.limits,
        policy=_policy(q),
        is_reducing=q.reduction is not None,
    )
    if q.reduction is None:
        return evidence, None if isinstance(worst, Unknown) else worst
    return evidence, None if _quote_fault(q) else _no_risk(q)  # what only reduces need not be worth anything in USD


def _policy(q: Question) -> Policy:
    tuned = policy.current()
    if not tuned.reviewed:
        return tuned  # as it is by default: nobody can have cleared anything, and no order waits for the answer
    return replace(tuned, cleared=frozenset(clearances.in_force(user_id=q.user.pk, at=q.at)))


def worst_case(q: Question, *, beside: Sequence[TradeLedger]) -> Reservation | Unknown:
    """Return the worst that the order can cost and add. A loss without a bound is not in it: `_bounded` tells.

    Takes: `beside`, the user's orders that may fill.
    """
    fault = _quote_fault(q)
    if q.quote is None or fault or isinstance(q.facts, Missing):
        return Unknown(fault or "QUOTE_MISSING", q.missing.detail if q.missing else "")
    usd = rules.usd_rate(q.instrument.conversion, q.facts.quotes, owed=True)
    if usd is None:
        return Unknown("CONVERSION_UNAVAILABLE")
    reference = rules.reference_price(q.quote, q.intent.side)
    reservation = rules.reserve(
        q.intent,
        instrument=q.instrument.as_instrument(),
        quote=q.quote,
        usd=usd,
        deviation=money.ceil_to(reference * settings.PRICE_DEVIATION, q.instrument.tick_size),
        gap=settings.GAP_ALLOWANCE,
        unstopped_move=settings.UNSTOPPED_MOVE or ONE,
        commission_per_lot=q.instrument.commission(settings.COMMISSION_PER_LOT),
        venue_loss=_venue_loss(q, rates=q.facts.quotes),
    )
    assert reservation is not None
    more = standing.restopped(
        q.facts, account=q.account, intent=q.intent, reservation=reservation, beside=beside, changed_id=q.changed_id,
    )  # fmt: skip
    return replace(reservation, risk=reservation.risk + more, restopped=more)


def _venue_loss(q: Question, *, rates: Mapping[str, Quote]) -> Decimal:
    """Return what the venue says that the order loses for each unit of price, in USD; nothing where it does not say."""
    owed = _rate(q.account.conversion, rates)
    return ZERO if q.said.loss_a_price is None or owed is None else q.said.loss_a_price * owed


def _apart(q: Question) -> Unknown | None:
    """Return that the venue reckons a larger loss than rounding and rates explain: then we misread the instrument, and
    what its positions risk would be too little as well.
    """
    if isinstance(q.facts, Missing):
        return None
    usd, theirs = _rate(q.instrument.conversion, q.facts.quotes), _venue_loss(q, rates=q.facts.quotes)
    ours = None if usd is None else q.intent.quantity * q.instrument.contract_size * usd
    if ours is None or theirs <= ours * (ONE + settings.LOSS_FIGURES_APART):
        return None
    figures = f"ours {money.as_text(money.ceil_to(ours, CENT))}, theirs {money.as_text(money.ceil_to(theirs, CENT))}"
    return Unknown("LOSS_FIGURES_APART", f"USD for a price that moves by 1: {figures}")


def _no_risk(q: Question) -> Reservation:
    """Return what a verified reduction reserves: nothing. It may fill anywhere inside the collar, to get out."""
    assert q.quote is not None
    reference = rules.reference_price(q.quote, q.intent.side)
    deviation = money.ceil_to(reference * settings.PRICE_COLLAR, q.instrument.tick_size)
    return Reservation(risk=ZERO, value=ZERO, units=ZERO, deviation=deviation)


def usage_of(counts: Counts, *, past: stats.History, day: stats.Day, facts: Facts | Missing) -> Usage:
    """Return what the day's row and the ledger say together.

    Value and quantity: admitted today, less what ended unfilled, plus what orders of earlier days still may fill and
    have filled today, plus fills that no order of ours asked for.
    """
    rates: Mapping[str, Quote] = {} if isinstance(facts, Missing) else facts.quotes
    strange_value: Figure = ZERO
    for each in counts.strange:
        usd = _rate(Conversion(each.usd_symbol, each.usd_is_base), rates)
        is_unknown = usd is None or each.value is None
        strange_value = plus(
            strange_value, Unknown("EXTERNAL_VALUE_UNKNOWN") if is_unknown else (each.value or ZERO) * (usd or ZERO)
        )
    owed = plus(counts.carried_value, strange_value)
    value = day.value_admitted - money.floor_to(counts.undone_value, CENT)
    quantity = day.quantity_admitted - counts.undone_quantity + counts.carried_quantity
    return Usage(
        orders_today=Decimal(day.orders_admitted),
        orders_this_hour=Decimal(stats.orders_this_hour(day, clock=counts.clock) + past.this_hour),
        orders_last_second=Decimal(counts.requests),
        quantity_today=quantity + sum((each.quantity for each in counts.strange), start=ZERO),
        value_today=owed if isinstance(owed, Unknown) else value + money.ceil_to(owed, CENT),
        twins=Decimal(counts.twins),
        failures=counts.failures,
        failed_ago_s=None if counts.failed_at is None else _seconds(counts.clock - counts.failed_at),
        burst=counts.burst,
        opposites=counts.opposites,
        past_orders=past.orders,
        past_value=past.value,
    )


def _access(q: Question, known: Books, *, worst: Reservation | Unknown) -> Access:
    is_large = isinstance(worst, Reservation) and worst.value >= settings.NEW_NETWORK_VALUE
    knows = None
    if is_large and q.context.network is not None:  # nobody asks about small trades
        knows = people.knows_network(user_id=q.user.pk, ip=q.context.network, at=q.at)
    is_rescue = bool(q.context.process) and q.reduction is not None
    return Access(
        user_is_active=known.user_is_active or is_rescue,
        may_trade=q.user.role in TRADERS,
        # Whoever has an account may reduce what stands on it, also when it was put aside.
        account_is_usable=q.reduction is not None or (known.account_is_active and q.account.user_id == q.user.pk),
        account_is_live=q.account.is_live,
        stepped_up=q.context.stepped_up,
        is_armed=known.is_armed,
        knows_network=knows,
    )


def _freshness(q: Question, known: Books) -> Freshness:
    clock = known.counts.clock
    lost = [o for o in known.in_doubt if o.symbol == q.intent.symbol and _is_lost(o, clock=clock)]
    return Freshness(
        broker_fault=q.missing.reason if q.missing else "",
        broker_detail=q.missing.detail if q.missing else "",
        snapshot_age_s=(
            Unknown(q.facts.reason, q.facts.detail)
            if isinstance(q.facts, Missing)
            else _seconds(clock - q.facts.asked_at)
        ),
        sight_age_s=known.sight_age_s,
        lost_orders=", ".join(filter(None, [*map(str, lost), known.restopping])),
    )


def _is_lost(order: TradeLedger, *, clock: datetime) -> bool:
    """Tell whether nobody knows where an order is: it is UNKNOWN, or the process that was sending it is gone."""
    if order.delivery == Delivery.SENDING and order.sent_at is not None:
        return clock - order.sent_at > timedelta(seconds=settings.SENDING_LEASE_S)
    return order.delivery == Delivery.UNKNOWN


def _shape(q: Question) -> Shape:
    quote, fault = q.quote, _quote_fault(q)
    entry = stops = fault or "QUOTE_MISSING"
    if quote is not None and not fault:
        entry = rules.entry_fault(q.intent, quote=quote, distance_min=q.instrument.stops_distance_min)
        stops = rules.stops_fault(q.intent, quote=quote, distance_min=q.instrument.stops_distance_min or quote.spread)
    prices = (q.intent.entry_price, q.intent.limit_price, q.intent.stop_price, q.intent.stop_loss, q.intent.take_profit)
    quantity, least, step = q.intent.quantity, q.instrument.quantity_min, q.instrument.quantity_step
    if q.reduction is not None and quantity == q.reduction.volume:
        least = step = quantity  # the whole of a position may be closed, whatever the steps are now
    return Shape(
        symbol_fault=shape.symbol_fault(q.intent.symbol),
        quantity_fault=shape.quantity_fault(quantity, least=least, most=q.instrument.quantity_max, step=step),
        price_fault=shape.price_fault(prices, tick=q.instrument.tick_size),
        instrument_is_tradable=q.instrument.is_tradable,
        entry_fault=entry,
        stops_fault=stops,
        reduction_fault=(
            amounts.reduction_fault(q.reduction, quantity=q.intent.quantity) if q.reduction is not None else ""
        ),
    )


def _market(q: Question, known: Books) -> Market:
    quote, fault = q.quote, _quote_fault(q)
    collar: Figure = Unknown(fault or "QUOTE_MISSING")
    if quote is not None and not fault:
        reference = rules.reference_price(quote, q.intent.side)
        wanted = (q.intent.limit_price, q.intent.stop_price, q.intent.entry_price)
        price = next((each for each in wanted if each is not None), None)
        collar = ZERO if price is None else abs(price - reference) / reference
    beside = {each.usd_symbol for each in known.counts.strange}
    unfit = q.missing or exposure.unfit_conversion(q.facts, instrument=q.instrument, beside=beside, at=q.at)
    return Market(
        quote_fault=fault,
        quote_detail="" if quote is None else f"bid {money.as_text(quote.bid)}, ask {money.as_text(quote.ask)}",
        collar_used=collar,
        implausible="" if quote is None or fault else instruments.implausible(quote),
        conversion_fault=unfit.reason if unfit else "",
        conversion_detail=unfit.detail if unfit else "",
    )


def _exposure(q: Question, known: Books, *, worst: Reservation | Unknown) -> Exposure:
    in_doubt = known.in_doubt
    stands = exposure.standing(q.facts, in_doubt=in_doubt, starts=known.starts, at=q.at)
    margin = exposure.margin(
        q.facts, account=q.account, symbol=q.intent.symbol, in_doubt=in_doubt, reservation=worst,
        venue_margin=q.said.margin, changed_id=q.changed_id,
    )  # fmt: skip
    is_bounded = q.intent.stop_loss is not None or settings.UNSTOPPED_MOVE is not None
    risk: Figure = worst.risk if isinstance(worst, Reservation) else worst
    return Exposure(
        order_quantity=q.intent.quantity,
        venue_quantity_max=q.instrument.quantity_max,
        order_value=worst.value if isinstance(worst, Reservation) else worst,
        order_risk=(_apart(q) or risk) if is_bounded else Unknown("STOP_LOSS_REQUIRED"),
        position_order=worst.units if isinstance(worst, Reservation) else worst,
        position_now=plus(
            exposure.position(q.facts, in_doubt=in_doubt, symbol=q.intent.symbol, side=q.intent.side),
            known.aside.units[q.intent.side],
        ),
        positions_now=plus(stands.positions, known.aside.positions),
        loss_today=plus(stands.loss_today, known.aside.cost),
        aside=known.aside.known_cost,
        open_risk=stands.open_risk,
        reserved=stands.reserved + known.changing,
        margin_required=margin.required,
        margin_working=margin.working,
        margin_free=margin.free,
        venue_one_way_max=q.instrument.one_way_max,
        one_way_now=exposure.one_way(
            q.facts, account=q.account, in_doubt=in_doubt, symbol=q.intent.symbol, side=q.intent.side
        ),
    )


def _quote_fault(q: Question) -> str:
    if q.missing is not None:
        return q.missing.reason
    return instruments.quote_fault(q.quote, instrument=q.instrument, at=q.at)


def _rate(conversion: Conversion, quotes: Mapping[str, Quote]) -> Decimal | None:
    return rules.usd_rate(conversion, quotes, owed=True)


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)) / 1_000_000
