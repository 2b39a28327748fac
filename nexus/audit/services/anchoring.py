"""Take seals out of the database's reach: each new header goes to every anchor, in order, tried again until it is kept.

A place that does not answer holds up no other, and no seal.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings

from nexus.audit import providers
from nexus.audit.models import AnchorMark, Batch
from nexus.audit.providers import Anchor, NotKept
from nexus.audit.rules import header
from nexus.audit.types import Header, SealedHeader

AT_ONCE = 500  # seals that one request or one write carries
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2, 30  # two tries within any minute

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Way:
    """One anchor, and how far this process knows it to be: the row in the database is only where it began."""

    anchor: Anchor
    kept_to: int
    attempts: int = 0
    next_at: datetime | None = None


def open_ways(words: tuple[str, ...]) -> list[Way]:
    """Return the anchors that these words name; others, named before, are marked as gone. Raises: ValueError."""
    anchors = [providers.named(word) for word in words]
    AnchorMark.objects.exclude(name__in=[anchor.name for anchor in anchors]).update(is_set=False)
    ways = []
    for anchor in anchors:
        mark, _ = AnchorMark.objects.update_or_create(name=anchor.name, defaults={"is_set": True})
        ways.append(Way(anchor, mark.kept_to))
    return ways


def carry(way: Way, *, at: datetime) -> bool:
    """Bring an anchor the next seals that it lacks. Tell whether more wait that may go now. No transaction is open."""
    if way.next_at is not None and at < way.next_at:
        return False
    seals = seals_after(way.kept_to, limit=AT_ONCE)
    if not seals:
        return False
    try:
        way.anchor.keep(settings.DEPLOYMENT_ID, seals)
    except NotKept as exc:
        _fail(way, fault=str(exc), at=at)
        return False
    way.kept_to, way.attempts, way.next_at = seals[-1].batch_no, 0, None
    AnchorMark.objects.filter(name=way.anchor.name).update(
        kept_to=way.kept_to, kept_at=at, failing_since=None, fault=""
    )
    return len(seals) == AT_ONCE


def _fail(way: Way, *, fault: str, at: datetime) -> None:
    way.attempts += 1
    pause_s = min(FIRST_PAUSE_S * 2 ** (way.attempts - 1), LONGEST_PAUSE_S)
    way.next_at = at + timedelta(seconds=pause_s)
    log.error("audit.anchor.failed", anchor=way.anchor.name, attempts=way.attempts, detail=fault)
    marks = AnchorMark.objects.filter(name=way.anchor.name)
    marks.filter(failing_since__isnull=True).update(failing_since=at)
    marks.update(fault=fault[:300])


def seals_after(batch_no: int, *, limit: int) -> list[SealedHeader]:
    """Return the seals after a batch, in order, their headers written anew from what is stored."""
    rows = Batch.objects.filter(batch_no__gt=batch_no).order_by("batch_no")[:limit]
    return [SealedHeader(row.batch_no, header.to_bytes(header_of(row)), signature=bytes(row.signature)) for row in rows]


def header_of(row: Batch) -> Header:
    """Return what a stored batch says of itself."""
    return Header(
        deployment=settings.DEPLOYMENT_ID,
        batch_no=row.batch_no,
        first_index=row.first_index,
        leaf_count=row.leaf_count,
        merkle_root=bytes(row.merkle_root),
        prev_hash=bytes(row.prev_hash),
        sealed_at=row.sealed_at,
        key_id=row.key_id,
    )
