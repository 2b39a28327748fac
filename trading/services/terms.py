"""Changing a working order's prices and stops. A request of its own, judged by the gate's own rules and sent once;
until it is known, the worse of the old and the new terms is reserved.

Source: execution reference §10. The quantity is not changed: another quantity is another order.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from accounts.services.permissions import actor_of
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import money
from nexus.core.errors import OutcomeUnknown, OutsideError, Refused, Unavailable, Unreachable
from risk.services import control, stats
from risk.states import StopLevel
from risk.types import Context, Verdict
from trading import rules
from trading.models import ChangeRequest, TradeLedger
from trading.services import (
    accounts,
    admission,
    arming,
    facts,
    haste,
    identifiers,
    instruments,
    orders,
    settlements,
    shapes,
    standing,
    triggers,
    venues,
)
from trading.services.cancels import NotCancelable
from trading.services.changes import ChangeInFlight, ChangeRefused, listed_late
from trading.services.evidence import NOBODY, Question
from trading.services.facts import Facts, Missing
from trading.services.settlements import ENDED, PRICES
from trading.states import IN_FLIGHT, ChangeKind, ChangeState, Delivery, FillKind, OrderType, Side, TimeInForce
from trading.types import OrderChange, OrderIntent, VenueOrder

log = structlog.get_logger(__name__)


class NotChangeable(NotCancelable):
    """The order does not work at the broker: it has ended, or nobody knows yet whether it arrived."""

    code = "order_not_changeable"


def change(
    *,
    user: Principal,
    order_id: int,
    terms: Mapping[str, Decimal | None],
    reason: str,
    at: datetime,
    context: Context = NOBODY,
) -> ChangeRequest:
    """Change prices of a working order; what `terms` does not name stays as the broker shows it. Returns the request as
    it was answered.

    Raises: NotChangeable, ChangeRefused, ChangeInFlight, TooManyRequests, Invalid, Unavailable.
    """
    assert not connection.in_atomic_block
    order = TradeLedger.objects.select_related("account").get(pk=order_id)
    _require_working(order)
    account = order.account
    instrument = instruments.get(account=account, broker=accounts.broker_of(account), symbol=order.symbol, at=at)
    began = time.monotonic()
    read = facts.read(user_id=order.user_id, account=account, symbol=order.symbol, at=at)
    if isinstance(read, Missing):
        raise Unavailable(f"The broker cannot be asked now: {read.detail}", headers={"Retry-After": "5"})
    shown = _as_shown(order, read=read)
    named: Any = dict(terms)
    wanted = replace(shown, **named)
    priced = replace(wanted, expires_at=None, time_in_force=None)  # the time stays as it was accepted
    shapes.refuse_misshapen(priced, instrument=instrument.as_instrument(), at=at)
    asked = venues.questions(wanted, instrument=instrument)
    said = venues.ask(account=account, intent=wanted, asked=asked, facts=read)
    question = Question(
        user=user,
        account=account,
        instrument=instrument,
        intent=wanted,
        facts=read,
        day=stats.Day(),
        at=at + timedelta(seconds=time.monotonic() - began),
        context=context,
        said=said,
    )
    marked_s = time.monotonic()
    request = _claim(order_id=order_id, shown=shown, question=question, read=read, reason=reason)
    return _send(request, order=order, wanted=wanted, send_by_s=marked_s + orders.SEND_WITHIN_S)


def _require_working(order: TradeLedger) -> None:
    if order.delivery != Delivery.ACKED:
        raise NotChangeable(f"The order is {order.public_status}: only an order that works can be changed.")


def _as_shown(order: TradeLedger, *, read: Facts) -> OrderIntent:
    """Return the order with the prices that it has at the broker now. Raises: NotChangeable, ChangeRefused.

    A stop limit whose trigger was touched is a limit order there, and is changed as one.
    """
    mine = next((each.snapshot.orders for each in read.accounts if each.account.pk == order.account_id), None)
    if mine is None:
        raise ChangeRefused("The new terms are refused: ACCOUNT_NOT_USABLE.")
    for each in mine:
        if each.venue_order_id == order.venue_order_id:
            stands = order.intent
            if stands.stop_price is not None and each.order_type is OrderType.LIMIT:
                stands = replace(stands, order_type=OrderType.LIMIT, stop_price=None)
            stop, limit = (each.price, each.limit_price) if stands.stop_price is not None else (None, each.price)
            done = listed_late(order.changes, kind=ChangeKind.TERMS, asked_at=read.asked_at)
            if is_before(done, each):  # the list: what we have set last stands
                prices: Any = {name: text and Decimal(text) for name, text in done[-1].after.items() if name in PRICES}
                return replace(stands, **prices)
            return replace(
                stands, stop_price=stop, limit_price=limit, stop_loss=each.stop_loss, take_profit=each.take_profit
            )
    raise NotChangeable("The order does not work at the broker any more.")


def is_before(done: Sequence[ChangeRequest], shown: VenueOrder) -> bool:
    """Tell whether an order is shown with terms from before changes that are done. Takes: them, the newest last."""
    terms = _shown(shown)
    is_old = any(terms == _wanted(change.before, shown) for change in done)
    return is_old and terms != _wanted(done[-1].after, shown)


@transaction.atomic(durable=True)
def _claim(*, order_id: int, shown: OrderIntent, question: Question, read: Facts, reason: str) -> ChangeRequest:
    """Judge the change under the locks, reserve the worse of both terms, and store the request as about to be sent."""
    order = TradeLedger.objects.locked().select_related("account").get(pk=order_id)
    at, user = question.at, question.user
    day = stats.lock(user_id=order.user_id, trading_date=at.date())
    _require_working(order)
    haste.refuse(order.account, symbol=order.symbol)
    in_flight = Q(state__in=IN_FLIGHT)
    unseen = Q(settled_at__gte=read.read_at)  # the broker was read before that change, or during it
    if order.changes.filter(in_flight | unseen, kind=ChangeKind.TERMS).exists():
        raise ChangeInFlight("Another change of this order has not been answered yet, or was just now. Ask again.")
    judgement = admission.judge_change(replace(question, day=day), order=order)
    if judgement.reservation is None:
        raise ChangeRefused(_words(judgement.verdict))
    after = judgement.reservation
    before = _before(order, shown, question=question, read=read)
    settlements.reserve(
        order,
        risk=max(order.risk, after.risk),
        restopped=min(order.restopped, after.restopped),  # the less of it is that, the more is the order's own
        value=max(order.value, after.value),
        stop_loss=rules.further_stop(Side(order.side), (order.stop_loss, question.intent.stop_loss)),
    )
    control.lock_shared()
    stop = control.state(scopes=accounts.control_scopes(order.account, symbol=order.symbol))
    if stop.level > (StopLevel.REDUCE_ONLY if judgement.adds_nothing else StopLevel.ACTIVE):
        raise ChangeRefused(f"Trading is {stop.level.name}: {stop.reason}")
    if not judgement.adds_nothing and not arming.is_armed(order.account):
        raise ChangeRefused("The new terms are refused: LIVE_NOT_ARMED.")
    request = ChangeRequest.objects.create(
        change_id=f"{identifiers.draw()}-T",
        kind=ChangeKind.TERMS,
        state=ChangeState.SENDING,
        order=order,
        before=before,
        after=_terms(question.intent, risk=after.risk, restopped=after.restopped, value=after.value),
        reason=reason,
        requested_by=Actor.user(user.public_id).id,
        requested_at=at,
        sent_at=facts.database_clock(),
    )
    trail.record(
        action="order.terms_requested",
        actor=actor_of(user),
        target=Target("order", str(order.public_id)),
        detail={"before": request.before, "after": request.after, "reason": reason},
        occurred_at=at,
    )
    return request


def _before(order: TradeLedger, shown: OrderIntent, *, question: Question, read: Facts) -> dict[str, str | None]:
    """Write what the order goes back to when the change is refused: the terms that it has at the broker, and what they
    may cost. Where somebody has moved them at the terminal, that may be more than is reserved.
    """
    risk, value = order.risk, order.value
    stands = (shown.limit_price, shown.stop_price or order.stop_price, shown.stop_loss)
    if stands != (order.limit_price, order.stop_price, order.stop_loss):
        usd = rules.usd_rate(question.instrument.conversion, read.quotes, owed=True)
        assert usd is not None  # else the change is refused by now
        now = standing.resting(shown, known=question.instrument, usd=usd)
        risk, value = max(risk, now.risk + order.restopped), max(value, now.value)
    return _terms(shown, risk=risk, restopped=order.restopped, value=value)


def _words(verdict: Verdict) -> str:
    failed = next(check for check in verdict.checks if not check.passed)
    figures = {"limit": failed.limit, "used": failed.used, "asked": failed.asked}
    told = ", ".join(
        f"{name} {money.as_text(each)} {failed.unit}" for name, each in figures.items() if each is not None
    )
    return f"The new terms are refused: {failed.reason}{f' ({told})' if told else ''}. {failed.detail}".rstrip()


def _send(request: ChangeRequest, *, order: TradeLedger, wanted: OrderIntent, send_by_s: float) -> ChangeRequest:
    change_of = OrderChange(
        change_id=request.change_id,
        venue_order_id=order.venue_order_id,
        limit_price=wanted.limit_price,
        stop_price=wanted.stop_price,
        stop_loss=wanted.stop_loss,
        take_profit=wanted.take_profit,
        time_in_force=wanted.time_in_force or TimeInForce.GTC,
        expires_at=wanted.expires_at,
        send_by_s=send_by_s,
    )
    try:
        accounts.broker_of(order.account).change_order(change_of)
    except OutcomeUnknown as exc:
        return _settle(request, state=ChangeState.UNKNOWN, answer=exc)
    except (Refused, Unreachable) as exc:
        settled = _settle(request, state=ChangeState.REFUSED, answer=exc)
        triggers.account_refused(order.account, said=exc, at=request.sent_at)
        return settled
    return _settle(request, state=ChangeState.DONE, answer=None)


@transaction.atomic(durable=True)
def _settle(
    request: ChangeRequest, *, state: ChangeState, answer: OutsideError | None, is_known: bool = True
) -> ChangeRequest:
    return settlements.settle_terms(request, state=state, answer=str(answer or ""), is_known=is_known)


def resolve(*, change_id: int) -> None:
    """Find out what became of a change whose answer was lost: the broker's working order shows it."""
    request = ChangeRequest.objects.select_related("order__account").get(pk=change_id)
    order = request.order
    if order is None or request.state not in IN_FLIGHT:
        return
    if order.delivery == Delivery.DONE:
        _settle_ended(request, order=order)
        return
    asked_at = facts.database_clock()
    try:
        snapshot = accounts.broker_of(order.account).snapshot(symbols=[])
    except OutsideError as exc:
        log.warning("trading.change.not_resolved", change_id=request.change_id, error=str(exc))
        return
    working = next((each for each in snapshot.orders if each.venue_order_id == order.venue_order_id), None)
    if working is None:
        return  # it has filled or ended: the order's own resolution tells, and then this one settles
    is_old = (facts.database_clock() - request.sent_at).total_seconds() > settings.CHANGE_PROOF_S
    late = listed_late(order.changes, kind=ChangeKind.TERMS, asked_at=asked_at)
    if _shown(working) == _wanted(request.after, working) in [_wanted(each.before, working) for each in late]:
        return  # it may be shown as before our last change: a list that is late proves nothing
    if _shown(working) == _wanted(request.after, working):
        _settle(request, state=ChangeState.DONE, answer=None)
    elif is_old and _shown(working) == _wanted(request.before, working):
        _settle(request, state=ChangeState.REFUSED, answer=Refused("The order shows the old terms."))
    elif is_old:
        _give_up(request)


