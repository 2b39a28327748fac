"""Opening alerts. Delivery to people is built in its own issue; until then the console and the log show them."""

from datetime import datetime

import structlog
from django.db import connection

from nexus.alerts.models import Alert
from nexus.alerts.states import Severity

log = structlog.get_logger(__name__)


def open_alert(
    *,
    severity: Severity,
    kind: str,
    dedupe_key: str,
    text: str,
    at: datetime,
    object_type: str = "",
    object_id: str = "",
) -> None:
    """Open an alert, or count one more sighting of the open one with the same key. Runs in the caller's transaction."""
    assert connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO alert
                (severity, kind, dedupe_key, text, object_type, object_id, seen_count, opened_at, last_seen_at)
            VALUES (%s, %s, %s, %s, %s, %s, 1, %s, %s)
            ON CONFLICT (dedupe_key) WHERE closed_at IS NULL
            DO UPDATE SET seen_count = alert.seen_count + 1, last_seen_at = excluded.last_seen_at
            """,
            [severity.value, kind, dedupe_key, text[:500], object_type, object_id, at, at],
        )
    log.warning("alerts.opened", kind=kind, severity=severity.value, object_id=object_id)


def close_alert(*, dedupe_key: str, at: datetime) -> None:
    """Close the open alert with this key, when there is one: its condition has passed."""
    Alert.objects.filter(dedupe_key=dedupe_key, closed_at__isnull=True).update(closed_at=at)
