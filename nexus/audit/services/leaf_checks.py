"""One batch's leaves against their events, and the events against their columns, their personal data and the clock."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nexus.audit.models import Batch
from nexus.audit.rules import evidence, merkle
from nexus.audit.rules.findings import KEPT_MAX, Finding, Report
from nexus.audit.rules.keys import INTRODUCED
from nexus.audit.services import walking
from nexus.audit.services.walking import LeafRow

SKEW = timedelta(seconds=5)  # between two readings of one clock by processes that were interrupted
TRANSACTION_AGE_MAX = timedelta(minutes=10)
HEADS_KEPT = 4_096

_ERASED = """
SELECT DISTINCT e.object_id FROM audit.event e LEFT JOIN audit.leaf l ON l.event_id = e.id
 WHERE e.object_type = 'audit_event' AND e.object_id = ANY(%s) AND e.action = 'audit.pii_erased'
   AND (l.log_index IS NOT NULL OR e.recorded_at > clock_timestamp() - interval '10 minutes')
"""
_FIRST_SEAL_ABOVE = """
SELECT b.sealed_at FROM audit.batch b JOIN audit.leaf l ON l.log_index = b.first_index + b.leaf_count - 1
 WHERE l.event_id > %s ORDER BY b.batch_no LIMIT 1
"""


@dataclass(slots=True)
class Walk:
    """What is remembered from batch to batch; its size does not depend on the log's."""

    using: str
    with_pii: bool
    report: Report
    known: dict[str, Ed25519PublicKey]
    prev_hash: bytes | None = None  # of the header before, computed anew
    next_no: int = 0
    next_index: int = 0
    sealed_at: datetime | None = None
    newest_id: int = 0
    heads: deque[tuple[int, datetime]] = field(default_factory=lambda: deque(maxlen=HEADS_KEPT))  # (id, sealed_at)
    has_dropped: bool = False  # older heads than the first in `heads` exist


@dataclass(slots=True)
class Leaves:
    """What one batch's leaves come to."""

    batch: Batch
    by_leaf: merkle.Growing = field(default_factory=merkle.Growing)
    by_event: merkle.Growing | None = None  # from the first leaf on that is not its event's
    differing: list[tuple[int, int]] = field(default_factory=list)  # (index, event)
    introductions: list[dict[str, Any]] = field(default_factory=list)
    without_pii: list[tuple[int, int]] = field(default_factory=list)
    newest_id: int = 0

    def add(self, row: LeafRow) -> bool:
        """Add a leaf; tell whether it is its event's. Of an event that is gone, the leaf is all there is."""
        stored = row.leaf_hash
        computed = stored if row.canonical is None else merkle.leaf_hash(row.canonical.encode())
        if computed != stored and self.by_event is None:
            self.by_event = self.by_leaf.copy()
        self.by_leaf.add(stored)
        if self.by_event is not None:
            self.by_event.add(computed)
        if computed != stored and len(self.differing) < KEPT_MAX:
            self.differing.append((row.log_index, row.event_id))
        return computed == stored


def check(walk: Walk, batch: Batch, *, end: int) -> Leaves:
    """Check the leaves from the batch's first up to `end`, and everything about their events."""
    found, report, expected = Leaves(batch), walk.report, batch.first_index
    for row in walking.leaves(walk.using, batch.first_index, end, with_pii=walk.with_pii):
        if row.log_index != expected:
            _note_gap(report, batch, expected, row.log_index)
        expected = row.log_index + 1
        if row.batch_no != batch.batch_no:
            words = f"the leaf says that it belongs to batch {row.batch_no}"
            report.add(Finding.LEAF_INDEX, words, **_place(batch, row))
        is_whole = found.add(row)
        _check_event(walk, found, row, is_whole=is_whole)
    if expected < batch.first_index + batch.leaf_count:
        _note_gap(report, batch, expected, batch.first_index + batch.leaf_count)
    _check_erasures(walk, found)
    _check_root(report, found)
    _remember(walk, found)
    return found


def _place(batch: Batch, row: LeafRow) -> dict[str, int]:
    return {"batch_no": batch.batch_no, "log_index": row.log_index, "event_id": row.event_id}


def _note_gap(report: Report, batch: Batch, first: int, end: int) -> None:
    for index in range(first, min(end, first + KEPT_MAX)):
        report.add(Finding.LEAF_INDEX, "there is no leaf", batch_no=batch.batch_no, log_index=index)


