"""Canceling an order: a request of its own, sent once. Only the broker's word that the order has ended cancels it.

Source: execution reference §2, cancel axis. "Too late" and "not found" prove neither that the order lives nor that
it is dead: the order is asked for. MetaTrader reference §8: what the broker refuses for the moment alone (too many
requests, frozen), or what has not left us, is asked for anew after 1, 5 and 30 seconds, each time by a request of its
own. So is what was lost, by an answer that did not come or a process that died, while the order works: a second cancel
can cancel nothing else. What was lost or has not left us waits for a broker that answers.
"""

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, OutcomeUnknown, Refused, Unreachable
from nexus.idempotency.services import records
from trading.models import ChangeRequest, TradeLedger
from trading.services import accounts, facts, identifiers, resolution, triggers
from trading.services.changes import UNSENT
from trading.states import CANCELED, CancelState, ChangeKind, ChangeState, Delivery

log = structlog.get_logger(__name__)

PAUSES_S = (1, 5, 30)  # before the second request, the third and the last
ONE_WISH = timedelta(minutes=3)  # requests that lie nearer to each other are tries of one and the same wish to cancel
LOST_TRIES = 5  # of what is lost each time: after 1, 2, 4, 8 and 16 leases; then it is left to people, who are told
ANEW = "No answer came. It was asked for anew."
LOST = (ChangeState.SENDING, ChangeState.UNKNOWN)
ASKED_FOR = (CancelState.REQUESTED, CancelState.UNKNOWN)
WANTED = Q(delivery=Delivery.ACKED, cancel__in=ASKED_FOR)
TRIES = (
    ChangeRequest.objects.filter(order=OuterRef("order"), kind=ChangeKind.CANCEL, answer=ANEW)
    .values("order").annotate(count=Count("pk")).values("count")
)  # fmt: skip
NEWER = ChangeRequest.objects.filter(order=OuterRef("order"), kind=ChangeKind.CANCEL, pk__gt=OuterRef("pk"))
BATCH = 50


class NotCancelable(Conflict):
    """The order has ended, or nobody knows yet whether it arrived."""

    code = "order_not_cancelable"


def request(*, order_id: int, actor: Actor, reason: str, at: datetime) -> TradeLedger:
    """Cancel what is left of an order, and return it as it stands then. Safe to repeat while it works.

    Raises: NotCancelable.
    """
    ask(order_id=order_id, actor=actor, reason=reason, at=at)
    return resolution.resolve(order_id=order_id, at=at)


def ask(*, order_id: int, actor: Actor, reason: str, at: datetime) -> ChangeRequest | None:
    """Ask the broker to cancel what is left of an order, and leave it to others to find out what became of it.

    Returns the request as answered; None where none was needed. Raises: NotCancelable.
    """
    assert not connection.in_atomic_block
    change = _claim(order_id=order_id, actor=actor, reason=reason, at=at)
    if change is not None:
        _send(change)
        change.refresh_from_db()
    return change


@transaction.atomic(durable=True)
def _claim(*, order_id: int, actor: Actor, reason: str, at: datetime) -> ChangeRequest | None:
    """Store the wish to cancel; an order that has not left us is canceled here and now (move 4)."""
    order = TradeLedger.objects.locked().get(pk=order_id)
    if order.delivery == Delivery.DONE:
        raise NotCancelable(f"The order is {order.status} already.")
    if order.delivery in (Delivery.SENDING, Delivery.UNKNOWN):
        raise NotCancelable("Nobody knows yet whether the order has arrived. It is being asked for; cancel it then.")
    detail = {"before": str(order.state), "cancel": order.cancel, "reason": reason}
    if order.delivery == Delivery.QUEUED:
        order.move(CANCELED, at=at, reason="CANCELED_BEFORE_SENDING", facts={"cancel": CancelState.DONE})
        target = Target("order", str(order.public_id))
        trail.record(
            action="order.canceled",
            actor=actor,
            target=target,
            detail=detail | {"after": str(order.state)},
            occurred_at=at,
        )
        records.close(object_id=str(order.public_id), at=at)
        change = None
    elif order.cancel in ASKED_FOR and _is_on_its_way(order):
        return None  # the order is asked for
    else:
        order.wish(CancelState.REQUESTED)
        change = _mark(order, requested_by=actor.id, reason=reason, at=at)
    trail.record(
        action="order.cancel_requested",
        actor=actor,
        target=Target("order", str(order.public_id)),
        detail=detail,
        occurred_at=at,
    )
    return change


