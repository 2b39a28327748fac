"""A bundle that somebody changed: any byte of it, or with every checksum and hash made right again."""

import io
import json
from hashlib import sha256
from typing import Any

import pytest

import nexus_audit_verify
from nexus.audit.rules import keys as key_rules
from nexus.audit.services.container import Container
from nexus.audit.types import Selection
from tests.nexus.audit.bundles import Change, as_lines, forge, lines, make, members, places, verify
from tests.nexus.audit.sealed import OTHER, record, seal

pytestmark = [pytest.mark.django_db, pytest.mark.threat(23)]

RANGE = Selection(with_csv=True, with_pii=True)
NO_FILTER = {"from": None, "to": None, "action": "", "actor_id": "", "object_type": "", "object_id": ""}
FILTERED = Selection(with_csv=True, with_pii=True, object_type="thing")


def region(made: bytes, at: int) -> str:
    """Return whose byte this is."""
    for name, (start, size, _) in _places(made).items():
        if start <= at < start + size:
            return name
    return "container"


def _places(made: bytes) -> dict[str, tuple[int, int, int]]:
    return nexus_audit_verify.Bundle(io.BytesIO(made)).places


@pytest.mark.parametrize("selection", [RANGE, FILTERED], ids=["range", "filtered"])
def test_whichever_byte_is_flipped_it_is_found(selection, tmp_path):
    """Every byte of the container and the manifest, and of each other member every seventh and both its ends."""
    record(2, pii={"ip": "203.0.113.7"})
    seal()
    record()
    seal()
    made = make(selection)
    assert verify(made, tmp_path).findings == []
    stretches = _places(made)
    dense = {"container", "manifest.json"}
    ends = {at for start, size, _ in stretches.values() for at in (start, start + size - 1)}
    tried = dict.fromkeys([*stretches, "container"], 0)

    for at in range(len(made)):
        whose = region(made, at)
        if whose not in dense and at not in ends and at % 7:
            continue
        flipped = bytearray(made)
        flipped[at] ^= 1 << at % 8
        report = verify(bytes(flipped), tmp_path)
        assert report.findings, f"byte {at} of {whose} was flipped, and nobody saw it"
        tried[whose] += 1

    assert all(tried.values()), tried


@pytest.mark.parametrize("selection", [RANGE, FILTERED], ids=["range", "filtered"])
def test_wherever_a_bundle_is_cut_or_lengthened_it_is_found(selection, tmp_path):
    record(2)
    seal()
    made = make(selection)

    for end in range(0, len(made), 11):
        assert verify(made[:end], tmp_path).findings, end
    for more in (made + b"\x00", b"\x00" + made, made + made):
        assert verify(more, tmp_path).findings


def test_what_is_put_between_the_members_and_their_directory_is_found(tmp_path):
    record(2)
    seal()
    file = io.BytesIO()
    container = Container(file)
    for name, content in members(make()).items():
        container.add(name, [content])
    whole = file.getvalue()
    container.close()
    assert verify(file.getvalue(), tmp_path).findings == []

    file.seek(len(whole))
    file.truncate()
    file.write(b"something else")
    container.close()

    assert places(verify(file.getvalue(), tmp_path)) == {("bundle_damaged", None)}


# --- With all checksums right -----------------------------------------------------------------------------------------
@pytest.fixture
def whole(log: dict[str, Any]) -> dict[str, bytes]:
    return members(make(RANGE))


def _replace(held: dict[str, bytes], name: str, old: bytes, new: bytes) -> None:
    assert old in held[name]
    held[name] = held[name].replace(old, new, 1)


def _without_line(held: dict[str, bytes], name: str, number: int) -> None:
    kept = held[name].splitlines(keepends=True)
    held[name] = b"".join(kept[:number] + kept[number + 1 :])


def _an_events_word(held):
    _replace(held, "events.jsonl", b"tests.thing.done", b"tests.thing.gone")