def _check_event(walk: Walk, found: Leaves, row: LeafRow, *, is_whole: bool) -> None:
    report, batch = walk.report, found.batch
    if row.canonical is None:
        report.add(Finding.EVENT_MISSING, "the leaf is there, its event is not", **_place(batch, row))
        return
    document = _read(row.canonical)
    wrong = evidence.differing(document, event_id=row.event_id, recorded_at=row.recorded_at, columns=row.columns)
    if wrong:
        words = f"the column says something else than the sealed text: {', '.join(wrong)}"
        report.add(Finding.COLUMN_MISMATCH, words, **_place(batch, row))
    if row.recorded_at > batch.sealed_at + SKEW:
        report.add(Finding.CLOCK_BACKWARDS, "it was recorded after its seal", **_place(batch, row))
    if row.event_id < walk.newest_id:
        _check_late(walk, batch, row)
    found.newest_id = max(found.newest_id, row.event_id)
    if walk.with_pii:
        _check_pii(walk, found, row, document.get("pii_sha256"))
    if row.action == INTRODUCED and is_whole:
        found.introductions.append(document)


def _read(canonical: str) -> dict[str, Any]:
    try:
        document = orjson.loads(canonical)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _check_pii(walk: Walk, found: Leaves, row: LeafRow, committed: object) -> None:
    if row.salt is None or row.data is None:
        if committed is not None:
            found.without_pii.append((row.log_index, row.event_id))
            if len(found.without_pii) >= KEPT_MAX:
                _check_erasures(walk, found)
    elif committed != evidence.commitment(row.salt, row.data):
        words = "the personal data is not what the event commits to"
        walk.report.add(Finding.PII_MODIFIED, words, **_place(found.batch, row))


def _check_erasures(walk: Walk, found: Leaves) -> None:
    """Ask of personal data that is gone whether a sealed event says that it was erased; a fresh one will be sealed."""
    if not found.without_pii:
        return
    ids = [str(event_id) for _, event_id in found.without_pii]
    erased = {row[0] for row in walking.fetch(walk.using, _ERASED, [ids])}
    for log_index, event_id in found.without_pii:
        if str(event_id) not in erased:
            words = "the personal data is gone, and no sealed event says that it was erased"
            place = {"batch_no": found.batch.batch_no, "log_index": log_index, "event_id": event_id}
            walk.report.add(Finding.PII_MISSING, words, **place)
    found.without_pii.clear()


def _check_late(walk: Walk, batch: Batch, row: LeafRow) -> None:
    """Judge an event that was sealed after one with a higher id: its transaction may have been open that long."""
    sealed_at = _first_seal_above(walk, row.event_id)
    if sealed_at is not None and row.recorded_at < sealed_at - TRANSACTION_AGE_MAX:
        words = f"a later event was sealed at {sealed_at.isoformat()}, over ten minutes after this one was recorded"
        walk.report.add(Finding.LATE_EVENT, words, **_place(batch, row))


def _first_seal_above(walk: Walk, event_id: int) -> datetime | None:
    """Return when the first event with a higher id was sealed."""
    first = next(_above(walk, event_id), None)
    if walk.has_dropped and first == next(iter(walk.heads), None):
        rows = walking.fetch(walk.using, _FIRST_SEAL_ABOVE, [event_id])
        return rows[0][0] if rows else None
    return first[1] if first else None


def _above(walk: Walk, event_id: int) -> Iterator[tuple[int, datetime]]:
    """Return the heads above an id, the earliest first. Most late events are of the last seals: these are looked at."""
    found = None
    for head in reversed(walk.heads):
        if head[0] <= event_id:
            break
        found = head
    if found:
        yield found


def _check_root(report: Report, found: Leaves) -> None:
    """Compare the root with what the leaves come to, and with what the events do: that tells which was changed."""
    batch, root = found.batch, bytes(found.batch.merkle_root)
    count = found.by_leaf.count
    if count != batch.leaf_count:
        words = f"the header says {batch.leaf_count} leaves, there are {count}"
        report.add(Finding.LEAF_COUNT, words, batch_no=batch.batch_no, log_index=batch.first_index)
    by_leaf = found.by_leaf.root()
    by_event = found.by_event.root() if found.by_event else None
    for log_index, event_id in found.differing:
        place = {"batch_no": batch.batch_no, "log_index": log_index, "event_id": event_id}
        if by_event == root:
            report.add(Finding.MERKLE_ROOT, "the leaf was changed; the event is the one that was sealed", **place)
        else:
            report.add(Finding.EVENT_MODIFIED, "the event is not the one that was sealed", **place)
    if root not in (by_leaf, by_event):
        words = f"the leaves {batch.first_index} to {batch.first_index + batch.leaf_count - 1} do not come to this root"
        report.add(Finding.MERKLE_ROOT, words, batch_no=batch.batch_no, log_index=batch.first_index)


def _remember(walk: Walk, found: Leaves) -> None:
    if found.newest_id > walk.newest_id:
        walk.has_dropped = walk.has_dropped or len(walk.heads) == HEADS_KEPT
        walk.heads.append((found.newest_id, found.batch.sealed_at))
        walk.newest_id = found.newest_id
