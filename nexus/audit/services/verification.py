"""Verify the log: every event against its seal, every seal against the one before it and its key, the clock, the rest.

It streams: memory does not grow with the log. The stored bytes are hashed and never written anew.
"""

from collections.abc import Iterator
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings

from nexus.audit.models import Batch
from nexus.audit.rules import header, keys
from nexus.audit.rules.findings import Finding, Report
from nexus.audit.services import leaf_checks, walking
from nexus.audit.services.anchoring import header_of
from nexus.audit.services.keys import introduced_keys
from nexus.audit.services.leaf_checks import SKEW, Leaves, Walk

STALE_AFTER = timedelta(minutes=10)

# Each stretch begins with the last id of the one before, so that no step between them is missed.
_STEPS_BACK = """
SELECT e.id, e.before, l.log_index, l.batch_no FROM
  (SELECT id, recorded_at, lag(recorded_at) OVER (ORDER BY id) AS before FROM audit.event
    WHERE id >= coalesce((SELECT max(id) FROM audit.event WHERE id <= %(above)s), %(above)s) AND id <= %(to)s) e
  LEFT JOIN audit.leaf l ON l.event_id = e.id
 WHERE e.recorded_at < e.before - %(skew)s ORDER BY e.id
"""
# A difference of two sets costs the same whatever the planner believes. As a join it took a log that was loaded since
# the last ANALYZE for a few rows, and went through all of its leaves once for each event.
_UNSEALED = """
SELECT count(*), count(*) FILTER (WHERE is_stale), (array_agg(id ORDER BY id) FILTER (WHERE is_stale))[:1000] FROM
  (SELECT id FROM audit.event WHERE id > %(above)s AND id <= %(to)s
   EXCEPT SELECT event_id FROM audit.leaf WHERE event_id > %(above)s AND event_id <= %(to)s) waiting
  CROSS JOIN LATERAL (SELECT e.recorded_at < clock_timestamp() - %(stale)s AS is_stale FROM audit.event e
    WHERE e.id = waiting.id OFFSET 0) found
"""


def verify(
    *,
    using: str = "default",
    from_batch: int | None = None,
    to_batch: int | None = None,
    trusted: dict[str, Ed25519PublicKey] | None = None,
) -> Report:
    """Verify the batches of a range, or the whole log and what waits to be sealed.

    Takes: in `trusted` the public keys that are known from outside; without any, the log is believed which key was
    its first. The anchors are asked by `anchored.compare`.
    """
    report = Report()
    head = Batch.objects.using(using).order_by("-batch_no").first()
    last = head.batch_no if head else -1
    first = from_batch or 0
    report.from_batch, report.to_batch = first, last if to_batch is None else min(to_batch, last)
    report.reaches_end = to_batch is None
    with walking.in_pieces(using):
        walk = _begin(using, report, trusted)
        for batch, following in _with_next(walking.batches(using, report.from_batch, report.to_batch)):
            _check_batch(walk, batch, following)
        if to_batch is None:
            _check_beyond(walk)
            _check_unsealed(walk, above=walk.newest_id if from_batch else 0)
        _check_steps(walk, first=None if first == 0 and to_batch is None else first)
    return report


def _begin(using: str, report: Report, trusted: dict[str, Ed25519PublicKey] | None) -> Walk:
    if trusted is None:
        report.notes.append("No public key was given: the log itself was believed which key was its first.")
    walk = Walk(using, walking.may_read_pii(using), report, known={})
    if not walk.with_pii:
        report.notes.append("This role may not read personal data: it was not held against its commitments.")
    walk.next_no = report.from_batch or 0
    before = Batch.objects.using(using).filter(batch_no=walk.next_no - 1).first()
    walk.prev_hash = header.genesis(settings.DEPLOYMENT_ID) if walk.next_no == 0 else None
    if before is not None:
        walk.prev_hash, walk.sealed_at = header.digest(header_of(before)), before.sealed_at
        walk.next_index = before.first_index + before.leaf_count
        query = "SELECT coalesce(max(event_id), 0) FROM audit.leaf WHERE log_index < %s"
        ((walk.newest_id,),) = walking.fetch(using, query, [walk.next_index])
        walk.heads.append((walk.newest_id, before.sealed_at))
        walk.has_dropped = True
    walk.known = introduced_keys(trusted, before=walk.next_index, using=using)
    return walk


def _with_next(batches: Iterator[Batch]) -> Iterator[tuple[Batch, Batch | None]]:
    previous: Batch | None = None
    for batch in batches:
        if previous is not None:
            yield previous, batch
        previous = batch
    if previous is not None:
        yield previous, None


def _check_batch(walk: Walk, batch: Batch, following: Batch | None) -> None:
    is_genuine = _check_header(walk, batch)
    end = batch.first_index + batch.leaf_count
    if following and following.batch_no == batch.batch_no + 1 and following.first_index > batch.first_index:
        end = following.first_index  # signed by two headers: a leaf too many, or a count changed, is this batch's
    found = leaf_checks.check(walk, batch, end=end)
    if is_genuine:
        _learn_keys(walk, found)
    walk.report.batches += 1
    walk.report.events += found.by_leaf.count
    walk.next_no, walk.next_index = batch.batch_no + 1, end
    walk.prev_hash, walk.sealed_at = header.digest(header_of(batch)), batch.sealed_at


