"""What is read of alerts."""

from datetime import datetime

from django.db.models import Case, Count, IntegerField, Min, Q, QuerySet, Value, When

from nexus.alerts.models import Alert, Delivery
from nexus.alerts.states import DeliveryState, Severity

LOUDNESS = Case(
    When(severity=Severity.CRITICAL, then=Value(0)),
    When(severity=Severity.WARNING, then=Value(1)),
    default=Value(2),
    output_field=IntegerField(),
)


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


def waiting() -> tuple[int, datetime | None]:
    """Return how many open alerts nobody has taken in hand, and when the oldest of them opened."""
    rows = Alert.objects.filter(closed_at__isnull=True, acknowledged_at__isnull=True)
    found = rows.aggregate(count=Count("pk"), oldest=Min("opened_at"))
    return found["count"], found["oldest"]


def dead() -> tuple[int, datetime | None]:
    """Return how many alerts have a message that was given up while nobody has taken them in hand, and the oldest."""
    rows = Alert.objects.filter(acknowledged_at__isnull=True, deliveries__state=DeliveryState.FAILED)
    found = rows.aggregate(count=Count("pk", distinct=True), oldest=Min("opened_at"))
    return found["count"], found["oldest"]


def loudest(*, limit: int) -> list[Alert]:
    """Return open alerts, those that nobody has taken in hand first, then the loudest, then the oldest."""
    rows = Alert.objects.filter(closed_at__isnull=True).order_by(
        Case(When(acknowledged_at__isnull=True, then=Value(0)), default=Value(1)), LOUDNESS, "opened_at", "pk"
    )
    return list(rows[:limit])


def given_up(*, limit: int) -> list[Delivery]:
    """Return the messages that were given up, of alerts that nobody has taken in hand; the oldest first."""
    rows = Delivery.objects.filter(state=DeliveryState.FAILED, alert__acknowledged_at__isnull=True)
    return list(rows.select_related("alert").order_by("alert__opened_at", "pk")[:limit])


def alert(alert_id: int) -> Alert | None:
    """Return one alert, or None."""
    return Alert.objects.filter(pk=alert_id).first()


def open_about(object_type: str, object_id: str) -> list[Alert]:
    """Return the open alerts about an object, the oldest first."""
    rows = Alert.objects.filter(closed_at__isnull=True, object_type=object_type, object_id=object_id)
    return list(rows.order_by("pk"))


def about(*, object_type: str, object_id: str, limit: int) -> list[Alert]:
    """Return the alerts about an object, the oldest first."""
    return list(Alert.objects.filter(object_type=object_type, object_id=object_id).order_by("pk")[:limit])
