"""What is read of alerts."""

from django.db.models import Q, QuerySet

from nexus.alerts.models import Alert
from nexus.alerts.states import Severity


def page(
    *, limit: int, before: int | None = None, is_open: bool | None = None, severity: Severity | None = None
) -> list[Alert]:
    """Return alerts, the newest first. Takes: in `before` the id at which the page before has ended."""
    rows: QuerySet[Alert] = Alert.objects.order_by("-pk")
    wanted = Q()
    if before is not None:
        wanted &= Q(pk__lt=before)
    if is_open is not None:
        wanted &= Q(closed_at__isnull=is_open)
    if severity is not None:
        wanted &= Q(severity=severity)
    return list(rows.filter(wanted)[:limit])