def _mark(order: TradeLedger, *, requested_by: str, reason: str, at: datetime) -> ChangeRequest:
    """Store a cancel as about to be sent, and give up those that were lost. The caller holds the order's lock."""
    clock = facts.database_clock()
    lost = order.changes.filter(kind=ChangeKind.CANCEL, state__in=LOST)
    lost.update(state=ChangeState.REFUSED, answer=ANEW, settled_at=clock)
    return ChangeRequest.objects.create(
        change_id=f"{identifiers.draw()}-C",
        kind=ChangeKind.CANCEL,
        state=ChangeState.SENDING,
        order=order,
        before={"leaves": str(order.leaves)},
        reason=reason,
        requested_by=requested_by,
        requested_at=at,
        sent_at=clock,
    )


def due() -> list[int]:
    """Return orders whose last cancel was refused for the moment, was not sent or was lost, and whose pause is over.
    Where looks fail only what the broker itself has answered is sent anew.
    """
    clock = facts.database_clock()
    cancels = ChangeRequest.objects.filter(kind=ChangeKind.CANCEL, order__in=TradeLedger.objects.open().filter(WANTED))
    is_heard = Q(state=ChangeState.REFUSED) & ~Q(answer__startswith=UNSENT)
    cancels = cancels.filter(is_heard | ~Q(order__account__in=resolution.silent(clock))).exclude(Exists(NEWER))
    refused = cancels.filter(state=ChangeState.REFUSED, retry_at__lte=clock, order__cancel=CancelState.REQUESTED)
    lost = cancels.filter(state__in=LOST, sent_at__lt=clock - _lease())
    lost = lost.annotate(tries=Coalesce(Subquery(TRIES), 0))
    over = [each.pk for each in lost.filter(tries__lt=LOST_TRIES) if _is_over(each, tries=each.tries, clock=clock)]
    rows = cancels.filter(Q(pk__in=refused.values("pk")) | Q(pk__in=over)).order_by("order_id")
    return list(rows.values_list("order_id", flat=True).distinct()[:BATCH])


def _is_over(lost: ChangeRequest, *, tries: int, clock: datetime) -> bool:
    return tries < LOST_TRIES and lost.sent_at < clock - _lease() * 2**tries


def _lease() -> timedelta:
    return timedelta(seconds=settings.SENDING_LEASE_S)


def again(*, order_id: int, at: datetime) -> None:
    """Send a cancel anew that was refused for the moment, never left us or was lost, when it is due and the order still
    works. Safe to repeat.
    """
    assert not connection.in_atomic_block
    if ChangeRequest.objects.filter(order_id=order_id, kind=ChangeKind.CANCEL, state__in=LOST).exists():
        resolution.resolve(order_id=order_id, at=at)  # it may have arrived
    change = _claim_again(order_id=order_id, at=at)
    if change is not None:
        _send(change)
        resolution.resolve(order_id=order_id, at=at)


