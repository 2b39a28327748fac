"""What is read of the black box: its head, its keys, and what waits to be sealed."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, connections

from nexus.audit.models import AnchorMark, Batch, Event, Export, Verification
from nexus.audit.rules.keys import INTRODUCED, KEY_OBJECT
from nexus.core.errors import NotFound

ASKED = "audit.verification_requested"
ERASED, REVEALED = "audit.pii_erased", "audit.pii_revealed"
AUDIT_EVENT = "audit_event"  # what both are about
LOOK_BACK = 50_000  # ids below the newest sealed event among which events may still be unsealed: late commits


def head(*, using: str = "default") -> Batch | None:
    """Return the newest batch."""
    return Batch.objects.using(using).order_by("-batch_no").first()


def sealed_texts(action: str, *, using: str = "default") -> list[str]:
    """Return the texts of the sealed events of an action, in the order of the log. For actions that are rare."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT e.canonical FROM audit.event e JOIN audit.leaf l ON l.event_id = e.id WHERE e.action = %s"
            " ORDER BY l.log_index",
            [action],
        )
        return [row[0] for row in cursor.fetchall()]


def key_of_head() -> str | None:
    """Return the name of the key that sealed the newest batch."""
    newest = head()
    return newest.key_id if newest else None


def key_of_batch(batch_no: int, *, using: str = "default") -> str | None:
    """Return the name of the key that sealed a batch; None where there is no such batch."""
    return Batch.objects.using(using).filter(batch_no=batch_no).values_list("key_id", flat=True).first()


def introductions(
    key_id: str = "", *, before: int | None = None, is_sealed: bool = False, using: str = "default"
) -> list[str]:
    """Return the canonical texts of the events that introduce keys, or one key, in order."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT e.canonical FROM audit.event e LEFT JOIN audit.leaf l ON l.event_id = e.id"
            " WHERE e.action = %(action)s AND (%(key)s = '' OR (e.object_type = %(type)s AND e.object_id = %(key)s))"
            " AND (NOT %(is_sealed)s OR l.log_index IS NOT NULL)"
            " AND (%(before)s::bigint IS NULL OR l.log_index < %(before)s) ORDER BY l.log_index NULLS LAST, e.id",
            {"action": INTRODUCED, "type": KEY_OBJECT, "key": key_id, "before": before, "is_sealed": is_sealed},
        )
        return [row[0] for row in cursor.fetchall()]


def oldest_unsealed() -> datetime | None:
    """Return when the oldest event was recorded that waits for its seal; None when none does.

    It looks as far back as the sealer's quick look does; what is older is found by verification.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH low AS (SELECT coalesce(max(event_id), 0) - %s AS id FROM audit.leaf)"
            " SELECT e.recorded_at FROM audit.event e WHERE e.id > (SELECT id FROM low)"
            # Seals are bounded, too: joined in their order, they would be read from the first one on, all ten million.
            " AND NOT EXISTS (SELECT FROM audit.leaf l WHERE l.event_id = e.id AND l.event_id > (SELECT id FROM low))"
            " ORDER BY e.id LIMIT 1",
            [LOOK_BACK],
        )
        row = cursor.fetchone()
    return row[0] if row else None


def seal_lag(*, at: datetime) -> timedelta:
    """Return for how long the oldest unsealed event has waited; nothing when none waits."""
    oldest = oldest_unsealed()
    return max(at - oldest, timedelta()) if oldest else timedelta()


@dataclass(frozen=True, slots=True)
class AnchorLag:
    """For how long an anchor has owed the oldest seal that it does not have."""

    name: str
    lag: timedelta
    fault: str


def anchor_lags(*, at: datetime) -> list[AnchorLag]:
    """Return how far each anchor is behind."""
    found = []
    for mark in AnchorMark.objects.filter(is_set=True).order_by("name"):
        owed = Batch.objects.filter(batch_no=mark.kept_to + 1).values_list("sealed_at", flat=True).first()
        found.append(AnchorLag(mark.name, max(at - owed, timedelta()) if owed else timedelta(), mark.fault))
    return found


def kept_to(anchor: str) -> int:
    """Return the newest batch that an anchor has taken; -1 for none."""
    found = AnchorMark.objects.filter(name=anchor).values_list("kept_to", flat=True).first()
    return -1 if found is None else found


def last_verification() -> Verification | None:
    """Return the newest verification of the whole log."""
    return Verification.objects.order_by("-pk").first()


def verifications(*, limit: int) -> list[Verification]:
    """Return the newest verifications of the whole log."""
    return list(Verification.objects.order_by("-pk")[:limit])


def verification_asked() -> Event | None:
    """Return the newest asking of a person for a verification, unless it has come meanwhile."""
    asked = Event.objects.filter(action=ASKED).defer("canonical").order_by("-id").first()
    if asked is None:
        return None
    came = Verification.objects.filter(asked_by=asked.actor_id[:64], finished_at__gte=asked.recorded_at)
    return None if came.exists() else asked


def is_erased(event_id: int) -> bool:
    """Tell whether the log says that the personal data of an event was erased."""
    return Event.objects.filter(object_type=AUDIT_EVENT, object_id=str(event_id), action=ERASED).exists()


def last_reveal(event_id: int) -> int:
    """Return the id of the newest event by which somebody had an event's personal data shown; 0 for none."""
    about = Event.objects.filter(object_type=AUDIT_EVENT, object_id=str(event_id), action=REVEALED)
    return about.order_by("-id").values_list("id", flat=True).first() or 0


def log_began_at() -> datetime | None:
    """Return when the first batch was sealed."""
    return Batch.objects.order_by("batch_no").values_list("sealed_at", flat=True).first()


def exports(*, limit: int = 50) -> list[Export]:
    """Return the newest exports."""
    return list(Export.objects.order_by("-pk")[:limit])


def export(export_id: int) -> Export:
    """Return an export, with its state and progress. Raises: NotFound."""
    row = Export.objects.filter(pk=export_id).first()
    if row is None:
        raise NotFound(f"There is no export {export_id}.")
    return row
