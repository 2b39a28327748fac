"""The log against what its anchors kept: the only thing that a stolen key and a superuser cannot both undo."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nexus.audit.models import Batch
from nexus.audit.rules import header, keys
from nexus.audit.rules.findings import Finding, Report
from nexus.audit.rules.header import KEY_ID_LINE
from nexus.audit.services import recovery
from nexus.audit.services.anchoring import header_of
from nexus.audit.services.keys import introduced_keys
from nexus.core.errors import Invalid

LINES_AT_ONCE = 500


class AnchorUnreadable(Invalid):
    """The anchor's file cannot be read."""

    code = "audit_anchor_unreadable"
    title = "The anchor cannot be read"


class Kept(NamedTuple):
    """A seal as an anchor has it."""

    number: int
    header: bytes
    signature: bytes


def compare(
    report: Report,
    path: Path,
    *,
    using: str = "default",
    trusted: dict[str, Ed25519PublicKey] | None = None,
    kept_to: int = -1,
) -> None:
    """Hold every seal that the anchor kept, within the range that was verified, against the log's.

    Takes: in `kept_to` the newest batch that the anchor is known to have taken. Raises: AnchorUnreadable.
    """
    known = introduced_keys(trusted, using=using)
    lost = recovery.known(known, using=using)
    first, last = report.from_batch or 0, -1 if report.to_batch is None else report.to_batch
    seen, due = 0, 0  # lines, and the batch that must come next
    lines = kept(path, report)
    while portion := list(islice(lines, LINES_AT_ONCE)):
        # Read after the lines were: what the anchor has of a log that grows meanwhile, the log has too.
        rows = Batch.objects.using(using).in_bulk([seal.number for seal in portion])
        for seal in portion:
            seen += 1
            _note_missing(report, path, max(due, first), min(seal.number - 1, last))
            due = max(due, seal.number + 1)
            if seal.number < first or (seal.number > last and not report.reaches_end):
                continue
            row = rows.get(seal.number)
            if row is not None and header.to_bytes(header_of(row)) == seal.header:
                continue
            if not any(each.covers(seal.number) for each in lost):
                _note_difference(report, path, seal, row, last=last, known=known)
    _note_missing(report, path, max(due, first), min(last, kept_to if seen else last))
    report.notes.append(f"The anchor {path.name} kept {seen} seals, up to batch {due - 1}.")
    report.notes.extend(f"The anchor {path.name}: {each}" for each in lost)


def note_absent(report: Report, path: Path, *, why: str) -> None:
    """Say that an anchor that should be here is not: without it, a cut tail and a stolen key are not seen."""
    report.add(Finding.ANCHOR_MISSING, f"the anchor {path} cannot be read: {why}")


def _note_missing(report: Report, path: Path, first: int, last: int) -> None:
    if first <= last:
        words = f"the anchor {path.name} lacks the batches {first} to {last}: somebody took them out of it"
        report.add(Finding.ANCHOR_MISSING, words, batch_no=first)


def _note_difference(
    report: Report, path: Path, seal: Kept, row: Batch | None, *, last: int, known: dict[str, Ed25519PublicKey]
) -> None:
    # What is not signed is said too: whoever has rewritten the log may have replaced its keys.
    lines = seal.header.decode().split("\n")
    key = known.get(lines[KEY_ID_LINE]) if len(lines) > KEY_ID_LINE else None
    is_ours = key is not None and keys.is_signed(seal.header, signature=seal.signature, by=key)
    whose = "" if is_ours else "; the anchor's is not signed by a known key, so it may be the anchor that is forged"
    if row is None and seal.number > last:
        words = f"the anchor {path.name} has this batch, the log ends at batch {last}{whose}"
        report.add(Finding.TAIL_TRUNCATED, words, batch_no=seal.number)
        return
    words = f"the anchor {path.name} has another batch of this number{whose}"
    index = row.first_index if row else None
    report.add(Finding.HISTORY_REWRITTEN, words, batch_no=seal.number, log_index=index)


def kept(path: Path, report: Report | None = None) -> Iterator[Kept]:
    """Return the seals of an anchor's file. Lines that a crash has torn are noted. Raises: AnchorUnreadable."""
    torn = 0
    try:
        with path.open("rb") as file:
            for line in file:
                seal = _read(line)
                if seal is None:
                    torn += bool(line.strip())
                else:
                    yield seal
    except OSError as exc:
        raise AnchorUnreadable(f"The anchor {path} cannot be read: {exc.strerror}.") from exc
    if torn and report is not None:
        report.notes.append(f"The anchor {path.name} holds {torn} lines that are torn.")


def _read(line: bytes) -> Kept | None:
    try:
        document: Any = json.loads(line)
        signature = bytes.fromhex(document["signature"])
        return Kept(int(document["batch_no"]), str(document["header"]).encode(), signature)
    except (KeyError, TypeError, ValueError):
        return None
