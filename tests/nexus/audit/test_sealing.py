"""Sealing: every event gets one leaf, once, under a signed and chained header."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from nexus.audit import selectors
from nexus.audit.models import Batch, Event, Leaf
from nexus.audit.rules import header, merkle
from nexus.audit.rules import keys as key_rules
from nexus.audit.services import heartbeat, keys, sealing
from nexus.audit.services.keys import KeyNotIntroduced, KeyUnusable
from nexus.audit.services.sealing import Idle, Sealed
from nexus.audit.types import Header
from tests.nexus.audit.sealed import OTHER, SIGNER, record, run, seal, tamper
from tests.threads import together

pytestmark = pytest.mark.django_db


def test_a_header_is_exactly_these_nine_lines():
    written = header.to_bytes(
        Header(
            deployment="desk-1", batch_no=7, first_index=140_000, leaf_count=3, merkle_root=bytes(31) + b"\x01",
            prev_hash=b"\xff" * 32, sealed_at=datetime(2026, 1, 5, 12, 0, 0, 42, tzinfo=UTC), key_id="00ff00ff00ff00ff",
        )
    )  # fmt: skip

    assert written == (
        b"nexus-audit-batch v1\ndesk-1\n7\n140000\n3\n" + b"0" * 62 + b"01\n" + b"f" * 64 + b"\n"
        b"2026-01-05T12:00:00.000042Z\n00ff00ff00ff00ff\n"
    )
    assert len(written.splitlines()) == header.LINES


def test_the_first_batch_names_the_genesis():
    assert header.genesis("desk-1") == sha256(b"nexus-audit-genesis v1\ndesk-1\n").digest()


def test_everything_that_waits_is_sealed_once_in_order():
    seal()
    before = Leaf.objects.count()
    ids = record(5)

    (done,) = seal()

    leaves = list(Leaf.objects.filter(log_index__gte=before).order_by("log_index"))
    assert [leaf.event_id for leaf in leaves] == ids
    assert [leaf.log_index for leaf in leaves] == list(range(before, before + 5))
    assert done.count == 5
    assert Leaf.objects.count() == Event.objects.count()
    assert sealing.seal(signer=SIGNER) is Idle.NOTHING


def test_a_batch_is_chained_and_signed_over_its_exact_events(settings):
    settings.DEPLOYMENT_ID = "desk-1"
    seal()
    record(3)
    (done,) = seal()
    batch = Batch.objects.order_by("-batch_no")[0]
    earlier = Batch.objects.get(batch_no=batch.batch_no - 1)
    texts = Event.objects.order_by("-id")[:3]
    leaves = [merkle.leaf_hash(event.canonical.encode()) for event in reversed(texts)]

    assert bytes(batch.merkle_root) == merkle.root(leaves)
    assert bytes(batch.prev_hash) == bytes(earlier.batch_hash)
    assert batch.first_index == earlier.first_index + earlier.leaf_count
    assert batch.sealed_at >= earlier.sealed_at
    lines = done.header.header.decode().splitlines()
    assert lines[:5] == ["nexus-audit-batch v1", "desk-1", str(batch.batch_no), str(batch.first_index), "3"]
    assert bytes(batch.batch_hash) == sha256(done.header.header).digest()
    assert key_rules.is_signed(done.header.header, signature=bytes(batch.signature), by=SIGNER.public)
    assert not key_rules.is_signed(done.header.header + b" ", signature=bytes(batch.signature), by=SIGNER.public)


def test_the_log_begins_with_its_genesis_and_its_key():
    assert not Batch.objects.exists(), "this test wants a log that nobody has sealed yet"

    seal()

    first = Batch.objects.get(batch_no=0)
    assert bytes(first.prev_hash) == header.genesis("nexus")
    introduced = json.loads(selectors.introductions(SIGNER.key_id)[0])
    assert introduced["actor_id"] == "sealer"
    assert key_rules.named(introduced["detail"]) == SIGNER.public
    assert set(keys.introduced_keys()) == {SIGNER.key_id}


def test_a_batch_holds_no_more_than_its_size(monkeypatch):
    seal()
    monkeypatch.setattr(sealing, "BATCH_SIZE", 4)
    record(10)

    assert [done.count for done in seal()] == [4, 4, 2]


def test_a_full_pass_walks_the_whole_log_in_windows(monkeypatch):
    monkeypatch.setattr(sealing, "WINDOW", 3)
    record(10)

    seal()

    assert Leaf.objects.count() == Event.objects.count()


def test_an_event_of_a_huge_id_is_passed_in_few_statements():
    record(3)
    tamper(
        "INSERT INTO audit.event OVERRIDING SYSTEM VALUE SELECT %s, recorded_at, action, outcome, actor_type, actor_id,"
        " object_type, object_id, request_id, canonical FROM audit.event ORDER BY id DESC LIMIT 1",
        [10**15],
    )

    with CaptureQueriesContext(connection) as seen:
        (done,) = sealing.seal_all(signer=SIGNER)

    assert done.last_id == 10**15
    assert Leaf.objects.count() == Event.objects.count()
    assert len(seen) < 25


def test_a_late_commit_is_found_behind_the_newest_by_the_quick_pass_and_far_behind_by_the_full_one(monkeypatch):
    first, *_rest, last = record(6)
    seal()
    rows = run("SELECT max(log_index), max(batch_no) FROM audit.leaf")
    # As if these two had been open while the others were sealed.
    tamper("DELETE FROM audit.leaf WHERE event_id IN (%s, %s)", [first, last - 1])
    monkeypatch.setattr(sealing, "LOOK_BACK", 3)

    quick = sealing.seal(signer=SIGNER)
    assert isinstance(quick, Sealed)
    assert quick.count == 1
    assert sealing.seal(signer=SIGNER) is Idle.NOTHING
    assert Leaf.objects.get(event_id=last - 1).log_index == rows[0] + 1

    (full,) = sealing.seal_all(signer=SIGNER)
    assert full.count == 1
    assert Leaf.objects.get(event_id=first).log_index == rows[0] + 2


def test_sealed_at_never_goes_back_though_the_clock_does():
    record()
    seal()
    ahead = now() + timedelta(hours=1)
    tamper("UPDATE audit.batch SET sealed_at = %s WHERE batch_no = (SELECT max(batch_no) FROM audit.batch)", [ahead])
    record()
    seal()

    assert Batch.objects.order_by("-batch_no")[0].sealed_at == ahead


@pytest.mark.django_db(transaction=True)
def test_of_twelve_sealers_at_once_each_event_is_sealed_by_one():
    seal()
    before = Leaf.objects.count()
    record(200)

    def act(_number: int) -> int:
        done = sealing.seal(signer=SIGNER)
        return done.count if isinstance(done, Sealed) else 0

    sealed = together(12, act)

    assert sum(sealed) == 200
    assert Leaf.objects.count() == before + 200
    assert len(set(Batch.objects.values_list("prev_hash", flat=True))) == Batch.objects.count()


@pytest.mark.django_db(transaction=True)
def test_a_sealer_beside_another_stands_by():
    seal()
    record()

    def act(number: int) -> object:
        with transaction.atomic():
            if number == 0:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [sealing._LOCK])
                    cursor.execute("SELECT pg_sleep(0.6)")
                return None
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.2)")
        return sealing.seal(signer=SIGNER)

    assert together(2, act)[1] is Idle.BUSY
    assert isinstance(sealing.seal(signer=SIGNER), Sealed)


def test_a_key_that_nobody_introduced_seals_nothing():
    record()
    seal()

    with pytest.raises(KeyNotIntroduced):
        keys.stand(OTHER)

    keys.introduce(OTHER.public, by=OTHER)  # whoever can append events can say so, and it means nothing
    seal()
    with pytest.raises(KeyNotIntroduced):
        keys.stand(OTHER)


def test_a_key_that_the_old_one_introduces_seals_on_once_that_is_sealed():
    record()
    seal()
    keys.introduce(OTHER.public, by=SIGNER)
    with pytest.raises(KeyNotIntroduced):
        keys.stand(OTHER)
    seal()
    record()

    (done,) = seal(by=OTHER)

    assert done.header.header.decode().splitlines()[-1] == OTHER.key_id
    assert set(keys.introduced_keys()) == {SIGNER.key_id, OTHER.key_id}


def test_a_key_vouched_for_in_another_deployment_is_not_introduced(settings):
    record()
    seal()
    settings.DEPLOYMENT_ID = "elsewhere"
    keys.introduce(OTHER.public, by=SIGNER)
    settings.DEPLOYMENT_ID = "nexus"
    seal()

    assert set(keys.introduced_keys()) == {SIGNER.key_id}


def test_keys_are_kept_in_files_that_only_their_owner_reads(tmp_path):
    made = keys.create(tmp_path / "deep" / "key.pem")

    assert (tmp_path / "deep" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert keys.load(tmp_path / "deep" / "key.pem").key_id == made.key_id
    with pytest.raises(KeyUnusable, match="never overwritten"):
        keys.create(tmp_path / "deep" / "key.pem")
    both = tmp_path / "public.pem"
    both.write_text(keys.as_public_pem(made.public) + keys.as_public_pem(SIGNER.public))
    assert set(keys.load_public(both)) == {made.key_id, SIGNER.key_id}


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_holds_no_key_is_refused_in_words(tmp_path, text):
    path = tmp_path / "key.pem"
    path.write_text(text)

    for read in (keys.load, keys.load_public):
        with pytest.raises(KeyUnusable):
            read(path)
        with pytest.raises(KeyUnusable, match="cannot be read"):
            read(tmp_path / "absent.pem")


def test_the_command_seals_once(settings, tmp_path, capsys):
    keys.create(tmp_path / "key.pem")
    settings.AUDIT_SIGNING_KEY_FILE = str(tmp_path / "key.pem")
    assert not Batch.objects.exists()
    record(2)

    call_command("audit_seal")

    assert "events sealed" in capsys.readouterr().out
    assert Leaf.objects.count() == Event.objects.count()


def test_the_command_needs_its_key(settings):
    settings.AUDIT_SIGNING_KEY_FILE = ""

    with pytest.raises(CommandError, match="AUDIT_SIGNING_KEY_FILE is not set"):
        call_command("audit_seal")


def test_the_heartbeat_is_an_event(new_events):
    heartbeat.beat()

    assert [(event.action, event.actor_id, event.object_id) for event in new_events()] == [
        ("system.heartbeat", "sealer", "nexus")
    ]


def test_the_lag_is_the_age_of_the_oldest_event_that_waits():
    record()
    seal()
    assert selectors.seal_lag(at=now()) == timedelta()

    (waits, _) = record(2)

    at = Event.objects.get(pk=waits).recorded_at + timedelta(seconds=61)
    assert selectors.seal_lag(at=at) == timedelta(seconds=61)


def test_leaves_and_batches_are_kept_too():
    record()
    seal()

    for statement in (
        "UPDATE audit.leaf SET batch_no = batch_no", "DELETE FROM audit.leaf", "TRUNCATE audit.leaf",
        "UPDATE audit.batch SET key_id = ''", "DELETE FROM audit.batch", "TRUNCATE audit.batch CASCADE",
    ):  # fmt: skip
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            run(statement)
