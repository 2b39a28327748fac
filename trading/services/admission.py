"""Whether one order may be sent: every check, over facts read live, judged under the lock of the user's day."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from nexus.core import money
from nexus.core.money import CENT
from risk import rules as risk_rules
from risk.services import control, limits, stats
from risk.states import ControlScope, LimitKind
from risk.types import Check, Exposure, Verdict
from trading import rules
from trading.models import TradableInstrument, TradeLedger, TradingAccount
from trading.services.facts import AccountFacts, Facts, Missing
from trading.states import Delivery, PositionMode, Side
from trading.types import OrderIntent, Reservation, VenuePosition

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Unknowable:
    """A figure that cannot be had, and the reason code for it. What cannot be known is refused."""

    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict with every check, and what to reserve when it allows the order."""

    verdict: Verdict
    reservation: Reservation | None


def judge(
    *,
    account: TradingAccount,
    instrument: TradableInstrument,
    intent: OrderIntent,
    facts: Facts | Missing,
    in_doubt: list[TradeLedger],
    at: datetime,
) -> Judgement:
    """Judge an order. The caller holds the stop lock and the user's day; this reads what they guard.

    `in_doubt` are the user's orders that the facts may or may not show: each counts in full, and is left out of the
    facts where it is found there.
    """
    stop = control.state(
        scopes=(
            (ControlScope.BROKER, account.venue),
            (ControlScope.ACCOUNT, str(account.pk)),
            (ControlScope.USER, str(account.user_id)),
            (ControlScope.INSTRUMENT, intent.symbol),
        )
    )
    checks = [risk_rules.judge_control(stop.level, scope=stop.scope, reason=stop.reason)]
    if isinstance(facts, Missing):
        checks.append(Check("BROKER_FACTS", facts.reason, passed=False, detail=facts.detail))
        return Judgement(Verdict(tuple(checks)), None)
    market, reservation = _judge_market(instrument, intent=intent, facts=facts, in_doubt=in_doubt, at=at)
    checks += market
    if reservation is None:
        return Judgement(Verdict(tuple(checks)), None)
    exposure = _exposure(intent=intent, facts=facts, in_doubt=in_doubt, reservation=reservation, at=at)
    if isinstance(exposure, Unknowable):
        checks.append(Check("EXPOSURE", exposure.reason, passed=False))
        return Judgement(Verdict(tuple(checks)), None)
    profile = limits.in_force(user_id=account.user_id, account_id=account.pk, symbol=intent.symbol)
    return Judgement(risk_rules.judge(profile, exposure=exposure).preceded_by(checks), reservation)


def _judge_market(
    instrument: TradableInstrument, *, intent: OrderIntent, facts: Facts, in_doubt: list[TradeLedger], at: datetime
) -> tuple[list[Check], Reservation | None]:
    """Judge the market around the order; without a usable price there is nothing to reserve."""
    quote = facts.quotes.get(intent.symbol)
    fault = rules.quote_fault(
        quote,
        at=at,
        tick_size=instrument.tick_size,
        age_max=timedelta(seconds=settings.QUOTE_AGE_MAX_S),
        spread_max=settings.SPREAD_MAX,
    )
    lost = [o for o in in_doubt if o.delivery == Delivery.UNKNOWN and o.symbol == intent.symbol]
    checks = [
        Check("UNKNOWN_ORDERS", "UNKNOWN_ORDER_ON_INSTRUMENT", passed=not lost, detail=", ".join(map(str, lost))[:200]),
        Check("INSTRUMENT", "INSTRUMENT_NOT_TRADABLE", passed=instrument.is_tradable),
        Check("QUOTE", fault, passed=not fault),
    ]
    if quote is None or fault:
        return checks, None
    reference = rules.reference_price(quote, intent.side)
    stops = rules.stops_fault(intent, quote=quote, distance_min=instrument.stops_distance_min)
    within = rules.is_within_collar(intent.entry_price, reference=reference, collar=settings.PRICE_COLLAR)
    usd = rules.usd_rate(instrument.conversion, facts.quotes, owed=True)
    detail = f"bid {money.as_text(quote.bid)}, ask {money.as_text(quote.ask)}"
    checks += [
        Check("STOPS", stops, passed=not stops, detail=detail),
        Check("PRICE_COLLAR", "PRICE_OUTSIDE_COLLAR", passed=within, limit=settings.PRICE_COLLAR, detail=detail),
        Check("CONVERSION", "CONVERSION_UNAVAILABLE", passed=usd is not None),
    ]
    if usd is None:
        return checks, None
    reservation = rules.reserve(
        intent,
        instrument=instrument.as_instrument(),
        quote=quote,
        usd=usd,
        deviation=money.ceil_to(reference * settings.PRICE_DEVIATION, instrument.tick_size),
        gap=settings.GAP_ALLOWANCE,
        unstopped_move=settings.UNSTOPPED_MOVE,
        commission_per_lot=settings.COMMISSION_PER_LOT,
    )
    checks.append(Check("BOUNDED_LOSS", "STOP_LOSS_REQUIRED", passed=reservation is not None))
    return checks, reservation