def _settle_ended(request: ChangeRequest, *, order: TradeLedger) -> None:
    """Settle a change whose order has ended: a fill that one of both limits alone allows tells which it had."""
    old, new = (terms["limit_price"] for terms in (request.before, request.after))
    if _has_filled(order, beyond=old, within=new):
        _settle(request, state=ChangeState.DONE, answer=None)
        return
    is_known = _has_filled(order, beyond=new, within=old)
    words = "The order has filled at a price that the new terms rule out." if is_known else ENDED
    _settle(request, state=ChangeState.REFUSED, answer=Refused(words), is_known=is_known)


def _has_filled(order: TradeLedger, *, beyond: str | None, within: str | None) -> bool:
    """Tell whether a fill was worse than one limit and no worse than another."""
    if beyond is None or within is None:
        return False
    way = Side(order.side).direction
    prices = order.fills.filter(kind=FillKind.ORDER).values_list("price", flat=True)
    return any(way * (price - Decimal(beyond)) > 0 >= way * (price - Decimal(within)) for price in prices)


@transaction.atomic(durable=True)
def _give_up(request: ChangeRequest) -> None:
    """End a change whose order shows terms that are neither the old nor the new: somebody else has set them since.

    A request that was on its way would have arrived by now. The worse of both terms stays reserved, and the order can
    be changed again, which judges what it shows: until then nobody could.
    """
    assert request.order is not None
    at = facts.database_clock()
    order = TradeLedger.objects.locked().get(pk=request.order.pk)
    words = "The order shows terms that are neither the old nor the new."
    rows = ChangeRequest.objects.filter(pk=request.pk, state__in=IN_FLIGHT)
    if not rows.update(state=ChangeState.REFUSED, answer=words, settled_at=at):
        return
    trail.record(
        action="order.terms_answered",
        actor=Actor.system("broker"),
        target=Target("order", str(order.public_id)),
        detail={"change_id": request.change_id, "state": ChangeState.REFUSED, "answer": words},
        occurred_at=at,
    )


def _terms(intent: OrderIntent, *, risk: Decimal, restopped: Decimal, value: Decimal) -> dict[str, str | None]:
    """Write terms as they are stored and compared, with what they may cost and are worth."""
    figures = {name: getattr(intent, name) for name in PRICES}
    figures |= {"risk": risk, "restopped": restopped, "value": value}
    return {name: None if figure is None else money.as_text(figure) for name, figure in figures.items()}


def _wanted(terms: Mapping[str, str | None], shown: VenueOrder) -> tuple[str | None, ...]:
    trigger = (
        None if shown.order_type is OrderType.LIMIT else terms["stop_price"]
    )  # one that was touched is shown no more
    beyond = terms["limit_price"] if trigger else None  # of a STOP_LIMIT alone
    return (trigger or terms["limit_price"], beyond, terms["stop_loss"], terms["take_profit"])


def _shown(order: VenueOrder) -> tuple[str | None, ...]:
    prices = (order.price, order.limit_price, order.stop_loss, order.take_profit)
    return tuple(None if price is None else money.as_text(price) for price in prices)
