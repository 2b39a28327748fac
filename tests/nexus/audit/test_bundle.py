"""What a bundle holds, and that somebody who has only it, the public key and one file can verify it."""

import csv
import io
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.utils.timezone import now

from nexus.audit.models import Batch, Event, Leaf
from nexus.audit.providers import File
from nexus.audit.rules import bundle, merkle
from nexus.audit.services import bundling, chosen, keys, walking
from nexus.audit.services.anchoring import seals_after
from nexus.audit.services.bundling import NothingSealed
from nexus.audit.types import Actor, Selection, Target
from tests.nexus.audit.bundles import lines, make, members, places, verify
from tests.nexus.audit.sealed import OTHER, SIGNER, cut, record, run, seal, tamper

pytestmark = pytest.mark.django_db

VERIFIER = Path(django_settings.BASE_DIR) / "nexus_audit_verify.py"


def test_a_bundle_of_everything_holds_the_sealed_texts_and_proves_that_none_is_missing(log, tmp_path):
    made = make()

    held = members(made)
    texts = [event.canonical for event in Event.objects.order_by("id")]
    assert held["events.jsonl"].decode().splitlines() == texts
    hashes = [merkle.leaf_hash(text.encode()) for text in texts]
    assert held["leaves.bin"] == b"".join(hashes)
    assert [seal["batch_no"] for seal in lines(held, "batches.jsonl")] == list(range(log["last"] + 1))
    manifest = json.loads(held["manifest.json"])
    assert manifest["completeness"] == "range"
    assert manifest["counts"] == {"events": 14, "hidden": 0, "missing": 0, "batches": 4, "pii": 0}
    assert (manifest["from_batch"], manifest["to_batch"], manifest["key_ids"]) == (0, 3, [SIGNER.key_id])
    assert set(held) == {"events.jsonl", "statements.jsonl", "batches.jsonl", "leaves.bin", "manifest.json"}
    report = verify(made, tmp_path)
    assert report.findings == []
    assert (report.facts["events"], report.facts["batches"]) == (14, 4)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_however_a_bundle_is_written_in_pieces_it_is_the_same(log, monkeypatch, size):
    whole = make(Selection(with_csv=True))

    monkeypatch.setattr(chosen, "LEAVES_AT_ONCE", size)

    assert make(Selection(with_csv=True)) == whole


def test_what_waits_for_its_seal_is_not_exported(log):
    record(3)

    assert len(members(make())["events.jsonl"].splitlines()) == 14


def test_nothing_sealed_is_no_bundle(settings):
    record()
    with pytest.raises(NothingSealed):
        make()
    seal()
    with pytest.raises(NothingSealed):
        make(Selection(from_at=now() + timedelta(hours=1)))


def test_a_time_is_widened_to_whole_batches_and_what_is_outside_stands_as_hashes(log, tmp_path):
    first, last = Event.objects.get(pk=log["ids"][2]), Event.objects.get(pk=log["last_ids"][1])

    made = make(Selection(from_at=first.recorded_at, to_at=last.recorded_at, with_csv=True))

    held = members(made)
    shown = [json.loads(line)["id"] for line in held["events.jsonl"].splitlines()]
    assert shown == [*log["ids"][2:], log["last_ids"][0]]
    seals = {seal["batch_no"]: seal["hidden"] for seal in lines(held, "batches.jsonl")}
    assert seals[log["batch"]] == [[0, 2]]
    assert seals[log["last"]] == [[1, 3]]
    report = verify(made, tmp_path)
    assert report.findings == []
    assert report.facts["events"] == 3
    assert report.facts["completeness"] == "range"


def test_an_event_that_was_sealed_long_after_its_time_is_in_the_bundle_of_its_time(log, monkeypatch):
    """As after an outage of the sealer: the batch's seal is of another day."""
    at = Event.objects.get(pk=log["last_ids"][3]).recorded_at
    tamper("UPDATE audit.batch SET sealed_at = sealed_at + interval '1 day' WHERE batch_no = %s", [log["last"]])

    held = members(make(Selection(from_at=at, to_at=at + timedelta(microseconds=1))))

    assert [json.loads(line)["id"] for line in held["events.jsonl"].splitlines()] == [log["last_ids"][3]]