def _exposure(
    *,
    intent: OrderIntent,
    facts: Facts,
    in_doubt: list[TradeLedger],
    reservation: Reservation,
    at: datetime,
) -> Exposure | Unknowable:
    """Add up what the user stands to lose today beside this order.

    An order in doubt counts its whole worst case; the position it may already have made is taken out of the facts, so
    that it is not counted twice. On a netting account a position cannot be told apart, and it is: too much, never too
    little.
    """
    doubtful = {order.client_order_id: order for order in in_doubt}
    loss = risk = held = ZERO
    starts = _starts(facts, at=at)
    for each in facts.accounts:
        own, counted = _split(each, doubtful)
        lost = _loss_today(each, own=own, equity_start=starts[each.account.pk], facts=facts)
        stands = _open_risk(each, counted, facts=facts)
        if isinstance(lost, Unknowable):
            return lost
        if isinstance(stands, Unknowable):
            return stands
        loss, risk = loss + lost, risk + stands
        mine = [p for p in counted if p.symbol == intent.symbol and p.side is intent.side]
        held += sum((p.quantity * _contract_size(facts, each.account.pk, p.symbol) for p in mine), start=ZERO)
    same_side = [o for o in in_doubt if o.symbol == intent.symbol and o.side == intent.side]
    held += sum((o.quantity * _contract_size(facts, o.account_id, o.symbol) for o in same_side), start=ZERO)
    return Exposure(
        loss_today=loss,
        open_risk=risk,
        reserved=sum((order.risk for order in in_doubt), start=ZERO),
        order_risk=reservation.risk,
        order_value=reservation.value,
        position_now=held,
        position_order=reservation.units,
    )


def _contract_size(facts: Facts, account_id: int, symbol: str) -> Decimal:
    size: Decimal = facts.instruments[(account_id, symbol)].contract_size
    return size


def _starts(facts: Facts, *, at: datetime) -> Mapping[int, Decimal]:
    for each in facts.accounts:
        stats.open_day(
            account_id=each.account.pk,
            trading_date=at.date(),
            currency=each.snapshot.currency,
            equity=each.snapshot.equity,
            at=at,
        )
    return stats.equity_at_start(account_ids=[each.account.pk for each in facts.accounts], trading_date=at.date())


def _split(each: AccountFacts, doubtful: Mapping[str, TradeLedger]) -> tuple[list[VenuePosition], list[VenuePosition]]:
    """Part an account's positions into those that an order in doubt accounts for, and all others."""
    if each.snapshot.mode is not PositionMode.HEDGING:
        return [], list(each.snapshot.positions)
    own = [p for p in each.snapshot.positions if p.client_order_id and p.client_order_id in doubtful]
    return own, [p for p in each.snapshot.positions if p not in own]


def _loss_today(
    each: AccountFacts, *, own: list[VenuePosition], equity_start: Decimal, facts: Facts
) -> Decimal | Unknowable:
    """Return what the account has lost since its day began, in USD; a profit gives no room."""
    equity = each.snapshot.equity - sum((position.profit for position in own), start=ZERO)
    if not each.snapshot.equity.is_finite() or each.snapshot.equity <= 0:
        return Unknowable("EQUITY_NOT_POSITIVE")
    lost = max(ZERO, equity_start - equity)
    usd = rules.usd_rate(each.account.conversion, facts.quotes, owed=True)
    return Unknowable("CONVERSION_UNAVAILABLE") if usd is None else money.ceil_to(lost * usd, CENT)


def _open_risk(each: AccountFacts, positions: list[VenuePosition], *, facts: Facts) -> Decimal | Unknowable:
    """Return what the positions can still lose from their mark to their stops, in USD."""
    total = ZERO
    for position in positions:
        known = facts.instruments[(each.account.pk, position.symbol)]
        usd = rules.usd_rate(known.conversion, facts.quotes, owed=True)
        if usd is None:
            return Unknowable("CONVERSION_UNAVAILABLE")
        stands = rules.open_risk(
            position,
            contract_size=known.contract_size,
            usd=usd,
            gap=settings.GAP_ALLOWANCE,
            unstopped_move=settings.UNSTOPPED_MOVE,
        )
        if stands is None:
            return Unknowable("OPEN_RISK_NOT_BOUNDED")
        total += stands
    return money.ceil_to(total, CENT)


def judge_more_risk(
    *,
    account: TradingAccount,
    extra: Decimal,
    symbol: str,
    facts: Facts,
    in_doubt: list[TradeLedger],
    at: datetime,
) -> Check:
    """Judge whether the day's loss has room for `extra` USD more, as for an order. The caller holds the same locks."""
    nothing = OrderIntent(symbol=symbol, side=Side.BUY, quantity=ZERO)
    reservation = Reservation(risk=extra, value=ZERO, units=ZERO, deviation=ZERO)
    exposure = _exposure(intent=nothing, facts=facts, in_doubt=in_doubt, reservation=reservation, at=at)
    if isinstance(exposure, Unknowable):
        return Check("EXPOSURE", exposure.reason, passed=False)
    profile = limits.in_force(user_id=account.user_id, account_id=account.pk, symbol=symbol)
    verdict = risk_rules.judge(profile, exposure=exposure)
    return next(check for check in verdict.checks if check.name == LimitKind.DAILY_LOSS)
