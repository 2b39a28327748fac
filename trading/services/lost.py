"""Telling people of changes and cancels whose answer was lost, for as long as nobody knows what became of them; and of
cancels that the broker took and does not carry out, or that wait for a broker to take them.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Exists, Min, Q, QuerySet
from django.db.models.functions import Now

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from trading.models import BrokerPosition, ChangeRequest, TradeLedger
from trading.services import cancels, coverage, facts
from trading.states import CancelState, ChangeKind, ChangeState, Delivery

KIND = "CHANGE_UNKNOWN"
TOLD_AFTER = timedelta(seconds=60)  # as of an order that nobody can find
TAKEN_AND_LEFT = Q(
    kind=ChangeKind.CANCEL, state=ChangeState.DONE, order__delivery=Delivery.ACKED, order__cancel=CancelState.REQUESTED
)
WAITS = Q(
    kind=ChangeKind.CANCEL, state=ChangeState.REFUSED, retry_at__isnull=False, order__delivery=Delivery.ACKED,
    order__cancel=CancelState.REQUESTED,
)  # fmt: skip
TOLD_MAX = 100  # at once: whoever is told of so many needs no more of them


@transaction.atomic(durable=True)
def tell(*, at: datetime) -> None:
    """Alert people to every change that nobody has answered for a minute, and end what is answered by now."""
    late = facts.database_clock() - TOLD_AFTER
    told = coverage.UNANSWERED | TAKEN_AND_LEFT | WAITS & ~Q(Exists(cancels.NEWER))
    rows = ChangeRequest.objects.filter(told, sent_at__lt=late).order_by("pk")
    found = {str(row.public_id): row for row in rows.select_related("order__account", "position__account")[:TOLD_MAX]}
    for name, row in found.items():
        of = row.order or row.position
        assert of is not None
        alerts.open_alert(
            severity=Severity.WARNING,
            kind=KIND,
            dedupe_key=_key(name),
            text=_words(row, of=of),
            object_type="change",
            object_id=name,
            at=at,
        )
    known = [_key(name) for name in alerts.open_about(kind=KIND) if name not in found]
    if known:
        alerts.close_alerts(dedupe_keys=known, at=at)


def _words(row: ChangeRequest, *, of: TradeLedger | BrokerPosition) -> str:
    if row.state == ChangeState.REFUSED:
        return f"{of.account}: the broker has not taken a {row.kind} request for {of}. It is sent anew when it answers."
    return (
        f"{of.account}: nobody knows what became of a {row.kind} request for {of}. Until it is known,"
        " the worse of what was and what was asked for counts."
    )


def undecided() -> list[ChangeRequest]:
    """Return the changes that people are told of and that nobody has answered, the oldest first, with what is proposed
    of them.
    """
    rows = _undecided().select_related("order__account", "position__account").prefetch_related("decisions")
    return list(rows.order_by("sent_at", "pk")[:TOLD_MAX])


def waiting() -> tuple[int, datetime | None]:
    """Return how many there are of those, and when the oldest was sent."""
    found = _undecided().aggregate(count=Count("pk"), oldest=Min("sent_at"))
    return found["count"], found["oldest"]


def _undecided() -> QuerySet[ChangeRequest]:
    return ChangeRequest.objects.filter(coverage.UNANSWERED, sent_at__lt=Now() - TOLD_AFTER)


def end(change: ChangeRequest, *, at: datetime) -> None:
    """End what was told of a change whose outcome is known, in the caller's transaction."""
    alerts.close_alert(dedupe_key=_key(str(change.public_id)), at=at)


def _key(name: str) -> str:
    return f"change-unknown:{name}"
