"""What an export reads: which batches, and of these which events, in pieces that do not grow with the log."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from nexus.audit.models import Batch
from nexus.audit.rules import merkle
from nexus.audit.services import walking
from nexus.audit.types import Selection

LEAVES_AT_ONCE = 5_000
GROUP_LEAVES = 200_000
SKEW = timedelta(seconds=5)
# An event may be sealed this long after it was recorded though the sealer runs: its transaction, then a full pass.
SEALED_WITHIN = timedelta(minutes=30)

_ROWS = """
SELECT l.log_index, l.leaf_hash, {text} AS canonical, e.id, l.batch_no, {pii}
  FROM audit.leaf l {kind} JOIN audit.event e ON e.id = l.event_id {pii_join}
 WHERE l.log_index >= %(first)s AND l.log_index < %(end)s {where} ORDER BY l.log_index
"""
# The server joins what a piece holds: a million rows one by one cost more here than everything else together.
_JOINED = """
SELECT convert_to(string_agg(canonical, E'\\n'), 'UTF8'), string_agg(leaf_hash, ''), count(*),
       array_agg(log_index) FILTER (WHERE canonical IS NULL), array_agg(log_index) FILTER (WHERE id IS NULL)
  FROM ({rows}) piece
"""
_ENDS = """
SELECT count(*) FILTER (WHERE e.recorded_at < %(to)s) FROM audit.leaf l JOIN audit.event e ON e.id = l.event_id
 WHERE l.log_index >= %(first)s AND l.log_index < %(end)s
"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The batches from the first to the last, and how many leaves they have."""

    first: int
    last: int
    leaves: int


class Row(NamedTuple):
    """A leaf beside its event's text, unless that is out of range or gone, and its personal data."""

    log_index: int
    leaf_hash: bytes
    canonical: str | None
    event_id: int | None
    batch_no: int
    salt: bytes | None
    data: str | None


def stretch(selection: Selection, *, head: Batch, using: str) -> Stretch | None:
    """Return the batches that hold everything recorded in the stretch of time; None when there are none."""
    first = 0
    if selection.from_at is not None:
        first = _first_sealed_from(selection.from_at - SKEW, head=head, using=using)
    last = head.batch_no if selection.to_at is None else _last_recorded_before(selection.to_at, head=head, using=using)
    if first > last:
        return None
    ends = {row.batch_no: row for row in Batch.objects.using(using).filter(batch_no__in={first, last})}
    begins, closes = ends.get(first), ends.get(last)
    if begins is None or closes is None:  # a batch is gone: the export shows it
        return Stretch(first, last, head.first_index + head.leaf_count)
    return Stretch(first, last, closes.first_index + closes.leaf_count - begins.first_index)


def _first_sealed_from(moment: datetime, *, head: Batch, using: str) -> int:
    """Return the first batch that was sealed then or later, by halving: seals are in the order of time."""
    low, high = 0, head.batch_no + 1
    while low < high:
        middle = (low + high) // 2
        found = Batch.objects.using(using).filter(batch_no__gte=middle).order_by("batch_no").first()
        if found is None or found.sealed_at >= moment:
            high = middle
        else:
            low = found.batch_no + 1
    return low


def _last_recorded_before(moment: datetime, *, head: Batch, using: str) -> int:
    """Return the last batch with an event recorded before a moment.

    A sealer that stood still leaves them to batches long after; it takes them up in the order of their ids.
    """
    sealed_after = _first_sealed_from(moment - SKEW, head=head, using=using)
    last = sealed_after - 1
    for batch in walking.batches(using, sealed_after, head.batch_no):
        given = {"to": moment, "first": batch.first_index, "end": batch.first_index + batch.leaf_count}
        if walking.fetch(using, _ENDS, given)[0][0]:
            last = batch.batch_no
        elif batch.sealed_at > moment + SEALED_WITHIN:
            break
    return last


def groups(chosen: Stretch, *, using: str) -> Iterator[list[Batch]]:
    """Return the batches in groups whose leaves follow each other."""
    group: list[Batch] = []
    count = 0
    for batch in walking.batches(using, chosen.first, chosen.last):
        if group and (count + batch.leaf_count > GROUP_LEAVES or _is_apart(group[-1], batch)):
            yield group
            group, count = [], 0
        group.append(batch)
        count += batch.leaf_count
    if group:
        yield group


def _is_apart(before: Batch, batch: Batch) -> bool:
    return before.first_index + before.leaf_count != batch.first_index


