"""What verification may find, each by its name and with the exact place."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

KEPT_MAX = 1_000  # findings that are kept whole; all are counted


class Finding(StrEnum):
    """What may be wrong with a log."""

    EVENT_MODIFIED = "event_modified"
    EVENT_MISSING = "event_missing"
    COLUMN_MISMATCH = "column_mismatch"
    LEAF_INDEX = "leaf_index"
    LEAF_COUNT = "leaf_count"
    MERKLE_ROOT = "merkle_root"
    CHAIN_BREAK = "chain_break"
    HEADER_HASH = "header_hash"
    BAD_SIGNATURE = "bad_signature"
    CLOCK_BACKWARDS = "clock_backwards"
    LATE_EVENT = "late_event"
    UNSEALED_STALE = "unsealed_stale"
    PII_MODIFIED = "pii_modified"
    PII_MISSING = "pii_missing"
    TAIL_TRUNCATED = "tail_truncated"
    HISTORY_REWRITTEN = "history_rewritten"
    ANCHOR_MISSING = "anchor_missing"


class Verdict(StrEnum):
    """What a verification comes to; the value of `code` is the command's exit code."""

    CLEAN = "clean"
    TAMPERED = "tampered"
    BACKLOG = "backlog"

    @property
    def code(self) -> int:
        """Return the exit code."""
        return {Verdict.CLEAN: 0, Verdict.TAMPERED: 1, Verdict.BACKLOG: 2}[self]


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is wrong, and where."""

    kind: Finding
    detail: str
    batch_no: int | None = None
    log_index: int | None = None
    event_id: int | None = None

    def __str__(self) -> str:
        places = (("batch", self.batch_no), ("index", self.log_index), ("event", self.event_id))
        where = ", ".join(f"{name} {value}" for name, value in places if value is not None)
        return f"{self.kind}: {where}: {self.detail}" if where else f"{self.kind}: {self.detail}"


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found."""

    from_batch: int | None = None
    to_batch: int | None = None
    reaches_end: bool = True
    batches: int = 0
    events: int = 0
    unsealed: int = 0
    findings: list[Found] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        kind: Finding,
        detail: str,
        *,
        batch_no: int | None = None,
        log_index: int | None = None,
        event_id: int | None = None,
    ) -> None:
        """Count a finding, and keep the first ones whole."""
        self.counts[kind.value] += 1
        if len(self.findings) < KEPT_MAX:
            self.findings.append(Found(kind, detail, batch_no, log_index, event_id))

    @property
    def verdict(self) -> Verdict:
        """Return what it comes to. Events that wait too long are a fault of ours and no tampering."""
        if not self.counts:
            return Verdict.CLEAN
        return Verdict.BACKLOG if set(self.counts) == {Finding.UNSEALED_STALE} else Verdict.TAMPERED

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "verdict": self.verdict.value,
            "from_batch": self.from_batch,
            "to_batch": self.to_batch,
            "batches": self.batches,
            "events": self.events,
            "unsealed": self.unsealed,
            "counts": dict(sorted(self.counts.items())),
            "findings": [asdict(found) for found in self.findings],
            "notes": self.notes,
        }
