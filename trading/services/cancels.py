"""Canceling an order: a request of its own, sent once. Only the broker's word that the order has ended cancels it.

Source: execution reference §2, cancel axis. "Too late" and "not found" prove neither that the order lives nor that
it is dead: the order is asked for.
"""

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction

from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, OutcomeUnknown, OutsideError, Refused, Unreachable
from nexus.idempotency.services import records
from trading.models import ChangeRequest, TradeLedger
from trading.services import accounts, facts, identifiers, resolution, triggers
from trading.states import CANCELED, CancelState, ChangeKind, ChangeState, Delivery

log = structlog.get_logger(__name__)


class NotCancelable(Conflict):
    """The order has ended, or nobody knows yet whether it arrived."""

    code = "order_not_cancelable"


def request(*, order_id: int, actor: Actor, reason: str, at: datetime) -> TradeLedger:
    """Cancel what is left of an order, and return it as it stands then. Safe to repeat while it works.

    Raises: NotCancelable.
    """
    assert not connection.in_atomic_block
    change = _claim(order_id=order_id, actor=actor, reason=reason, at=at)
    if change is not None:
        _send(change)
    return resolution.resolve(order_id=order_id, at=at)


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
    elif order.cancel in (CancelState.REQUESTED, CancelState.UNKNOWN) and _is_on_its_way(order):
        return None  # the order is asked for
    else:
        TradeLedger.objects.filter(pk=order.pk).update(cancel=CancelState.REQUESTED)
        lost = order.changes.filter(kind=ChangeKind.CANCEL, state__in=(ChangeState.SENDING, ChangeState.UNKNOWN))
        lost.update(
            state=ChangeState.REFUSED,
            answer="No answer came. It was asked for anew.",
            settled_at=facts.database_clock(),
        )
        change = ChangeRequest.objects.create(
            change_id=f"{identifiers.draw()}-C",
            kind=ChangeKind.CANCEL,
            state=ChangeState.SENDING,
            order=order,
            before={"leaves": str(order.leaves)},
            reason=reason,
            requested_by=actor.id,
            requested_at=at,
            sent_at=facts.database_clock(),
        )
    trail.record(
        action="order.cancel_requested",
        actor=actor,
        target=Target("order", str(order.public_id)),
        detail=detail,
        occurred_at=at,
    )
    return change


def _is_on_its_way(order: TradeLedger) -> bool:
    """Tell whether a cancel was sent not long ago. One that was lost may be asked for anew: it can cancel nothing else.

    The broker knows the order by its own number, so a second cancel finds it or does not.
    """
    lease = facts.database_clock() - timedelta(seconds=settings.SENDING_LEASE_S)
    return order.changes.filter(kind=ChangeKind.CANCEL, sent_at__gt=lease).exists()


def _send(change: ChangeRequest) -> None:
    order = change.order
    assert order is not None
    try:
        broker = accounts.broker_of(order.account)
        broker.cancel(cancel_id=change.change_id, venue_order_id=order.venue_order_id)
    except OutcomeUnknown as exc:
        _settle(change, state=ChangeState.UNKNOWN, cancel=CancelState.UNKNOWN, answer=exc)
    except (Refused, Unreachable) as exc:
        _settle(change, state=ChangeState.REFUSED, cancel=CancelState.REFUSED, answer=exc)
        triggers.account_refused(order.account, said=exc, at=change.sent_at)
    else:
        _settle(change, state=ChangeState.DONE, cancel=CancelState.REQUESTED, answer=None)


@transaction.atomic(durable=True)
def _settle(change: ChangeRequest, *, state: ChangeState, cancel: CancelState, answer: OutsideError | None) -> None:
    """Keep what the broker answered. It says nothing of the order yet."""
    assert change.order is not None
    at = facts.database_clock()
    order = TradeLedger.objects.locked().get(pk=change.order.pk)
    mine = ChangeRequest.objects.filter(pk=change.pk, state=ChangeState.SENDING)
    if not mine.update(state=state, answer=str(answer or "")[:300], settled_at=at):
        return  # it was given up and asked for anew: what comes now is not the answer that the order waits for
    if order.cancel == CancelState.REQUESTED:
        TradeLedger.objects.filter(pk=order.pk).update(cancel=cancel)
    trail.record(
        action="order.cancel_answered",
        actor=Actor.system("broker"),
        target=Target("order", str(order.public_id)),
        detail={"change_id": change.change_id, "state": state, "answer": str(answer or "")},
        occurred_at=at,
    )