class Piece(NamedTuple):
    """Leaves that follow each other, joined: the texts that are shown, the hashes of all, and who is not shown."""

    first: int
    end: int
    texts: bytes
    hashes: bytes
    hidden: list[int]
    missing: list[int]


def pieces(selection: Selection, group: list[Batch], *, using: str) -> Iterator[Piece]:
    """Return every leaf of the group, in order. While one piece is hashed and written, the server joins the next."""
    query, given = _query(selection)
    ours = connections[using]  # this thread's: the other one must see what this one sees
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="pieces") as ahead:
        coming: deque[Future[Piece]] = deque()
        for first, end in _stretches(group):
            coming.append(ahead.submit(_piece, ours, query, given, first, end))
            if len(coming) > 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _piece(ours: BaseDatabaseWrapper, query: str, given: dict[str, Any], first: int, end: int) -> Piece:
    given = given | {"first": first, "end": end}
    ((texts, hashes, count, hidden, missing),) = walking.fetch_by(ours, _JOINED.format(rows=query), given)
    if count != end - first:
        return _with_gaps(walking.fetch_by(ours, query, given), first=first, end=end)
    return Piece(first, end, texts + b"\n" if texts else b"", hashes, hidden or [], missing or [])


def rows(selection: Selection, first: int, end: int, *, using: str) -> Iterator[Row]:
    """Return the leaves whose text is shown, in order."""
    query, given = _query(selection)
    held = map(Row._make, walking.fetch(using, query, given | {"first": first, "end": end}))
    return (row for row in held if row.canonical is not None)


def filtered(selection: Selection, group: list[Batch], *, using: str, done: Callable[[int], None]) -> Iterator[Row]:
    """Return the chosen leaves of the group, in order. Tells `done` how many were looked at."""
    for first, end in _stretches(group):
        yield from rows(selection, first, end, using=using)
        done(end - first)


def _stretches(group: list[Batch]) -> Iterator[tuple[int, int]]:
    first, end = group[0].first_index, group[-1].first_index + group[-1].leaf_count
    while first < end:
        until = min(first + LEAVES_AT_ONCE, end)
        yield first, until
        first = until


def _query(selection: Selection) -> tuple[str, dict[str, Any]]:
    given: dict[str, Any] = {}
    in_time, where = [], []
    for name, sign in (("from_at", ">="), ("to_at", "<")):
        if (moment := getattr(selection, name)) is not None:
            in_time.append(f"e.recorded_at {sign} %({name})s")
            given[name] = moment
    for name in ("action", "actor_id", "object_type", "object_id"):
        if value := getattr(selection, name):
            where.append(f"AND e.{name} = %({name})s")
            given[name] = value
    if selection.is_filtered:
        where += [f"AND {each}" for each in in_time]
    is_cut = in_time and not selection.is_filtered
    query = _ROWS.format(
        text=f"CASE WHEN {' AND '.join(in_time)} THEN e.canonical END" if is_cut else "e.canonical",
        pii="p.salt, p.data" if selection.with_pii else "NULL::bytea, NULL::text",
        kind="" if selection.is_filtered else "LEFT",
        pii_join="LEFT JOIN audit.pii p ON p.event_id = e.id" if selection.with_pii else "",
        where=" ".join(where),
    )
    return query, given


def _with_gaps(held: list[tuple[Any, ...]], *, first: int, end: int) -> Piece:
    """Join what is there, and let zeros stand for the leaves that are gone."""
    by_index = {row[0]: Row._make(row) for row in held}
    gone = bytes(merkle.HASH_SIZE)
    return Piece(
        first,
        end,
        "".join([f"{row.canonical}\n" for row in by_index.values() if row.canonical is not None]).encode(),
        b"".join([by_index[index].leaf_hash if index in by_index else gone for index in range(first, end)]),
        [index for index in range(first, end) if index not in by_index or by_index[index].canonical is None],
        [index for index in range(first, end) if index not in by_index or by_index[index].event_id is None],
    )


def leaf_hashes(batch: Batch, *, using: str) -> list[bytes]:
    """Return a batch's leaf hashes, in order."""
    query = "SELECT log_index, leaf_hash FROM audit.leaf WHERE log_index >= %s AND log_index < %s ORDER BY log_index"
    end = batch.first_index + batch.leaf_count
    found = dict(walking.fetch(using, query, [batch.first_index, end]))
    return [found.get(index, bytes(merkle.HASH_SIZE)) for index in range(batch.first_index, end)]
