"""Reads of limits worth a name."""

from datetime import datetime

from django.db.models import QuerySet

from risk.models import LimitChange, RiskLimit
from risk.states import ChangeState


def limits_in_force() -> QuerySet[RiskLimit]:
    """Return every limit in force that has a row, of all scopes."""
    return RiskLimit.objects.filter(ended_at__isnull=True).order_by("kind", "scope", "key")


def open_changes(*, at: datetime) -> QuerySet[LimitChange]:
    """Return the proposals that wait for a second person, the oldest first."""
    return (
        LimitChange.objects.filter(state=ChangeState.PROPOSED, expires_at__gt=at)
        .select_related("proposed_by")
        .order_by("pk")
    )
