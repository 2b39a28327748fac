"""Read the log in pieces, each a short statement of its own: memory and locks stay small however long it is.

Nothing here changes under a reader's feet: rows are only added, and whoever reads says up to where.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from nexus.audit.models import Batch

LEAVES_AT_ONCE = 5_000
BATCHES_AT_ONCE = 500
EVENTS_AT_ONCE = 250_000

_OFF = ("max_parallel_workers_per_gather", "enable_bitmapscan")


class LeafRow(NamedTuple):
    """A leaf beside its event and its personal data; what is missing is None."""

    log_index: int
    event_id: int
    batch_no: int
    leaf_hash: bytes
    canonical: str | None
    recorded_at: datetime
    action: str
    outcome: str
    actor_type: str
    actor_id: str
    object_type: str
    object_id: str
    request_id: str
    salt: bytes | None
    data: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the typed columns, as `evidence.COLUMNS` names them."""
        return self[6:13]


_LEAVES = """
SELECT l.log_index, l.event_id, l.batch_no, l.leaf_hash, e.canonical, e.recorded_at, e.action, e.outcome, e.actor_type,
       e.actor_id, e.object_type, e.object_id, e.request_id, {pii}
  FROM audit.leaf l LEFT JOIN audit.event e ON e.id = l.event_id {join}
 WHERE l.log_index >= %s AND l.log_index < %s ORDER BY l.log_index
"""
# Stretches end by rows and not by ids: ids have gaps of any size, and an empty one is not worth a statement.
_STRETCH = """
SELECT max(id) FROM (SELECT id FROM audit.event WHERE id > %(above)s AND id <= %(last)s ORDER BY id LIMIT %(limit)s) s
"""
_WITH_PII = {"pii": "p.salt, p.data", "join": "LEFT JOIN audit.pii p ON p.event_id = l.event_id"}
_WITHOUT = {"pii": "NULL::bytea, NULL::text", "join": ""}


def may_read_pii(using: str) -> bool:
    """Tell whether this connection's role may read personal data."""
    (found,) = fetch(using, "SELECT has_table_privilege('audit.pii', 'SELECT')")[0]
    return bool(found)


def leaves(using: str, first: int, end: int, *, with_pii: bool) -> Iterator[LeafRow]:
    """Return leaves from `first` up to, not including, `end`, in order."""
    query = _LEAVES.format(**(_WITH_PII if with_pii else _WITHOUT))
    while first < end:
        until = min(first + LEAVES_AT_ONCE, end)
        yield from map(LeafRow._make, fetch(using, query, [first, until]))
        first = until


def batches(using: str, first: int, last: int) -> Iterator[Batch]:
    """Return batches from `first` to `last`, in order; those that are missing are missing."""
    while first <= last:
        until = min(first + BATCHES_AT_ONCE - 1, last)
        yield from Batch.objects.using(using).filter(batch_no__gte=first, batch_no__lte=until).order_by("batch_no")
        first = until + 1


def stretches(using: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Cut the events from `first` to `last` into stretches that one statement can look at: ids (above, up to)."""
    above = first - 1
    while True:
        given = {"above": above, "last": last, "limit": EVENTS_AT_ONCE}
        ((until,),) = fetch(using, _STRETCH, given)
        if until is None:
            return
        yield above, until
        above = until


@contextmanager
def in_pieces(using: str) -> Iterator[None]:
    """Read for a while as pieces are best read: by the index, in its order, and without workers.

    Starting parallel workers takes longer than such a piece, and so does sorting what a bitmap has put out of order.
    """
    with connections[using].cursor() as cursor:
        for name in _OFF:
            cursor.execute(f"SET {name} = 0")
        try:
            yield
        finally:
            with suppress(Error):  # in a transaction that has failed, its end resets them
                for name in _OFF:
                    cursor.execute(f"RESET {name}")


def fetch(using: str, query: str, given: Any = ()) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows, in binary form.

    Its values are written into it: a plan for any value would take each stretch for a fixed part of the table.
    """
    return fetch_by(connections[using], query, given)


def fetch_by(ours: BaseDatabaseWrapper, query: str, given: Any = ()) -> list[tuple[Any, ...]]:
    """Do the same by a connection that another thread may be using, too: each waits for the other's statement."""
    ours.ensure_connection()
    with ours.wrap_database_errors, psycopg.Cursor(ours.connection) as cursor:
        text = psycopg.ClientCursor(ours.connection).mogrify(query, given)
        cursor.execute(text.encode(), binary=True)
        return list(cursor.fetchall())