@pytest.mark.parametrize(
    "selection",
    [Selection(action="tests.chosen"), Selection(actor_id="somebody"), Selection(object_type="box", object_id="7"),
     Selection(action="tests.chosen", object_type="box", with_csv=True)],
)  # fmt: skip
def test_a_filtered_bundle_proves_each_event_and_says_that_it_cannot_prove_completeness(log, tmp_path, selection):
    record(5)
    ids = record(2, action="tests.chosen", actor=Actor.user("somebody"), target=Target("box", "7"))
    record(2)
    seal()
    ids += record(1, action="tests.chosen", actor=Actor.user("somebody"), target=Target("box", "7"))
    seal()

    made = make(selection)

    held = members(made)
    assert [json.loads(line)["id"] for line in held["events.jsonl"].splitlines()] == ids
    assert "leaves.bin" not in held
    assert len(lines(held, "batches.jsonl")) == 2
    report = verify(made, tmp_path)
    assert report.findings == []
    assert report.facts["completeness"] == "filtered"


def test_a_filtered_bundle_of_nothing_is_a_bundle(log, tmp_path):
    report = verify(make(Selection(action="tests.never")), tmp_path)

    assert (report.findings, report.facts["events"]) == ([], 0)


@pytest.mark.threat(24)
def test_the_table_holds_every_event_and_no_formula(log, tmp_path):
    record(target=Target("=cmd|' /C calc'!A0", 'a,b\n"c"'), actor=Actor.user("@x"))
    seal()

    made = make(Selection(with_csv=True))

    rows = list(csv.DictReader(io.StringIO(members(made)["events.csv"].decode(), newline="")))
    assert [int(row["log_index"]) for row in rows] == list(range(15))
    last = Event.objects.latest("id")
    assert rows[-1]["canonical"] == last.canonical
    assert rows[-1]["leaf_sha256"] == bytes(Leaf.objects.get(event=last).leaf_hash).hex()
    assert rows[-1]["object_type"] == "'=cmd|' /C calc'!A0"
    assert rows[-1]["actor_id"] == "'@x"
    assert rows[-1]["object_id"] == 'a,b\n"c"'
    assert verify(made, tmp_path).findings == []


@pytest.mark.parametrize("selection", [Selection(with_pii=True), Selection(with_pii=True, object_type="thing")])
def test_personal_data_is_there_when_asked_for_and_held_against_its_commitments(log, tmp_path, selection):
    assert b"203.0.113.7" not in make()
    run("SELECT audit.erase_pii(%s, 'someone', 'asked to')", [log["ids"][1]])
    seal()

    made = make(selection)

    held = lines(members(made), "pii.jsonl")
    assert [entry["event_id"] for entry in held] == [each for each in log["ids"] if each != log["ids"][1]]
    assert json.loads(held[0]["data"]) == {"ip": "203.0.113.7"}
    assert verify(made, tmp_path).findings == []


def test_a_role_that_may_not_read_personal_data_cannot_export_it(log, monkeypatch):
    monkeypatch.setattr(walking, "may_read_pii", lambda _using: False)

    with pytest.raises(bundling.PiiForbidden):
        make(Selection(with_pii=True))


def test_a_key_that_was_introduced_comes_with_its_introduction(log, tmp_path):
    keys.introduce(OTHER.public, by=SIGNER)
    seal()
    record()
    seal(by=OTHER)
    made = make()

    assert verify(made, tmp_path).findings == []
    report = verify(made, tmp_path, keys={OTHER.key_id: OTHER.public})
    assert {kind for kind, _ in places(report)} == {"bad_signature"}, "the new key vouches for nothing before it"


def test_statements_that_anybody_could_have_appended_mean_nothing(log, tmp_path):
    for detail in ({}, {"public_key": "zz"}, {"introduced_by": SIGNER.key_id, "public_key": "00" * 32}):
        record(action="audit.key_introduced", detail=detail)
        record(action="audit.recovery", detail=detail)
    seal()

    assert verify(make(), tmp_path).findings == []


