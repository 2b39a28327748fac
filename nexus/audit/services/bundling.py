"""Write a bundle: sealed events with everything that proves them, verifiable without us. Memory does not grow with it.

Nothing is repaired or left out on the way: what the log has lost is named in the bundle, and its verifier says so.
"""

import json
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Any, BinaryIO

import orjson
from django.conf import settings

from nexus.audit import selectors
from nexus.audit.models import Batch
from nexus.audit.rules import bundle, evidence, header, keys, merkle
from nexus.audit.services import chosen, walking
from nexus.audit.services.anchoring import header_of
from nexus.audit.services.chosen import Stretch
from nexus.audit.services.columns import Columns
from nexus.audit.services.container import Container
from nexus.audit.services.recovery import RECOVERED
from nexus.audit.types import Selection
from nexus.core.errors import Invalid

COPIED_AT_ONCE = 1 << 20

Progress = Callable[[int, int], None]


class NothingSealed(Invalid):
    """Nothing of what was asked for has been sealed."""

    code = "audit_nothing_sealed"
    title = "There is nothing to export"


class PiiForbidden(Invalid):
    """This process's role may not read personal data."""

    code = "audit_pii_forbidden"
    title = "Personal data cannot be exported here"


@dataclass(slots=True)
class Bundle:
    """What a bundle came to."""

    events: int = 0
    hidden: int = 0
    missing: int = 0
    batches: int = 0
    pii: int = 0
    first: int | None = None
    last: int | None = None
    key_ids: set[str] = field(default_factory=set)
    manifest_sha256: str = ""


def write(
    selection: Selection, file: BinaryIO, *, folder: Path, asked_by: str, at: datetime, progress: Progress, using: str
) -> Bundle:
    """Write a bundle to `file`. Takes: in `folder` where drafts of its parts may stand; `progress`, told of the leaves
    done and of all that there are, and stopping everything by what it raises.

    Raises: NothingSealed, ParquetMissing, PiiForbidden.
    """
    if selection.with_pii and not walking.may_read_pii(using):
        raise PiiForbidden("The role of AUDIT_DATABASE_URL must be the auditor's to export personal data.")
    head = selectors.head(using=using)
    stretch = None if head is None else chosen.stretch(selection, head=head, using=using)
    if head is None or stretch is None:
        raise NothingSealed("Nothing of that time has been sealed.")
    made, container = Bundle(), Container(file)
    with ExitStack() as stack:
        stack.enter_context(walking.in_pieces(using))
        drafts = _Drafts(selection, lambda: stack.enter_context(tempfile.TemporaryFile(dir=folder)))
        writer = _Writer(selection, made, drafts, using)
        container.add(bundle.EVENTS, writer.events(stretch, progress))
        container.add(bundle.STATEMENTS, _statements(using))
        drafts.close()
        for name, draft in drafts.files.items():
            draft.seek(0)
            container.add(name, iter(partial(draft.read, COPIED_AT_ONCE), b""))
    manifest = _manifest(selection, made, container, head, asked_by=asked_by, at=at)
    made.manifest_sha256 = container.add(bundle.MANIFEST, [manifest]).digest
    container.close()
    return made


class _Drafts:
    """The parts that are written beside the events, each in a file of its own until the events are done."""

    def __init__(self, selection: Selection, make: Callable[[], IO[bytes]]) -> None:
        names = [bundle.BATCHES, bundle.PROOFS if selection.is_filtered else bundle.LEAVES]
        names += [bundle.TABLE] if selection.with_csv else []
        names += [bundle.PARQUET] if selection.with_parquet else []
        names += [bundle.PII] if selection.with_pii else []
        self.files = {name: make() for name in names}
        self.columns = Columns(self.files[bundle.PARQUET]) if selection.with_parquet else None
        if selection.with_csv:
            self.files[bundle.TABLE].write(bundle.table([bundle.TABLE_HEAD]))

    def write(self, name: str, chunk: bytes) -> None:
        self.files[name].write(chunk)

    def close(self) -> None:
        if self.columns is not None:
            self.columns.close()


