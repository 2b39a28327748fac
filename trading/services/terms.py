"""Changing a working order's prices and stops. A request of its own, sent once; until it is known, the worse of the old
and the new terms is reserved.

Source: execution reference §10. The quantity is not changed: another quantity is another order.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import money
from nexus.core.errors import OutcomeUnknown, OutsideError, Refused, Unavailable, Unreachable
from risk.services import control, stats
from risk.states import StopLevel
from trading import rules, selectors
from trading.models import ChangeRequest, TradableInstrument, TradeLedger
from trading.rules import ZERO
from trading.services import accounts, admission, facts, identifiers, instruments, shapes
from trading.services.cancels import NotCancelable
from trading.services.changes import ChangeInFlight, ChangeRefused
from trading.services.facts import Facts, Missing
from trading.states import ChangeKind, ChangeState, Delivery, TimeInForce
from trading.types import OrderChange, OrderIntent, VenueOrder

log = structlog.get_logger(__name__)

PRICES = ("limit_price", "stop_price", "stop_loss", "take_profit")


class NotChangeable(NotCancelable):
    """The order does not work at the broker: it has ended, or nobody knows yet whether it arrived."""

    code = "order_not_changeable"


def change(
    *, order_id: int, terms: Mapping[str, Decimal | None], actor: Actor, reason: str, at: datetime
) -> ChangeRequest:
    """Change prices of a working order; what `terms` does not name stays. Returns the request as it was answered.

    Raises: NotChangeable, ChangeRefused, ChangeInFlight, Invalid, Unavailable.
    """
    assert not connection.in_atomic_block
    order = TradeLedger.objects.select_related("account").get(pk=order_id)
    if order.delivery != Delivery.ACKED:
        raise NotChangeable(f"The order is {order.public_status}: only an order that works can be changed.")
    account = order.account
    named: Any = dict(terms)
    wanted = replace(order.intent, **named)
    broker = accounts.broker_of(account)
    instrument = instruments.get(account=account, broker=broker, symbol=order.symbol, at=at)
    priced = replace(wanted, expires_at=None, time_in_force=None)  # the time stays as it was accepted
    shapes.refuse_misshapen(priced, instrument=instrument.as_instrument(), at=at)
    read = facts.read(user_id=order.user_id, account=account, symbol=order.symbol, at=at)
    if isinstance(read, Missing):
        raise Unavailable(f"The broker cannot be asked now: {read.detail}", headers={"Retry-After": "5"})
    risk = _risk(wanted, instrument=instrument, read=read, at=at)
    request = _claim(order_id=order_id, wanted=wanted, risk=risk, read=read, actor=actor, reason=reason, at=at)
    return _send(request, order=order, wanted=wanted, risk=risk)


def _risk(wanted: OrderIntent, *, instrument: TradableInstrument, read: Facts, at: datetime) -> Decimal:
    """Return the worst that the order can cost on its new terms, in USD. Raises: ChangeRefused."""
    quote = read.quotes.get(wanted.symbol)
    fault = rules.quote_fault(
        quote,
        at=at,
        tick_size=instrument.tick_size,
        age_max=timedelta(seconds=settings.QUOTE_AGE_MAX_S),
        spread_max=settings.SPREAD_MAX,
    )
    usd = rules.usd_rate(instrument.conversion, read.quotes, owed=True)
    if quote is None or fault or usd is None:
        raise ChangeRefused(f"There is no price to judge this change by: {fault or 'CONVERSION_UNAVAILABLE'}.")
    least = instrument.stops_distance_min
    fault = rules.entry_fault(wanted, quote=quote, distance_min=least) or rules.stops_fault(
        wanted, quote=quote, distance_min=least
    )
    if fault:
        raise ChangeRefused(f"The market does not allow these prices: {fault}.")
    reference = rules.reference_price(quote, wanted.side)
    reservation = rules.reserve(
        wanted,
        instrument=instrument.as_instrument(),
        quote=quote,
        usd=usd,
        deviation=money.ceil_to(reference * settings.PRICE_DEVIATION, instrument.tick_size),
        gap=settings.GAP_ALLOWANCE,
        unstopped_move=settings.UNSTOPPED_MOVE,
        commission_per_lot=settings.COMMISSION_PER_LOT,
    )
    if reservation is None:
        raise ChangeRefused("An order may not be left without a stop-loss: its loss would not be bounded.")
    return reservation.risk


@transaction.atomic(durable=True)
def _claim(
    *, order_id: int, wanted: OrderIntent, risk: Decimal, read: Facts, actor: Actor, reason: str, at: datetime
) -> ChangeRequest:
    """Judge the change under the locks, reserve the worse of both terms, and store the request as about to be sent."""
    order = TradeLedger.objects.locked().select_related("account").get(pk=order_id)
    stats.lock(user_id=order.user_id, trading_date=at.date())
    if order.delivery != Delivery.ACKED:
        raise NotChangeable(f"The order is {order.public_status}: only an order that works can be changed.")
    if order.changes.filter(kind=ChangeKind.TERMS, state__in=[ChangeState.SENDING, ChangeState.UNKNOWN]).exists():
        raise ChangeInFlight("The last change of this order has not been answered yet.")
    extra = max(ZERO, risk - order.risk)
    control.lock_shared()
    stop = control.state(scopes=accounts.control_scopes(order.account, symbol=order.symbol))
    if stop.level is StopLevel.HALTED or (extra and stop.level is not StopLevel.ACTIVE):
        raise ChangeRefused(f"Trading is {stop.level.name}: {stop.reason}")
    if extra:
        in_doubt = selectors.in_doubt(user_id=order.user_id, since=read.read_at)
        check = admission.judge_more_risk(
            account=order.account, extra=extra, symbol=order.symbol, facts=read, in_doubt=in_doubt, at=at
        )
        if not check.passed:
            raise ChangeRefused(f"The new terms could lose {money.as_text(extra)} USD more: {check.reason}.")
    request = ChangeRequest.objects.create(
        change_id=f"{identifiers.draw()}-T",
        kind=ChangeKind.TERMS,
        state=ChangeState.SENDING,
        order=order,
        before=_terms(order.intent) | {"risk": money.as_text(order.risk)},
        after=_terms(wanted) | {"risk": money.as_text(risk)},
        reason=reason,
        requested_by=actor.id,
        requested_at=at,
        sent_at=facts.database_clock(),
    )
    _reserve(order, risk=max(order.risk, risk))
    trail.record(
        action="order.terms_requested",
        actor=actor,
        target=Target("order", str(order.public_id)),
        detail={"before": request.before, "after": request.after, "reason": reason},
        occurred_at=at,
    )
    return request


def _reserve(order: TradeLedger, *, risk: Decimal, **facts_beside: Any) -> None:
    reserved = rules.reserved_for(risk, leaves=order.leaves, quantity=order.quantity)
    TradeLedger.objects.filter(pk=order.pk).update(risk=risk, reserved=reserved, **facts_beside)


def _send(request: ChangeRequest, *, order: TradeLedger, wanted: OrderIntent, risk: Decimal) -> ChangeRequest:
    change_of = OrderChange(
        change_id=request.change_id,
        venue_order_id=order.venue_order_id,
        limit_price=wanted.limit_price,
        stop_price=wanted.stop_price,
        stop_loss=wanted.stop_loss,
        take_profit=wanted.take_profit,
        time_in_force=wanted.time_in_force or TimeInForce.GTC,
        expires_at=wanted.expires_at,
    )
    try:
        accounts.broker_of(order.account).change_order(change_of)
    except OutcomeUnknown as exc:
        return _settle(request, state=ChangeState.UNKNOWN, answer=exc)
    except (Refused, Unreachable) as exc:
        return _settle(request, state=ChangeState.REFUSED, answer=exc)
    return _settle(request, state=ChangeState.DONE, answer=None)


@transaction.atomic(durable=True)
def _settle(request: ChangeRequest, *, state: ChangeState, answer: OutsideError | None) -> ChangeRequest:
    """Keep the answer: the new terms hold, or the old ones do, or nobody knows and the worse stays reserved."""
    assert request.order is not None
    at = facts.database_clock()
    order = TradeLedger.objects.locked().get(pk=request.order.pk)
    ChangeRequest.objects.filter(pk=request.pk).update(state=state, answer=str(answer or "")[:300], settled_at=at)
    if order.delivery != Delivery.DONE and state is not ChangeState.UNKNOWN:
        held = request.after if state is ChangeState.DONE else request.before
        prices = {name: None if held[name] is None else Decimal(held[name]) for name in PRICES}
        _reserve(order, risk=Decimal(held["risk"]), **prices)
    trail.record(
        action="order.terms_answered",
        actor=Actor.system("broker"),
        target=Target("order", str(order.public_id)),
        detail={"change_id": request.change_id, "state": state, "answer": str(answer or "")},
        occurred_at=at,
    )
    request.refresh_from_db()
    return request


def resolve(*, change_id: int) -> None:
    """Find out what became of a change whose answer was lost: the broker's working order shows it."""
    request = ChangeRequest.objects.select_related("order__account").get(pk=change_id)
    order = request.order
    if order is None or request.state not in (ChangeState.SENDING, ChangeState.UNKNOWN):
        return
    if order.delivery == Delivery.DONE:
        _settle(request, state=ChangeState.REFUSED, answer=Refused("The order has ended."))
        return
    try:
        snapshot = accounts.broker_of(order.account).snapshot(symbols=[])
    except OutsideError as exc:
        log.warning("trading.change.not_resolved", change_id=request.change_id, error=str(exc))
        return
    working = next((each for each in snapshot.orders if each.venue_order_id == order.venue_order_id), None)
    if working is None:
        return  # it has filled or ended: the order's own resolution tells, and then this one settles
    if _shown(working) == _wanted(request.after):
        _settle(request, state=ChangeState.DONE, answer=None)
    elif (facts.database_clock() - request.sent_at).total_seconds() > settings.CHANGE_PROOF_S:
        _settle(request, state=ChangeState.REFUSED, answer=Refused("The order shows the old terms."))


def _terms(intent: OrderIntent) -> dict[str, str | None]:
    prices = {name: getattr(intent, name) for name in PRICES}
    return {name: None if price is None else money.as_text(price) for name, price in prices.items()}


def _wanted(terms: Mapping[str, str | None]) -> tuple[str | None, ...]:
    beyond = terms["limit_price"] if terms["stop_price"] else None  # of a STOP_LIMIT alone
    return (terms["stop_price"] or terms["limit_price"], beyond, terms["stop_loss"], terms["take_profit"])


def _shown(order: VenueOrder) -> tuple[str | None, ...]:
    prices = (order.price, order.limit_price, order.stop_loss, order.take_profit)
    return tuple(None if price is None else money.as_text(price) for price in prices)