# --- A log that was tampered with is exported as it is, and the bundle shows it ---------------------------------------
def test_what_the_log_has_lost_is_named_by_the_bundle(log, tmp_path):
    tamper("DELETE FROM audit.event WHERE id = %s", [log["ids"][2]])
    tamper("DELETE FROM audit.leaf WHERE log_index = %s", [log["index"] + 5])

    report = verify(make(), tmp_path)

    assert places(report) == {
        ("event_missing", log["index"] + 2), ("event_missing", log["index"] + 5), ("merkle_root", log["index"] + 4),
    }  # fmt: skip


def test_what_was_changed_in_the_log_is_named_by_the_bundle(log, tmp_path):
    tamper("UPDATE audit.event SET canonical = replace(canonical, '\"number\": 1', '\"number\": 7') WHERE id = %s",
           [log["ids"][1]])  # fmt: skip
    for selection in (Selection(), Selection(object_type="thing")):
        report = verify(make(selection), tmp_path)
        assert places(report) == {("event_modified", log["index"] + 1)}


# --- Anchors ----------------------------------------------------------------------------------------------------------
def test_the_anchors_tell_of_a_bundle_what_they_tell_of_the_log(log, tmp_path):
    path = tmp_path / "anchor.jsonl"
    File("f", path).keep("nexus", seals_after(-1, limit=1000))
    assert verify(make(), tmp_path, anchors=(path,)).findings == []

    filtered = make(Selection(to_at=Event.objects.get(pk=log["last_ids"][0]).recorded_at))
    assert verify(filtered, tmp_path, anchors=(path,)).findings == []

    cut(log["last"])
    tamper("DELETE FROM audit.event WHERE id = ANY(%s)", [log["last_ids"]])
    made = make()
    assert verify(made, tmp_path).findings == [], "the bundle alone cannot tell"
    assert places(verify(made, tmp_path, anchors=(path,))) == {("tail_truncated", log["last"])}

    record()
    seal()
    assert places(verify(make(), tmp_path, anchors=(path,))) == {("history_rewritten", log["last"])}
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:-1]))
    assert places(verify(make(), tmp_path, anchors=(path,))) == {("anchor_missing", 0)}


# --- By itself --------------------------------------------------------------------------------------------------------
def test_the_verifier_is_one_file_that_needs_nothing_of_nexus(log, tmp_path):
    (tmp_path / "bundle.zip").write_bytes(make(Selection(with_csv=True)))
    (tmp_path / "public.pem").write_text(keys.as_public_pem(SIGNER.public))
    (tmp_path / "stranger.pem").write_text(keys.as_public_pem(OTHER.public))
    copy = tmp_path / "verifier.py"
    copy.write_bytes(VERIFIER.read_bytes())

    def act(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(copy), *arguments]
        return subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)

    clean = act("bundle.zip", "--public-key", "public.pem")
    assert (clean.returncode, clean.stderr) == (0, "")
    assert "14 events" in clean.stdout
    assert clean.stdout.endswith("CLEAN\n")
    stranger = act("bundle.zip", "--public-key", "stranger.pem", "--json")
    assert (stranger.returncode, json.loads(stranger.stdout)["counts"]) == (1, {"bad_signature": 4})
    for wrong in (("bundle.zip",), ("absent.zip", "--public-key", "public.pem"), ("bundle.zip", "--public-key", "x"),
                  ("bundle.zip", "--public-key", "bundle.zip"),
                  ("bundle.zip", "--public-key", "public.pem", "--anchor", "absent")):  # fmt: skip
        assert act(*wrong).returncode == 3, wrong
    imported = {
        line.split()[1].split(".")[0] for line in copy.read_text().splitlines() if line.startswith(("import ", "from "))
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_a_batch_of_many_hidden_events_is_written_as_runs(log):
    assert bundle.runs([0, 1, 2, 5, 7, 8]) == [[0, 3], [5, 1], [7, 2]]
    assert Batch.objects.exists()
