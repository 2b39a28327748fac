"""Verification: a genuine log is clean, however it is cut; time, backlog, erasure and keys."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from nexus.audit.models import Batch, Event, Leaf
from nexus.audit.rules import merkle
from nexus.audit.rules.findings import Finding, Report, Verdict
from nexus.audit.services import keys, leaf_checks, sealing, verification, walking
from nexus.audit.services.anchoring import header_of
from tests.nexus.audit.sealed import OTHER, SIGNER, insert, places, record, run, seal, tamper, verify

pytestmark = pytest.mark.django_db


def test_a_genuine_log_is_clean(log):
    report = verify()

    assert report.counts == {}
    assert report.verdict is Verdict.CLEAN
    assert report.events == Leaf.objects.count() == Event.objects.count()
    assert report.batches == Batch.objects.count() == log["last"] + 1
    assert report.unsealed == 0
    assert report.notes == []


def test_without_a_key_the_log_is_believed_its_first_and_that_is_said(log):
    report = verify(trusted=None)

    assert report.verdict is Verdict.CLEAN
    assert "believed" in report.notes[0]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_however_the_log_is_cut_into_pieces_nothing_changes(log, monkeypatch, size):
    monkeypatch.setattr(walking, "LEAVES_AT_ONCE", size)
    monkeypatch.setattr(walking, "BATCHES_AT_ONCE", size)
    monkeypatch.setattr(walking, "EVENTS_AT_ONCE", size)

    assert verify().verdict is Verdict.CLEAN
    tamper("UPDATE audit.event SET canonical = canonical || ' ' WHERE id = %s", [log["ids"][2]])
    assert places(verify()) == {("event_modified", log["batch"], log["index"] + 2, log["ids"][2])}


def test_what_is_sealed_while_the_log_is_verified_is_no_finding(log, monkeypatch):
    """A long log takes longer to verify than the sealer takes for the next batch."""
    look = verification._check_beyond

    def and_seal(walk):
        record(3)
        seal()
        look(walk)

    monkeypatch.setattr(verification, "_check_beyond", and_seal)
    before = Batch.objects.count()

    report = verify()

    assert (report.verdict, report.counts) == (Verdict.CLEAN, {})
    assert (report.batches, Batch.objects.count()) == (before, before + 1)


def test_a_range_is_verified_by_itself(log):
    tamper("UPDATE audit.event SET canonical = canonical || ' ' WHERE id = %s", [log["ids"][2]])

    assert verify(from_batch=log["last"]).counts == {}
    assert verify(to_batch=log["batch"] - 1).counts == {}
    alone = verify(from_batch=log["batch"], to_batch=log["batch"])
    assert places(alone) == {("event_modified", log["batch"], log["index"] + 2, log["ids"][2])}
    assert (alone.batches, alone.events) == (1, 4)


def test_an_event_inserted_in_the_past_is_late_and_its_clock_runs_backwards(log):
    old = now() - timedelta(hours=2)
    (low,) = run("SELECT min(id) FROM audit.event")
    insert(low - 1 if low > 1 else 0, old)
    insert(log["last_ids"][-1] + 5000, old)
    (done,) = seal()
    first = Batch.objects.get(batch_no=done.header.batch_no).first_index

    found = places(verify())

    late = low - 1 if low > 1 else 0
    assert ("late_event", done.header.batch_no, first, late) in found
    assert ("clock_backwards", done.header.batch_no, first + 1, log["last_ids"][-1] + 5000) in found
    assert len(found) == 2


def test_a_transaction_that_was_open_for_a_while_is_no_finding_and_one_for_hours_is(log):
    sealed_at = Batch.objects.get(batch_no=log["last"]).sealed_at
    run("SELECT setval(pg_get_serial_sequence('audit.event', 'id'), (SELECT max(id) + 10 FROM audit.event))")
    record()
    seal()
    newest = log["last_ids"][-1]
    insert(newest + 1, sealed_at - timedelta(seconds=1))
    seal()
    assert verify().counts == {}

    insert(newest + 2, sealed_at - timedelta(minutes=11))
    seal()
    assert verify().counts == {Finding.LATE_EVENT: 1, Finding.CLOCK_BACKWARDS: 1}


def test_a_late_event_is_judged_by_the_same_seal_when_that_is_long_forgotten(log, monkeypatch):
    monkeypatch.setattr(leaf_checks, "TRANSACTION_AGE_MAX", timedelta())
    run("SELECT setval(pg_get_serial_sequence('audit.event', 'id'), (SELECT max(id) + 10 FROM audit.event))")
    heads = []
    for _ in range(3):
        record()
        heads += seal()
    above = Batch.objects.get(batch_no=heads[0].header.batch_no).sealed_at
    insert(log["last_ids"][-1] + 2, above + timedelta(microseconds=1))
    seal()

    for kept in (4096, 1):
        monkeypatch.setattr(leaf_checks, "HEADS_KEPT", kept)
        assert verify().counts == {}, "by the first seal above it, it is not late; by the newest it would be"

    insert(log["last_ids"][-1] + 3, above - timedelta(microseconds=1))
    seal()
    assert verify().counts == verify(from_batch=log["last"] + 2).counts == {Finding.LATE_EVENT: 1}


def test_events_that_wait_are_counted_and_those_that_wait_for_ten_minutes_named(log):
    waiting = record(3)
    assert (verify().unsealed, verify().verdict) == (3, Verdict.CLEAN)

    insert(waiting[-1] + 100, now() - timedelta(minutes=11))
    report = verify()

    assert ("unsealed_stale", None, None, waiting[-1] + 100) in places(report)
    assert report.unsealed == 4
    tamper("DELETE FROM audit.event WHERE id = ANY(%s)", [waiting])  # with them the clock goes back, too
    alone = verify()
    assert Finding.UNSEALED_STALE in alone.counts


def test_a_backlog_alone_is_no_tampering(log, monkeypatch):
    monkeypatch.setattr(verification, "STALE_AFTER", timedelta(seconds=-1))
    (waits,) = record()

    report = verify()

    assert places(report) == {("unsealed_stale", None, None, waits)}
    assert (report.verdict, report.verdict.code) == (Verdict.BACKLOG, 2)


def test_an_erasure_leaves_the_log_clean(log):
    run("SELECT audit.erase_pii(%s, 'someone', 'asked to')", [log["ids"][1]])
    assert verify().counts == {}, "the erasure's own event is seconds old"

    seal()

    assert verify().counts == {}


# --- Keys -------------------------------------------------------------------------------------------------------------
def test_a_key_that_was_introduced_is_known_from_its_seal_on(log):
    keys.introduce(OTHER.public, by=SIGNER)
    seal()
    record()
    seal(by=OTHER)

    assert verify().counts == {}
    assert verify(from_batch=log["last"] + 2).counts == {}
    assert set(verify(trusted={OTHER.key_id: OTHER.public}).counts) == {Finding.BAD_SIGNATURE}


def test_a_log_sealed_by_a_strangers_key_is_signed_by_nobody(log):
    record()
    list(sealing.seal_all(signer=OTHER))  # somebody who holds the sealer's role but not its key

    assert places(verify()) == {
        ("bad_signature", log["last"] + 1, Batch.objects.get(batch_no=log["last"] + 1).first_index, None)
    }
    keys.introduce(OTHER.public, by=OTHER)
    list(sealing.seal_all(signer=OTHER))
    assert set(verify().counts) == {Finding.BAD_SIGNATURE}, "introducing itself does not help"


def test_a_report_keeps_some_findings_and_counts_all():
    report = Report()
    for number in range(1_500):
        report.add(Finding.EVENT_MISSING, "x", event_id=number)

    assert len(report.findings) == 1_000
    assert report.counts[Finding.EVENT_MISSING] == 1_500


def test_a_growing_root_is_the_trees_root():
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(70)]
    growing = merkle.Growing()
    assert growing.root() is None
    for count, leaf in enumerate(leaves, 1):
        growing.add(leaf)
        assert growing.root() == merkle.root(leaves[:count])
    other = growing.copy()
    other.add(leaves[0])
    assert growing.root() == merkle.root(leaves)
    assert other.root() == merkle.root([*leaves, leaves[0]])


def test_headers_survive_the_database(log):
    (row,) = Batch.objects.filter(batch_no=log["last"])

    assert header_of(row).sealed_at == row.sealed_at
    assert header_of(row).deployment == "nexus"