@transaction.atomic(durable=True)
def _claim_again(*, order_id: int, at: datetime) -> ChangeRequest | None:
    order = TradeLedger.objects.locked().get(pk=order_id)
    last = order.changes.filter(kind=ChangeKind.CANCEL).order_by("-pk").first()
    if order.delivery != Delivery.ACKED or order.cancel not in ASKED_FOR or last is None:
        return None
    clock = facts.database_clock()
    is_refused = last.state == ChangeState.REFUSED and last.retry_at is not None and last.retry_at <= clock
    tries = order.changes.filter(kind=ChangeKind.CANCEL, answer=ANEW).count()
    if not (is_refused or (last.state in LOST and _is_over(last, tries=tries, clock=clock))):
        return None
    asked = order.cancel
    order.wish(CancelState.REQUESTED)
    change = _mark(order, requested_by=last.requested_by, reason=last.reason, at=at)
    trail.record(
        action="order.cancel_requested",
        actor=Actor.system("dispatcher"),
        target=Target("order", str(order.public_id)),
        detail={"before": str(order.state), "cancel": asked, "reason": last.reason, "again_after": last.answer},
        occurred_at=at,
    )
    return change


def _is_on_its_way(order: TradeLedger) -> bool:
    """Tell whether a cancel was sent not long ago. One that was lost may be asked for anew: it can cancel nothing else.

    The broker knows the order by its own number, so a second cancel finds it or does not.
    """
    sent_since = facts.database_clock() - _lease()
    asked = order.changes.filter(kind=ChangeKind.CANCEL, sent_at__gt=sent_since)
    return asked.exclude(state=ChangeState.REFUSED, answer__startswith=UNSENT).exists()


def _send(change: ChangeRequest) -> None:
    order = change.order
    assert order is not None
    try:
        broker = accounts.broker_of(order.account)
        broker.cancel(cancel_id=change.change_id, venue_order_id=order.venue_order_id)
    except OutcomeUnknown as exc:
        _settle(change, state=ChangeState.UNKNOWN, cancel=CancelState.UNKNOWN, answer=str(exc))
    except (Refused, Unreachable) as exc:
        pause_s = _pause_s(change, exc)
        cancel = CancelState.REFUSED if pause_s is None else CancelState.REQUESTED
        said = f"{UNSENT if isinstance(exc, Unreachable) else ''}{exc}"
        _settle(change, state=ChangeState.REFUSED, cancel=cancel, answer=said, pause_s=pause_s)
        triggers.account_refused(order.account, said=exc, at=change.sent_at)
    else:
        _settle(change, state=ChangeState.DONE, cancel=CancelState.REQUESTED, answer="")


def _pause_s(change: ChangeRequest, answer: Refused | Unreachable) -> float | None:
    """Return how long to wait before the cancel is sent anew; None when it is refused for good, or often enough."""
    asked_s = 0 if isinstance(answer, Unreachable) else answer.retry_s  # for what has not left us nobody asks for time
    if asked_s is None:
        return None
    earlier = ChangeRequest.objects.filter(
        order=change.order, kind=ChangeKind.CANCEL, retry_at__isnull=False, sent_at__gt=change.sent_at - ONE_WISH
    ).count()
    return max(PAUSES_S[earlier], asked_s) if earlier < len(PAUSES_S) else None


@transaction.atomic(durable=True)
def _settle(
    change: ChangeRequest,
    *,
    state: ChangeState,
    cancel: CancelState,
    answer: str,
    pause_s: float | None = None,
) -> None:
    """Keep what the broker answered. It says nothing of the order yet."""
    assert change.order is not None
    at = facts.database_clock()
    order = TradeLedger.objects.locked().get(pk=change.order.pk)
    retry_at = None if pause_s is None else at + timedelta(seconds=pause_s)
    mine = ChangeRequest.objects.filter(pk=change.pk, state=ChangeState.SENDING)
    if not mine.update(state=state, answer=answer[:300], settled_at=at, retry_at=retry_at):
        return  # it was given up and asked for anew: what comes now is not the answer that the order waits for
    if order.cancel == CancelState.REQUESTED:
        order.wish(cancel)
    trail.record(
        action="order.cancel_answered",
        actor=Actor.system("broker"),
        target=Target("order", str(order.public_id)),
        detail={
            "change_id": change.change_id,
            "state": state,
            "answer": answer,
            "again_at": retry_at.isoformat() if retry_at else "",
        },
        occurred_at=at,
    )