class _Writer:
    """Writes the batches of a stretch, some at once."""

    def __init__(self, selection: Selection, made: Bundle, drafts: _Drafts, using: str) -> None:
        self._selection = selection
        self._made = made
        self._drafts = drafts
        self._using = using

    def events(self, stretch: Stretch, progress: Progress) -> Iterator[bytes]:
        """Return the events' lines; everything else goes to the drafts."""
        total = 0

        def done(leaves: int) -> None:
            nonlocal total
            total += leaves
            progress(total, stretch.leaves)

        for group in chosen.groups(stretch, using=self._using):
            yield from self._filtered(group, done) if self._selection.is_filtered else self._range(group, done)

    def _range(self, group: list[Batch], done: Callable[[int], None]) -> Iterator[bytes]:
        hidden: list[int] = []
        missing: list[int] = []
        for piece in chosen.pieces(self._selection, group, using=self._using):
            yield piece.texts
            self._drafts.write(bundle.LEAVES, piece.hashes)
            hidden += piece.hidden
            missing += piece.missing
            self._made.events += piece.end - piece.first - len(piece.hidden)
            if self._selection.needs_rows:
                self._beside(list(chosen.rows(self._selection, piece.first, piece.end, using=self._using)))
            done(piece.end - piece.first)
        for batch in group:
            self._batch(batch, hidden=bundle.runs(_of(batch, hidden)), missing=_of(batch, missing))
        self._made.hidden += len(hidden)
        self._made.missing += len(missing)

    def _filtered(self, group: list[Batch], done: Callable[[int], None]) -> Iterator[bytes]:
        batches = {batch.batch_no: batch for batch in group}
        rows = chosen.filtered(self._selection, group, using=self._using, done=done)
        for number, held in groupby(rows, key=lambda row: row.batch_no):
            batch = batches[number]
            tree = merkle.levels(chosen.leaf_hashes(batch, using=self._using))
            self._batch(batch)
            while shown := list(islice(held, chosen.LEAVES_AT_ONCE)):
                for row in shown:
                    path = merkle.path(tree, row.log_index - batch.first_index)
                    proof = {"log_index": row.log_index, "batch_no": number, "path": [node.hex() for node in path]}
                    self._drafts.write(bundle.PROOFS, orjson.dumps(proof) + b"\n")
                self._made.events += len(shown)
                self._beside(shown)
                yield "".join([f"{row.canonical}\n" for row in shown]).encode()

    def _batch(self, batch: Batch, **more: Any) -> None:
        seal = {
            "batch_no": batch.batch_no,
            "header": header.to_bytes(header_of(batch)).decode(),
            "signature": bytes(batch.signature).hex(),
        }
        self._drafts.write(bundle.BATCHES, orjson.dumps(seal | more) + b"\n")
        made = self._made
        made.batches += 1
        made.first = batch.batch_no if made.first is None else made.first
        made.last = batch.batch_no
        made.key_ids.add(batch.key_id)

    def _beside(self, rows: list[chosen.Row]) -> None:
        """Write the tables' rows and the personal data of these events."""
        if self._selection.with_csv:
            self._drafts.write(bundle.TABLE, bundle.table(bundle.row(_cells(row)) for row in rows))
        if self._drafts.columns is not None:
            self._drafts.columns.write(map(_cells, rows))
        if self._selection.with_pii:
            self._write_pii(rows)

    def _write_pii(self, rows: list[chosen.Row]) -> None:
        for row in rows:
            if row.salt is not None:
                held = {"event_id": row.event_id, "salt": row.salt.hex(), "data": row.data}
                self._drafts.write(bundle.PII, orjson.dumps(held) + b"\n")
                self._made.pii += 1


def _of(batch: Batch, indexes: list[int]) -> list[int]:
    """Return which of these ascending indexes are a batch's, as its own offsets."""
    first, end = batch.first_index, batch.first_index + batch.leaf_count
    return [index - first for index in indexes[bisect_left(indexes, first) : bisect_left(indexes, end)]]


def _cells(row: chosen.Row) -> list[Any]:
    canonical = row.canonical or ""
    try:
        document = orjson.loads(canonical)
    except orjson.JSONDecodeError:
        document = None
    leaf = merkle.leaf_hash(canonical.encode())
    return bundle.cells(log_index=row.log_index, leaf=leaf, document=document, canonical=canonical)


def _statements(using: str) -> Iterator[bytes]:
    """Return what known keys have signed besides seals: the keys that follow them, and what a recovery has lost."""
    for action in (keys.INTRODUCED, RECOVERED):
        for canonical in selectors.sealed_texts(action, using=using):
            said = {"action": action, "detail": evidence.detail_of(canonical)}
            yield orjson.dumps(said) + b"\n"


def _manifest(
    selection: Selection, made: Bundle, container: Container, head: Batch, *, asked_by: str, at: datetime
) -> bytes:
    said = {
        "format": bundle.FORMAT,
        "deployment": settings.DEPLOYMENT_ID,
        "created_at": header.moment(at),
        "asked_by": asked_by,
        "filter": bundle.filter_of(selection),
        "completeness": "filtered" if selection.is_filtered else "range",
        "from_batch": made.first,
        "to_batch": made.last,
        "sealed_through": {"batch_no": head.batch_no, "batch_hash": header.digest(header_of(head)).hex()},
        "key_ids": sorted(made.key_ids),
        "counts": {
            "events": made.events, "hidden": made.hidden, "missing": made.missing, "batches": made.batches,
            "pii": made.pii,
        },
        "files": {
            member.name.decode(): {"size": member.size, "sha256": member.digest} for member in container.members
        },
    }  # fmt: skip
    return json.dumps(said, indent=1, sort_keys=True).encode() + b"\n"