def _an_event_with_its_leaf(held):
    texts = held["events.jsonl"].split(b"\n")
    texts[3] = texts[3].replace(b"done", b"gone")
    held["events.jsonl"] = b"\n".join(texts)
    leaves = bytearray(held["leaves.bin"])
    leaves[3 * 32 : 4 * 32] = sha256(b"\x00" + texts[3]).digest()
    held["leaves.bin"] = bytes(leaves)


def _an_event_hidden(held):
    _without_line(held, "events.jsonl", 3)
    _without_line(held, "events.csv", 4)
    seals = lines(held, "batches.jsonl")
    seals[1]["hidden"] = [[1, 1]]
    held["batches.jsonl"] = as_lines(seals)


def _a_batch_gone(held):
    _without_line(held, "batches.jsonl", 2)
    held["leaves.bin"] = held["leaves.bin"][: 6 * 32] + held["leaves.bin"][10 * 32 :]
    for _ in range(4):
        _without_line(held, "events.jsonl", 6)
        _without_line(held, "events.csv", 7)
    held["pii.jsonl"] = b""


def _a_seal_by_a_stranger(held):
    seals = lines(held, "batches.jsonl")
    seals[3]["signature"] = OTHER.sign(seals[3]["header"].encode()).hex()
    held["batches.jsonl"] = as_lines(seals)


def _a_key_that_vouches_for_itself(held):
    seals = lines(held, "batches.jsonl")
    text = seals[3]["header"].split("\n")
    text[8] = OTHER.key_id
    seals[3]["header"] = "\n".join(text)
    seals[3]["signature"] = OTHER.sign(seals[3]["header"].encode()).hex()
    held["batches.jsonl"] = as_lines(seals)
    detail = key_rules.introduction(OTHER.public, by=OTHER, deployment="nexus")
    held["statements.jsonl"] += as_lines([{"action": "audit.key_introduced", "detail": detail}])


def _two_events_exchanged(held):
    texts = held["events.jsonl"].split(b"\n")
    texts[3], texts[4] = texts[4], texts[3]
    held["events.jsonl"] = b"\n".join(texts)


def _a_leaf(held):
    leaves = bytearray(held["leaves.bin"])
    leaves[3 * 32] ^= 1
    held["leaves.bin"] = bytes(leaves)


def _the_leaves_gone(held):
    del held["leaves.bin"]


def _the_end(held):
    held["events.jsonl"] += b"{}\n"


FORGERIES: dict[str, tuple[Change, set[tuple[str, int | None]]]] = {
    "a word of an event": (_an_events_word, {("event_modified", 0), ("csv_mismatch", 0)}),
    "an event and its leaf": (_an_event_with_its_leaf, {("merkle_root", 2), ("csv_mismatch", 3)}),
    "an event hidden": (_an_event_hidden, {("manifest_mismatch", None), ("event_hidden", 3)}),
    "two events exchanged": (
        _two_events_exchanged, {("event_modified", 3), ("event_modified", 4), ("csv_mismatch", 3)}
    ),
    "a batch gone": (_a_batch_gone, {("chain_break", 10), ("manifest_mismatch", None)}),
    "a seal by a stranger": (_a_seal_by_a_stranger, {("bad_signature", 10)}),
    "a key that vouches for itself": (_a_key_that_vouches_for_itself, {("bad_signature", 10)}),
    "a leaf": (_a_leaf, {("leaf_changed", 3)}),
    "an event more": (_the_end, {("leaf_count", None)}),
    "the table": (lambda held: _replace(held, "events.csv", b",success,", b",failure,"), {("csv_mismatch", 0)}),
    "a row more": (lambda held: held.update({"events.csv": held["events.csv"] + b"x"}), {("csv_mismatch", None)}),
    "personal data": (lambda held: _replace(held, "pii.jsonl", b"203.0", b"198.0"), {("pii_modified", 6)}),
    "a file gone": (
        _the_leaves_gone,
        {("file_missing", None), ("leaf_count", 0), ("manifest_mismatch", None), ("pii_modified", None),
         ("csv_mismatch", None), ("batches_missing", None)},
    ),
    "a header's time": (lambda held: _replace(held, "batches.jsonl", b"Z\\n", b"1Z\\n"), {("bad_signature", 0),
                                                                                    ("chain_break", 2)}),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGERIES)
