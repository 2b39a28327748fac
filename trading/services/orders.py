"""Executing an order: reserve and mark in one commit, send outside any transaction, settle in another.

Source: execution reference §3. After the first commit the order may have left us: it is asked for, never sent again.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from accounts.services.permissions import actor_of
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import statements
from nexus.core.errors import OutcomeUnknown, Refused, Unavailable, Unreachable
from nexus.core.http import TooManyRequests
from nexus.core.jobs import enqueue
from nexus.core.logs import correlation_id
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.services import stats
from risk.states import StopLevel
from risk.types import Context
from trading.models import TradableInstrument, TradeLedger, TradingAccount
from trading.rules import ZERO
from trading.services import (
    accounts,
    admission,
    facts,
    fills,
    identifiers,
    instruments,
    reduction,
    shapes,
    storing,
    triggers,
    venues,
)
from trading.services.evidence import NOBODY, Question
from trading.services.facts import Facts, Missing, Owned
from trading.services.storing import Mark
from trading.services.venues import Said
from trading.states import QUEUED, REJECTED, SENDING, Delivery, RejectedBy, State, VenueState
from trading.types import OrderIntent, OrderReport, OrderRequest

PACE = "ORDERS_PER_SECOND"  # the check of how fast an account asks
SECOND = timedelta(seconds=1)
SEND_WITHIN_S = 30.0  # of its mark: with a venue's longest deadline (60 s) it is there before its absence is proven

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Execution:
    """The order as it stands now, and whether this request made it or found it."""

    order: TradeLedger
    is_replay: bool
    marked_s: float = 0.0  # by this process's steady clock, just before it was marked


def execute(
    *,
    user: Principal,
    account: TradingAccount,
    intent: OrderIntent,
    key: RequestKey,
    at: datetime,
    context: Context = NOBODY,
    owned: Owned | None = None,
) -> Execution:
    """Place an order and return it as it stands: filled, rejected by us or the broker, or still unknown.

    Safe to repeat with the same key. Takes: `owned` from whoever has read it just now. Raises: Invalid when the intent
    cannot be an order of this instrument; KeyMismatch and KeyInProgress as `storing.begin`; Unavailable when the
    instrument is new to us and cannot be asked for; TooManyRequests at a door of the API.
    """
    with accounts.patience(reduces=intent.is_reducing):
        execution = _take(
            user=user, account=account, intent=intent, key=key, to=SENDING, context=context, owned=owned, at=at
        )
    if execution.order.delivery != Delivery.SENDING or execution.is_replay:
        return execution
    return Execution(send(execution.order, marked_s=execution.marked_s), is_replay=False)


def accept(
    *,
    user: Principal,
    account: TradingAccount,
    intent: OrderIntent,
    key: RequestKey,
    at: datetime,
    context: Context = NOBODY,
    owned: Owned | None = None,
) -> Execution:
    """Accept an order to be sent by a worker, and return it QUEUED with its reservation, or REJECTED. As `execute`."""
    execution = _take(
        user=user, account=account, intent=intent, key=key, to=QUEUED, context=context, owned=owned, at=at
    )
    if execution.order.delivery == Delivery.QUEUED:
        enqueue("trading.dispatch_order", order_id=execution.order.pk)
    return execution


def replay(key: RequestKey) -> Execution | None:
    """Return the order that the key has made, as it stands, or None. Raises: KeyMismatch."""
    made = records.find(key)
    return None if made is None else Execution(TradeLedger.objects.get(public_id=made), is_replay=True)


def _take(
    *,
    user: Principal,
    account: TradingAccount,
    intent: OrderIntent,
    key: RequestKey,
    to: State,
    context: Context,
    owned: Owned | None,
    at: datetime,
) -> Execution:
    """Read what an order needs and admit it into `to`, or return the order that the key has made."""
    if owned is None or owned.made is None:
        made = records.find(key)
    else:  # looked up when the accounts were read; what came since is found when the key is taken
        made = records.same(key, *owned.made[account.pk]) if account.pk in owned.made else None
    if made is not None:
        return Execution(TradeLedger.objects.get(public_id=made), is_replay=True)
    try:
        broker = accounts.broker_of(account)
    except Refused as exc:
        raise Unavailable(f"This account cannot be traded now: {exc}") from exc
    owned = owned or facts.owned_by(user.pk)
    if context.process or intent.is_reducing:
        owned = facts.only(owned, account)  # another account's broker does not hold up what is to be closed here
    known = owned.instruments.get((account.pk, intent.symbol))
    instrument = instruments.fresh(
        known, account=account, broker=broker, symbol=intent.symbol, at=at, reduces=intent.is_reducing
    )
    owned.instruments[(account.pk, intent.symbol)] = instrument
    shapes.refuse_misshapen(intent, instrument=instrument.as_instrument(), at=at)
    asked = venues.questions(intent, instrument=instrument)
    began = time.monotonic()
    read = facts.read(user_id=user.pk, account=account, symbol=intent.symbol, at=at, owned=owned, questions=asked)
    said = venues.told(account=account, intent=intent, asked=asked, facts=read)
    judged_at = at + timedelta(seconds=time.monotonic() - began)  # a slow read makes a quote older, not newer
    while True:
        marked_s = time.monotonic()
        try:
            order, is_new = _admit(
                user=user, account=account, instrument=instrument, intent=intent, read=read, said=said, key=key,
                to=to, context=context, at=judged_at,
            )  # fmt: skip
        except storing.StopCame:  # as we judged; judged once more, it is seen
            continue
        return Execution(order, is_replay=not is_new, marked_s=marked_s)


@transaction.atomic(durable=True)
def _admit(
    *,
    user: Principal,
    account: TradingAccount,
    instrument: TradableInstrument,
    intent: OrderIntent,
    read: Facts | Missing,
    said: Said,
    key: RequestKey,
    to: State,
    context: Context,
    at: datetime,
) -> tuple[TradeLedger, bool]:
    """Judge the order under the locks and store it: SENDING with its reservation, or REJECTED with its reason.

    Locks, in the one order: the idempotency key, the user's day, the stop lock shared. Whatever they guard is read in
    later statements. The stop lock comes last and is held for the mark alone: a stop must never wait for a queue of one
    user's orders, nor for their judging. Raises: StopCame, TooManyRequests.
    """
    public_id = uuid.uuid4()
    beginning = storing.begin(key=key, public_id=public_id, user_id=user.pk, at=at)
    if beginning.made != str(public_id):
        return TradeLedger.objects.get(public_id=beginning.made), False
    day = beginning.day
    question = Question(
        user=user,
        account=account,
        instrument=instrument,
        intent=intent,
        facts=read,
        day=day,
        at=at,
        context=context,
        reduction=reduction.read(account=account, intent=intent, facts=read, is_sweep=context.is_sweep),
        said=said,
    )
    judgement = admission.judge(question)
    if context.is_request:
        _refuse_haste(judgement)
    actor = Actor.system(context.process) if context.process else actor_of(user)
    name = identifiers.of(beginning.number)
    order = _draft(question, public_id=public_id, name=name)
    if judgement.verdict.allowed:
        _reserve(order, question, judgement=judgement, to=to, actor=actor)
        return order, True
    stats.count_rejected(day)
    return _reject(order, judgement=judgement, actor=actor, at=at), True


def _refuse_haste(judgement: admission.Judgement) -> None:
    """Answer who asks too often, and keep neither an order nor the key: repeated later, it is an order (ADR 0025).

    Counted by the look that every order takes, under the locks that every order takes. Raises: TooManyRequests.
    """
    for check in judgement.verdict.checks:
        if check.name == PACE and not check.passed and check.limit is not None:
            detail = f"An account asks for at most {check.limit:f} orders in a second."
            raise TooManyRequests.until(detail, policy="orders", most=int(check.limit), window=SECOND, wait=SECOND)


def _draft(question: Question, *, public_id: uuid.UUID, name: str) -> TradeLedger:
    """Return the order as it was asked for, before anybody decides."""
    intent = question.intent
    order = statements.drafted(
        TradeLedger,
        public_id=public_id, account_id=question.account.pk, user_id=question.user.pk, client_order_id=name,
        symbol=intent.symbol, side=intent.side, quantity=intent.quantity, entry_price=intent.entry_price,
        stop_loss=intent.stop_loss, take_profit=intent.take_profit, order_type=intent.order_type,
        limit_price=intent.limit_price, stop_price=intent.stop_price, time_in_force=intent.time_in_force or "",
        expires_at=intent.expires_at, venue_position_id=intent.venue_position_id,
        other_position_id=intent.other_position_id, created_at=question.at, correlation_id=correlation_id(),
    )  # fmt: skip
    order.account = question.account
    return order


def _reserve(
    order: TradeLedger, question: Question, *, judgement: admission.Judgement, to: State, actor: Actor
) -> None:
    """Store the order as admitted: QUEUED (move 1), or marked as about to be sent (moves 1 and 3 in one commit).

    The transaction ends here. Raises: StopCame when a stop covers the order, or its account is live and not armed.
    """
    quote, is_reducing = question.quote, bool(order.venue_position_id)
    assert judgement.reservation is not None
    assert quote is not None
    most = StopLevel.HALTED if question.context.is_sweep else StopLevel.REDUCE_ONLY
    order.checks = [check.as_dict() for check in judgement.verdict.checks]
    order.status, order.delivery = to
    order.attempts = int(to == SENDING)
    order.reference_bid, order.reference_ask = quote.bid, quote.ask
    order.deviation = judgement.reservation.deviation
    order.risk = order.reserved = judgement.reservation.risk
    order.restopped = judgement.reservation.restopped
    order.value = judgement.reservation.value
    path = (QUEUED, SENDING) if to == SENDING else (QUEUED,)
    mark = Mark(
        day=question.day,
        value=judgement.reservation.value,
        quantity=ZERO if is_reducing else order.quantity,
        scopes=accounts.control_scopes(order.account, symbol=order.symbol),
        most=most if is_reducing else StopLevel.ACTIVE,
        armed=order.account.pk if order.account.is_live and not is_reducing else None,
        price=instruments.noting(question.instrument, quote, at=question.at),
    )
    _store(order, path=path, actor=actor, action="order.admitted", mark=mark, at=question.at)


def _reject(order: TradeLedger, *, judgement: admission.Judgement, actor: Actor, at: datetime) -> TradeLedger:
    """Store the order as rejected by us: move 2. It reserves nothing and its key may be forgotten in time."""
    order.checks = [check.as_dict() for check in judgement.verdict.checks]
    order.status, order.delivery = REJECTED
    order.rejected_by, order.reason, order.closed_at = RejectedBy.LOCAL, judgement.verdict.reason, at
    _store(order, path=(REJECTED,), actor=actor, action="order.rejected", mark=None, at=at)
    records.close(object_id=str(order.public_id), at=at)
    return order


def _store(
    order: TradeLedger, *, path: tuple[State, ...], actor: Actor, action: str, mark: Mark | None, at: datetime
) -> None:
    event = trail.event(
        action=action,
        actor=actor,
        target=Target("order", str(order.public_id)),
        detail={
            "client_order_id": order.client_order_id,
            "symbol": order.symbol,
            "side": order.side,
            "quantity": order.quantity,
            "status": order.status,
            "reason": order.reason,
            "reserved": order.reserved,
        },
        occurred_at=at,
    )
    storing.store(order, path=path, event=event, mark=mark, at=at)


def send(order: TradeLedger, *, marked_s: float) -> TradeLedger:
    """Send an order that this process has just marked, once, and settle what came of it. Never inside a transaction.

    Takes: `marked_s`, this process's steady clock just before the mark.
    """
    assert not connection.in_atomic_block
    assert order.sent_at is not None
    began = time.monotonic()
    try:
        with accounts.patience(reduces=bool(order.venue_position_id)):
            report = _submit(order, send_by_s=marked_s + SEND_WITHIN_S)
    except OutcomeUnknown as exc:
        log.warning("trading.order.outcome_unknown", order_id=str(order.public_id), error=str(exc))
        return _settle(order, began=began, lost=str(exc))
    except Unreachable as exc:
        report = OrderReport(
            order.client_order_id, VenueState.REJECTED, reason=str(exc), code="UNREACHABLE", is_local=True
        )
    except Refused as exc:
        report = OrderReport(
            order.client_order_id, VenueState.REJECTED, reason=str(exc), code=exc.code, halts=exc.halts,
            is_defect=exc.is_defect, is_local=exc.is_local,
        )  # fmt: skip
    except Exception as exc:  # an error of ours, and nobody knows whether it came before the wire or after it
        log.exception("trading.order.send_broke", order_id=str(order.public_id))
        return _settle(order, began=began, lost=f"{type(exc).__name__}: {exc}")
    settled = _settle(order, began=began, report=report)
    triggers.account_refused(order.account, said=report, at=settled.closed_at or order.sent_at)
    return settled


def _submit(order: TradeLedger, *, send_by_s: float) -> OrderReport:
    broker = accounts.broker_of(order.account)
    if not order.other_position_id:
        return broker.submit(as_request(order, send_by_s=send_by_s))
    return broker.close_by(
        client_order_id=order.client_order_id,
        venue_position_id=order.venue_position_id,
        other_position_id=order.other_position_id,
        send_by_s=send_by_s,
    )


def _settle(order: TradeLedger, *, began: float, report: OrderReport | None = None, lost: str = "") -> TradeLedger:
    """Book what came of a sent order, at the database's time: when it was marked there, and what has passed here since.

    When the database fails now, the order was sent all the same: say so, and let the resolver find it, rather than
    invite a second try.
    """
    assert order.sent_at is not None
    at = order.sent_at + timedelta(seconds=time.monotonic() - began)
    try:
        settled = (
            fills.settle(order, report=report, at=at) if report else fills.lose(order_id=order.pk, detail=lost, at=at)
        )
        settled.account, settled.checks = order.account, order.checks
        return settled
    except (OperationalError, InterfaceError) as exc:
        log.error("trading.order.not_settled", order_id=str(order.public_id), error=str(exc))  # noqa: TRY400
        return order


def as_request(order: TradeLedger, *, send_by_s: float | None = None) -> OrderRequest:
    """Return the order in the words of the broker protocol."""
    intent = order.intent
    reference = order.reference_ask if intent.side.direction > 0 else order.reference_bid
    assert reference is not None
    return OrderRequest(
        client_order_id=order.client_order_id,
        symbol=intent.symbol,
        side=intent.side,
        quantity=intent.quantity,
        reference_price=reference,
        deviation=Decimal(order.deviation or ZERO),
        stop_loss=intent.stop_loss,
        take_profit=intent.take_profit,
        order_type=intent.order_type,
        limit_price=intent.limit_price,
        stop_price=intent.stop_price,
        time_in_force=intent.time_in_force,
        expires_at=intent.expires_at,
        venue_position_id=intent.venue_position_id,
        sent_at=order.sent_at,
        send_by_s=send_by_s,
    )
