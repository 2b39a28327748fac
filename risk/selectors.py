"""Reads of limits worth a name."""

from datetime import datetime

from django.db.models import QuerySet

from risk.models import LimitChange, RiskLimit
from risk.states import ChangeState


def limits_in_force() -> QuerySet[RiskLimit]:
    """Return every limit in force that has a row, of all scopes."""
    return RiskLimit.objects.filter(ended_at__isnull=True).order_by("kind", "scope", "key")


def limits_page(*, scope: str, key: str | None, limit: int, before: int | None) -> tuple[list[RiskLimit], int | None]:
    """Return a page of limits in force, the newest first, and the key that the next goes on before.

    Takes: "" for any scope, None for anybody's.
    """
    rows = RiskLimit.objects.filter(ended_at__isnull=True).select_related("set_by").order_by("-pk")
    rows = rows.filter(scope=scope) if scope else rows
    rows = rows if key is None else rows.filter(key=key)
    page = list((rows if before is None else rows.filter(pk__lt=before))[: limit + 1])
    return page[:limit], page[limit - 1].pk if len(page) > limit else None


def versions(*, scope: str, key: str, kind: str, limit: int) -> list[RiskLimit]:
    """Return the versions of one limit, the newest first; the one without an end is in force."""
    rows = RiskLimit.objects.filter(scope=scope, key=key, kind=kind).select_related("set_by").order_by("-pk")
    return list(rows[:limit])


def changes_of(*, scope: str, key: str, kind: str, limit: int) -> list[LimitChange]:
    """Return the proposals to raise one limit, the newest first."""
    rows = LimitChange.objects.filter(scope=scope, key=key, kind=kind).select_related("proposed_by", "decided_by")
    return list(rows.order_by("-pk")[:limit])


def open_changes(*, at: datetime) -> QuerySet[LimitChange]:
    """Return the proposals that wait for a second person, the oldest first."""
    return (
        LimitChange.objects.filter(state=ChangeState.PROPOSED, expires_at__gt=at)
        .select_related("proposed_by")
        .order_by("pk")
    )