def test_what_a_forger_without_the_key_changes_is_named(whole, tmp_path, what):
    change, expected = FORGERIES[what]
    change(whole)

    assert places(verify(forge(whole), tmp_path)) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"filter": NO_FILTER | {"action": "tests.x"}}, "manifest_mismatch"),
        ({"filter": NO_FILTER | {"to": "2020-01-01T00:00:00.000000Z"}}, "outside_filter"),
        ({"completeness": "filtered"}, "manifest_mismatch"),
        ({"completeness": "whole"}, "bundle_damaged"),
        ({"counts": {"events": 1, "hidden": 0, "missing": 0, "batches": 4, "pii": 0}}, "manifest_mismatch"),
        ({"from_batch": 1}, "manifest_mismatch"),
        ({"deployment": "elsewhere"}, "header_hash"),
        ({"format": "nexus-audit-bundle v2"}, "bundle_damaged"),
        ({"counts": {}}, "bundle_damaged"),
    ],
)  # fmt: skip
def test_what_the_manifest_says_beyond_the_evidence_is_named(whole, tmp_path, said, expected):
    assert expected in {kind for kind, _ in places(verify(forge(whole, **said), tmp_path))}


def test_a_proof_of_another_event_proves_nothing(log, tmp_path):
    held = members(make(Selection(object_type="thing")))
    proofs = lines(held, "proofs.jsonl")
    proofs[2]["path"], proofs[3]["path"] = proofs[3]["path"], proofs[2]["path"]
    held["proofs.jsonl"] = as_lines(proofs)
    assert {kind for kind, _ in places(verify(forge(held), tmp_path))} == {"event_modified"}

    held = members(make(Selection(object_type="thing")))
    proofs = lines(held, "proofs.jsonl")
    for proof in proofs[:2]:
        proof["log_index"] += 40_000
    held["proofs.jsonl"] = as_lines(proofs)
    assert {kind for kind, _ in places(verify(forge(held), tmp_path))} == {"event_modified", "leaf_index"}


def test_an_event_twice_in_a_filtered_bundle_is_named(log, tmp_path):
    held = members(make(Selection(object_type="thing")))
    texts, proofs = held["events.jsonl"].splitlines(keepends=True), held["proofs.jsonl"].splitlines(keepends=True)
    held["events.jsonl"] = b"".join([*texts[:2], texts[1], *texts[2:]])
    held["proofs.jsonl"] = b"".join([*proofs[:2], proofs[1], *proofs[2:]])

    assert {kind for kind, _ in places(verify(forge(held), tmp_path))} == {"leaf_index", "manifest_mismatch"}


def test_an_event_that_was_not_asked_for_is_named(log, tmp_path):
    held = members(make(Selection(object_type="thing")))
    manifest = json.loads(held["manifest.json"])
    manifest["filter"]["object_type"] = "order"
    held["manifest.json"] = json.dumps(manifest).encode()

    assert {kind for kind, _ in places(verify(forge(held), tmp_path))} == {"outside_filter"}


def test_the_container_is_what_its_verifier_expects():
    file = io.BytesIO()
    container = Container(file)
    container.add("a", [b"one", b"two"])
    container.add("b", [])
    container.close()

    bundle = nexus_audit_verify.Bundle(io.BytesIO(file.getvalue()))

    assert b"".join(bundle.chunks("a")) == b"onetwo"
    assert list(bundle.chunks("b")) == []
    assert bundle.digest("a") == (sha256(b"onetwo").hexdigest(), True)