def _learn_keys(walk: Walk, found: Leaves) -> None:
    """Know the keys that this batch's events introduce, from the next batch on."""
    for document in found.introductions:
        key = keys.introduced(document.get("detail"), known=walk.known, deployment=settings.DEPLOYMENT_ID)
        if key is not None:
            walk.known.setdefault(keys.key_id(key), key)


def _check_header(walk: Walk, batch: Batch) -> bool:
    """Check a header against the one before, its own hash and its key. Tell whether a known key signed it."""
    report, number = walk.report, batch.batch_no
    if number != walk.next_no:
        words = f"batches {walk.next_no} to {number - 1} are missing"
        report.add(Finding.CHAIN_BREAK, words, batch_no=walk.next_no, log_index=walk.next_index)
    elif batch.first_index != walk.next_index:
        words = f"the batch begins at {batch.first_index}, the one before ends at {walk.next_index}"
        report.add(Finding.LEAF_INDEX, words, batch_no=number, log_index=walk.next_index)
    if number == walk.next_no and bytes(batch.prev_hash) != walk.prev_hash:
        words = "it does not name the header before it"
        report.add(Finding.CHAIN_BREAK, words, batch_no=number, log_index=batch.first_index)
    if bytes(batch.batch_hash) != header.digest(header_of(batch)):
        words = "the stored hash is not the header's"
        report.add(Finding.HEADER_HASH, words, batch_no=number, log_index=batch.first_index)
    if walk.sealed_at is not None and batch.sealed_at < walk.sealed_at:
        words = "it was sealed before the batch before it"
        report.add(Finding.CLOCK_BACKWARDS, words, batch_no=number, log_index=batch.first_index)
    key = walk.known.get(batch.key_id)
    text, signature = header.to_bytes(header_of(batch)), bytes(batch.signature)
    if key is not None and keys.is_signed(text, signature=signature, by=key):
        return True
    words = (
        f"nobody vouches for the key {batch.key_id}" if key is None else f"the header is not signed by {batch.key_id}"
    )
    report.add(Finding.BAD_SIGNATURE, words, batch_no=number, log_index=batch.first_index)
    return False


# --- Outside the batches ----------------------------------------------------------------------------------------------
def _check_beyond(walk: Walk) -> None:
    """Find leaves that no batch owns. What was sealed since the walk began has one, and is looked at the next time."""
    query = """
        SELECT log_index, event_id, batch_no FROM audit.leaf WHERE log_index >= %s AND NOT EXISTS (
            SELECT FROM audit.batch later WHERE later.batch_no >= %s
            AND log_index >= later.first_index AND log_index < later.first_index + later.leaf_count
        ) ORDER BY log_index LIMIT 1000
    """
    for log_index, event_id, batch_no in walking.fetch(walk.using, query, [walk.next_index, walk.next_no]):
        words = f"the leaf is beyond the last batch; it says {batch_no}"
        walk.report.add(Finding.LEAF_INDEX, words, log_index=log_index, event_id=event_id)


def _check_unsealed(walk: Walk, *, above: int) -> None:
    """Find what has waited for its seal for too long."""
    ((newest,),) = walking.fetch(walk.using, "SELECT coalesce(max(id), 0) FROM audit.event")
    words = f"it has had no seal for over {STALE_AFTER.total_seconds() / 60:.0f} minutes"
    for low, high in walking.stretches(walk.using, above + 1, newest):
        given = {"above": low, "to": high, "stale": STALE_AFTER}
        ((waiting, stale, ids),) = walking.fetch(walk.using, _UNSEALED, given)
        walk.report.unsealed += waiting
        for event_id in ids or ():
            walk.report.add(Finding.UNSEALED_STALE, words, event_id=event_id)
        if ids and stale > len(ids):
            walk.report.counts[Finding.UNSEALED_STALE] += stale - len(ids)


def _check_steps(walk: Walk, *, first: int | None) -> None:
    """Find where the clock of the records goes back, in the order of their ids. Takes: the `first` batch of a range."""
    bounds = "SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM audit.event"
    given: list[int] = []
    if first is not None:
        begins = Batch.objects.using(walk.using).filter(batch_no=first).first()
        bounds = (
            "SELECT coalesce(min(event_id), 1), coalesce(max(event_id), 0) FROM audit.leaf"
            " WHERE log_index >= %s AND log_index < %s"
        )
        given = [begins.first_index if begins else 0, walk.next_index]
    ((low, high),) = walking.fetch(walk.using, bounds, given)
    for above, to in walking.stretches(walk.using, low, high):
        for event_id, before, log_index, batch_no in walking.fetch(
            walk.using, _STEPS_BACK, {"above": above, "to": to, "skew": SKEW}
        ):
            words = f"the event before it was recorded at {before.isoformat()}, which is later"
            place = {"batch_no": batch_no, "log_index": log_index, "event_id": event_id}
            walk.report.add(Finding.CLOCK_BACKWARDS, words, **place)
