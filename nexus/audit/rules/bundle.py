"""What stands in an exported bundle: its files, its manifest, and the rows of its table."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from nexus.audit.rules.header import moment
from nexus.audit.types import Selection

FORMAT = "nexus-audit-bundle v1"
EVENTS, BATCHES, LEAVES, PROOFS = "events.jsonl", "batches.jsonl", "leaves.bin", "proofs.jsonl"
STATEMENTS, TABLE, PII, MANIFEST = "statements.jsonl", "events.csv", "pii.jsonl", "manifest.json"
PARQUET = "events.parquet"

COLUMNS = (
    "id", "recorded_at", "occurred_at", "db_user", "action", "outcome", "actor_type", "actor_id", "object_type",
    "object_id", "request_id", "pii_sha256",
)  # fmt: skip
TABLE_HEAD = ("log_index", "leaf_sha256", *COLUMNS, "canonical")

_FORMULA = tuple("=+-@\t\r\n")  # spreadsheets would calculate what begins like this


def filter_of(selection: Selection) -> dict[str, str | None]:
    """Write what was asked for as the manifest has it."""
    return {
        "from": moment(selection.from_at) if selection.from_at else None,
        "to": moment(selection.to_at) if selection.to_at else None,
        "action": selection.action,
        "actor_id": selection.actor_id,
        "object_type": selection.object_type,
        "object_id": selection.object_id,
    }


def cells(*, log_index: int, leaf: bytes, document: Any, canonical: str) -> list[Any]:
    """Return an event's cells as `TABLE_HEAD` names them: its index, and text, None for what the event does not say."""
    said = document if isinstance(document, dict) else {}
    texts = (None if said.get(name) is None else str(said[name]) for name in COLUMNS)
    return [log_index, leaf.hex(), *texts, canonical]


def row(found: Sequence[Any]) -> list[str]:
    """Return such cells as a row of the table. The sealed text stands in it as it is; nothing else may be a formula."""
    index, leaf, *texts, canonical = found
    said = ("" if text is None else text for text in texts)
    return [str(index), leaf, *(f"'{text}" if text.startswith(_FORMULA) else text for text in said), canonical]


def table(rows: Iterable[Sequence[str]]) -> bytes:
    """Write rows as RFC 4180 has them."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def runs(offsets: Iterable[int]) -> list[list[int]]:
    """Return ascending numbers as runs: [first, count]."""
    found: list[list[int]] = []
    for offset in offsets:
        if found and offset == sum(found[-1]):
            found[-1][1] += 1
        else:
            found.append([offset, 1])
    return found
