"""What is left out of a bundle by somebody without the key: whole batches, or events put behind a hash."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nexus.audit.rules import header
from nexus.audit.types import Header
from tests.nexus.audit.bundles import as_lines, forge, lines, make, members, places, verify
from tests.nexus.audit.sealed import SIGNER

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOTHING = {"action": "", "actor_id": "", "object_type": "", "object_id": ""}


def _seals() -> list[tuple[str, list[bytes]]]:
    """Return the headers of a log of five hours, an hour and two events each, with the events."""
    made, before = [], sha256(b"nexus-audit-genesis v1\nnexus\n").digest()
    for number in range(5):
        texts = []
        for place in range(2):
            at = NOON + number * HOUR + place * HOUR / 2
            event = {"id": 2 * number + place, "recorded_at": at.isoformat(), "pii_sha256": None} | NOTHING
            texts.append(json.dumps(event).encode())
        left, right = (sha256(b"\x00" + text).digest() for text in texts)
        said = Header(
            deployment="nexus", batch_no=number, first_index=2 * number, leaf_count=2, prev_hash=before,
            key_id=SIGNER.key_id,
            merkle_root=sha256(b"\x01" + left + right).digest(), sealed_at=NOON + number * HOUR + HOUR / 2,
        )  # fmt: skip
        before = header.digest(said)
        made.append((header.to_bytes(said).decode(), texts))
    return made


def bundle(*, batches: range = range(5), hidden: set[int] = frozenset(), start: Any = None, end: Any = None) -> bytes:  # type: ignore[assignment]
    """Write a bundle of it as the exporter would, or as somebody who leaves something out."""
    seals, shown, leaves = [], [], b""
    for number, (text, events) in list(enumerate(_seals()))[batches.start : batches.stop]:
        out = [place for place in range(2) if 2 * number + place in hidden]
        seals.append({"batch_no": number, "header": text, "signature": SIGNER.sign(text.encode()).hex(),
                      "hidden": [[place, 1] for place in out], "missing": []})  # fmt: skip
        shown += [event + b"\n" for place, event in enumerate(events) if place not in out]
        leaves += b"".join(sha256(b"\x00" + event).digest() for event in events)
    held = {
        "batches.jsonl": as_lines(seals),
        "events.jsonl": b"".join(shown),
        "leaves.bin": leaves,
        "statements.jsonl": b"",
    }
    newest = _seals()[-1][0]
    said = {
        "format": "nexus-audit-bundle v1", "deployment": "nexus", "created_at": (NOON + 9 * HOUR).isoformat(),
        "filter": NOTHING | {"from": start and start.isoformat(), "to": end and end.isoformat()},
        "completeness": "range",
        "from_batch": batches.start if seals else None, "to_batch": batches.stop - 1 if seals else None,
        "sealed_through": {"batch_no": 4, "batch_hash": sha256(newest.encode()).hexdigest()},
        "counts": {"events": len(shown), "hidden": len(hidden), "batches": len(seals)},
    }  # fmt: skip
    return forge(held | {"manifest.json": b"{}"}, **said)


def anchor(folder: Path) -> Path:
    """Write what an anchor has kept of it."""
    path = folder / "anchor.jsonl"
    path.write_bytes(as_lines([{"batch_no": no, "header": text} for no, (text, _) in enumerate(_seals())]))
    return path


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, set()),
        ({"batches": range(4)}, {("batches_missing", None)}),
        ({"batches": range(1, 5)}, {("batches_missing", None)}),
        ({"batches": range(0)}, {("batches_missing", None)}),
        ({"start": NOON + HOUR, "batches": range(1, 5)}, set()),
        ({"start": NOON + HOUR, "batches": range(1, 4)}, {("batches_missing", None)}),
        ({"end": NOON + 3 * HOUR, "batches": range(3)}, set()),
        ({"end": NOON + 3 * HOUR, "batches": range(1, 3)}, {("batches_missing", None)}),
        ({"start": NOON - HOUR, "hidden": {4}}, {("event_hidden", 4)}),
        ({"start": NOON - HOUR, "hidden": {8, 9}}, {("event_hidden", 8)}),
        ({"start": NOON + HOUR, "batches": range(1, 5), "hidden": {4, 5, 6}}, {("event_hidden", 4)}),
        ({"end": NOON + 9 * HOUR, "batches": range(5), "hidden": {0, 5}}, {("event_hidden", 0), ("event_hidden", 5)}),
        ({"start": NOON + HOUR / 4, "end": NOON + 4 * HOUR, "hidden": {0, 8, 9}}, set()),
        ({"start": NOON + HOUR / 4, "end": NOON + 4 * HOUR, "hidden": {0, 3, 8, 9}}, {("event_hidden", 3)}),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named_and_what_was_not_asked_for_is_no_finding(tmp_path, given, found):
    assert places(verify(bundle(**given), tmp_path)) == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, set()),
        ({"start": NOON + 2 * HOUR, "batches": range(2, 5)}, set()),
        ({"start": NOON + 2 * HOUR, "batches": range(3, 5)}, {("batches_missing", 2)}),
        ({"end": NOON + 4 * HOUR, "batches": range(4)}, set()),
        ({"end": NOON + 4 * HOUR, "batches": range(2)}, {("batches_missing", 2), ("batches_missing", 3)}),
        ({"start": NOON + 3 * HOUR, "batches": range(0)}, {("batches_missing", 3), ("batches_missing", 4)}),
        ({"start": NOON + 9 * HOUR, "batches": range(0)}, set()),
    ],
)  # fmt: skip
def test_an_anchor_tells_which_batches_of_the_time_are_not_there(tmp_path, given, found):
    report = verify(bundle(**given), tmp_path, anchors=(anchor(tmp_path),))

    assert {(kind, place) for kind, place in places(report) if kind == "batches_missing"} == found


@pytest.mark.django_db
def test_the_end_of_a_real_bundle_is_not_cut_off(log, tmp_path):
    held = members(make())
    seals = lines(held, "batches.jsonl")
    held["batches.jsonl"] = as_lines(seals[:-1])
    held["events.jsonl"] = b"".join(held["events.jsonl"].splitlines(keepends=True)[:-4])
    held["leaves.bin"] = held["leaves.bin"][: -4 * 32]
    manifest = json.loads(held["manifest.json"])
    manifest["counts"]["events"] -= 4
    manifest["counts"]["batches"] -= 1

    forged = forge(held, counts=manifest["counts"], to_batch=manifest["to_batch"] - 1)

    assert places(verify(forged, tmp_path)) == {("batches_missing", None)}
