"""Opening, acknowledging and closing alerts. What is opened is told to people once its transaction has committed."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from django.db import connection, transaction

from nexus.alerts import rules
from nexus.alerts.models import Alert
from nexus.alerts.services import outbox
from nexus.alerts.states import Severity, Word
from nexus.core import statements
from nexus.core.errors import NotFound

log = structlog.get_logger(__name__)

OPEN = """
INSERT INTO alert
    (severity, kind, dedupe_key, text, object_type, object_id, seen_count, opened_at, last_seen_at,
     acknowledged_by, note)
VALUES
    (%(severity)s, %(kind)s, %(dedupe_key)s, %(text)s, %(object_type)s, %(object_id)s, 1, %(at)s, %(at)s, '', '')
ON CONFLICT (dedupe_key) WHERE closed_at IS NULL
DO UPDATE SET seen_count = alert.seen_count + 1, last_seen_at = excluded.last_seen_at, text = excluded.text
RETURNING id, xmax = 0
"""
CLOSE_OTHERS = """
WITH others AS (
    UPDATE alert SET closed_at = %(at)s
    WHERE kind = %(kind)s AND object_id = %(object_id)s AND closed_at IS NULL AND dedupe_key <> %(dedupe_key)s
)"""
OPEN_ALONE = CLOSE_OTHERS + OPEN


def open_alert(
    *,
    severity: Severity,
    kind: str,
    dedupe_key: str,
    text: str,
    at: datetime,
    object_type: str = "",
    object_id: str = "",
    unheard: str = "",
    is_alone: bool = False,
) -> None:
    """Open an alert, or count one more sighting of the open one with the same key, which then says what is seen now.

    Runs in the caller's transaction.

    Takes: in `unheard` the name of a channel that must not be used, since the alert is about it; `is_alone` to close
    what else of its kind is open about its object.
    """
    assert connection.in_atomic_block
    given = {
        "severity": severity.value, "kind": kind, "dedupe_key": dedupe_key, "text": text[:500],
        "object_type": object_type, "object_id": object_id, "at": at,
    }  # fmt: skip
    alert_id, is_new = statements.fetch_only(OPEN_ALONE if is_alone else OPEN, given)
    if is_new:
        outbox.put(alert_id=alert_id, severity=severity, word=Word.OPENED, at=at, unheard=unheard)
        log.warning("alerts.opened", alert_id=alert_id, kind=kind, severity=severity.value, object_id=object_id)


def close_alert(*, dedupe_key: str, at: datetime) -> None:
    """Close the open alert with this key, when there is one: its condition has passed."""
    close_alerts(dedupe_keys=[dedupe_key], at=at)


def close_alerts(*, dedupe_keys: Sequence[str], at: datetime) -> None:
    """Close the open alerts with these keys, of which there may be none."""
    Alert.objects.filter(dedupe_key__in=dedupe_keys, closed_at__isnull=True).update(closed_at=at)


def close_about(*, kind: str, object_id: str, at: datetime) -> None:
    """Close every open alert of a kind about an object, whatever its key."""
    Alert.objects.filter(kind=kind, object_id=object_id, closed_at__isnull=True).update(closed_at=at)


def open_about(*, kind: str) -> list[str]:
    """Return the ids of the objects that open alerts of a kind are about, the oldest first."""
    rows = Alert.objects.filter(kind=kind, closed_at__isnull=True).order_by("pk")
    return list(rows.values_list("object_id", flat=True))


@transaction.atomic
def acknowledge(*, alert_id: int, by: str, note: str, at: datetime) -> Alert:
    """Say that somebody has taken an alert in hand: it is not escalated. The first one stays.

    It stays open until its cause is gone, but one of what has only happened closes with it. Raises: NotFound.
    """
    alert = Alert.objects.select_for_update().filter(pk=alert_id).first()
    if alert is None:
        raise NotFound(f"There is no alert {alert_id}.")
    if alert.acknowledged_at is None:
        alert.acknowledged_at, alert.acknowledged_by, alert.note = at, by, note[:500]
    if alert.closed_at is None and rules.has_happened(alert.kind):  # also one that was taken when nothing closed it
        alert.closed_at = at
    alert.save(update_fields=["acknowledged_at", "acknowledged_by", "note", "closed_at"])
    return alert
