"""Reviews of what looked suspicious: an operator lets orders of one trader pass that look so, for a while."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import connection

from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict
from risk.models import SuspicionClearance
from risk.services import policy
from risk.states import Suspicion

CLEARED_FOR = timedelta(hours=1)


class NotReviewed(Conflict):
    """Orders that look so are told of and pass: nobody has to clear them."""

    code = "suspicion_not_reviewed"
    title = "Such orders are not held back"


def is_reviewed(suspicion: Suspicion) -> bool:
    """Tell whether orders that look so are refused until a person has looked."""
    return suspicion in policy.current().reviewed


def in_force(*, user_id: int, at: datetime) -> Mapping[Suspicion, datetime]:
    """Return in which ways the user's orders may look suspicious now, and until when."""
    rows = SuspicionClearance.objects.filter(user_id=user_id, until__gt=at).order_by("until")
    return {Suspicion(name): until for name, until in rows.values_list("suspicion", "until")}


def grant(*, user_id: int, suspicion: Suspicion, reason: str, by: Principal, at: datetime) -> datetime:
    """Let the user's orders look suspicious in one way for an hour; every limit holds as before. Returns until when.

    The caller has checked who may, and is in a transaction. Raises: NotReviewed.
    """
    assert connection.in_atomic_block
    if not is_reviewed(suspicion):
        raise NotReviewed(f"Orders are not refused for {suspicion}: they are told of, and pass.")
    until = at + CLEARED_FOR
    row = SuspicionClearance.objects.create(
        user_id=user_id, suspicion=suspicion, until=until, reason=reason, cleared_by_id=by.pk, created_at=at
    )
    trail.record(
        action="risk.suspicion_cleared",
        actor=Actor.user(by.public_id),
        target=Target("user", str(row.user.public_id)),
        detail={"suspicion": suspicion, "until": until, "reason": reason},
        occurred_at=at,
    )
    return until
