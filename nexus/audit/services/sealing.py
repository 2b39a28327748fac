"""Seal events: a tree over a batch of them, a header that names the batch before, a signature over the header.

Writers never wait for this. One sealer at a time, by an advisory lock that ends with its transaction.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from nexus.audit.rules import header, merkle
from nexus.audit.rules.keys import Signer
from nexus.audit.selectors import LOOK_BACK
from nexus.audit.types import Header, SealedHeader

BATCH_SIZE = 20_000
WINDOW = 40_000  # events that one statement of a full pass looks at

_LOCK = 0x4E58_5345_414C  # "NXSEAL"
_LEAF = struct.Struct("!hiqiqiqi32s")
_COPY_HEAD, _COPY_END = b"PGCOPY\n\xff\r\n\x00" + bytes(8), b"\xff\xff"

# Stretches end by rows and not by ids: ids have gaps of any size, and an empty one is not worth a statement.
_STRETCH = """
SELECT max(id) FROM (SELECT id FROM audit.event WHERE id > %(above)s ORDER BY id LIMIT %(window)s) stretch
"""
# The leaf's side is bounded too, so that what was sealed years ago is never looked at. The difference of two sets costs
# the same whatever the planner believes of a table that was loaded since its last ANALYZE; a join did not.
_UNSEALED = """
SELECT found.id, found.canonical FROM
  (SELECT id FROM audit.event WHERE id > %(above)s AND id <= %(most)s
   EXCEPT SELECT event_id FROM audit.leaf WHERE event_id > %(above)s AND event_id <= %(most)s
   ORDER BY id LIMIT %(limit)s) waiting
  CROSS JOIN LATERAL (SELECT e.id, e.canonical FROM audit.event e WHERE e.id = waiting.id OFFSET 0) found
 ORDER BY found.id
"""


class Idle(Enum):
    """Why nothing was sealed."""

    NOTHING = auto()  # every event that this pass looks at has its leaf
    BUSY = auto()  # another sealer is at it


@dataclass(frozen=True, slots=True)
class Sealed:
    """One batch that was sealed, and how far it went."""

    header: SealedHeader
    count: int
    last_id: int

    @property
    def is_full(self) -> bool:
        """Tell whether more may wait."""
        return self.count == BATCH_SIZE


@transaction.atomic(durable=True)
def seal(*, signer: Signer, above: int | None = None) -> Sealed | Idle:
    """Seal one batch, of the oldest events that have no leaf. Time is the database's.

    Takes: `above`, the id from which a full pass looks on; without it, the look goes a little behind the newest sealed
    event, where a late commit may have left one.
    """
    with connection.cursor() as cursor:
        # Each look is over a stretch that moves: a plan for any value would take it for a fixed part of the table.
        cursor.execute("SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL statement_timeout = '60s'")
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return Idle.BUSY
        events = list(islice(_unsealed(cursor, above), BATCH_SIZE))
        if not events:
            return Idle.NOTHING
        # But each leaf's foreign keys are checked by two statements, which would be planned anew for every leaf.
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        return _write(cursor, events, signer)


def seal_all(*, signer: Signer) -> Iterator[Sealed]:
    """Make a full pass over the log: every event without a leaf gets one, wherever it stands. Ends where it is busy."""
    above = 0
    while isinstance(done := seal(signer=signer, above=above), Sealed):
        yield done
        above = done.last_id


def _unsealed(cursor: Any, above: int | None) -> Iterator[tuple[int, str]]:
    if above is None:
        cursor.execute("SELECT coalesce(max(event_id), 0) FROM audit.leaf")
        above = max(0, cursor.fetchone()[0] - LOOK_BACK)
    left = BATCH_SIZE
    while left:
        cursor.execute(_STRETCH, {"above": above, "window": WINDOW})
        (most,) = cursor.fetchone()
        if most is None:
            return
        cursor.execute(_UNSEALED, {"above": above, "most": most, "limit": left})
        rows = cursor.fetchall()
        yield from rows
        left -= len(rows)
        above = most


def _write(cursor: Any, events: list[tuple[int, str]], signer: Signer) -> Sealed:
    leaves = [merkle.leaf_hash(canonical.encode()) for _, canonical in events]
    cursor.execute(
        "SELECT batch_no, first_index + leaf_count, batch_hash, greatest(clock_timestamp(), sealed_at)"
        " FROM audit.batch ORDER BY batch_no DESC LIMIT 1"
    )
    row = cursor.fetchone()
    if row is None:
        cursor.execute("SELECT -1, 0, %s::bytea, clock_timestamp()", [header.genesis(settings.DEPLOYMENT_ID)])
        row = cursor.fetchone()
    before, first_index, prev_hash, sealed_at = row
    batch = Header(
        deployment=settings.DEPLOYMENT_ID,
        batch_no=before + 1,
        first_index=first_index,
        leaf_count=len(leaves),
        merkle_root=merkle.root(leaves),
        prev_hash=bytes(prev_hash),
        sealed_at=sealed_at,
        key_id=signer.key_id,
    )
    text = header.to_bytes(batch)
    assert text.count(b"\n") == header.LINES, "a name with a line feed could pass for another header"
    signature = signer.sign(text)
    cursor.execute(
        "INSERT INTO audit.batch (batch_no, first_index, leaf_count, merkle_root, prev_hash, sealed_at, batch_hash,"
        " key_id, signature) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            batch.batch_no, first_index, len(leaves), batch.merkle_root, batch.prev_hash, sealed_at,
            header.digest(batch), batch.key_id, signature,
        ],
    )  # fmt: skip
    ids = [event_id for event_id, _ in events]
    with cursor.copy("COPY audit.leaf (log_index, event_id, batch_no, leaf_hash) FROM STDIN (FORMAT binary)") as copy:
        copy.write(_binary(first_index, ids, batch.batch_no, leaves))
    return Sealed(SealedHeader(batch.batch_no, text, signature), count=len(leaves), last_id=ids[-1])


def _binary(first_index: int, ids: list[int], batch_no: int, leaves: Iterable[bytes]) -> bytes:
    rows = (
        _LEAF.pack(4, 8, index, 8, event_id, 8, batch_no, merkle.HASH_SIZE, leaf)
        for index, (event_id, leaf) in enumerate(zip(ids, leaves, strict=True), first_index)
    )
    return _COPY_HEAD + b"".join(rows) + _COPY_END
