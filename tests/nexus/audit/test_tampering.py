"""Whatever a superuser does to the log, triggers off, is found and named."""

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from nexus.audit.models import Batch, Event
from nexus.audit.rules import header, merkle
from nexus.audit.rules.findings import Finding, Verdict
from nexus.audit.services.anchoring import header_of
from tests.nexus.audit.sealed import OTHER, SIGNER, cut, places, run, seal, tamper, verify

pytestmark = pytest.mark.django_db


# --- What a superuser can do to it ------------------------------------------------------------------------------------
Tampering = tuple[str, str, Callable[[dict[str, Any]], set[tuple[Any, ...]]]]
TAMPERINGS: list[Tampering] = [
    (
        "a word of an event",
        "UPDATE audit.event SET canonical = replace(canonical, '\"number\": 1', '\"number\": 7') WHERE id = {ids[1]}",
        lambda log: {("event_modified", log["batch"], log["index"] + 1, log["ids"][1])},
    ),
    (
        "a typed column",
        "UPDATE audit.event SET outcome = 'denied' WHERE id = {ids[1]}",
        lambda log: {("column_mismatch", log["batch"], log["index"] + 1, log["ids"][1])},
    ),
    (
        "the time of a column",
        "UPDATE audit.event SET recorded_at = recorded_at - interval '1 microsecond' WHERE id = {ids[1]}",
        lambda log: {("column_mismatch", log["batch"], log["index"] + 1, log["ids"][1])},
    ),
    (
        "an event removed",
        "DELETE FROM audit.event WHERE id = {ids[3]}",
        lambda log: {("event_missing", log["batch"], log["index"] + 3, log["ids"][3])},
    ),
    (
        "a leaf's hash",
        "UPDATE audit.leaf SET leaf_hash = sha256('x') WHERE log_index = {index}",
        lambda log: {("merkle_root", log["batch"], log["index"], log["ids"][0])},
    ),
    (
        "a leaf that points at another event",
        (
            "WITH x AS (INSERT INTO audit.event OVERRIDING SYSTEM VALUE SELECT 900000000000 + id, recorded_at, action,"
            " outcome, actor_type, actor_id, object_type, object_id, request_id, canonical FROM audit.event"
            " WHERE id = {ids[0]}) UPDATE audit.leaf SET event_id = 900000000000 + {ids[0]} WHERE log_index = {index}"
        ),
        lambda log: {
            ("column_mismatch", log["batch"], log["index"], 900000000000 + log["ids"][0]),
            ("pii_missing", log["batch"], log["index"], 900000000000 + log["ids"][0]),
        },
    ),
    (
        "a root",
        "UPDATE audit.batch SET merkle_root = sha256('x') WHERE batch_no = {batch}",
        lambda log: {
            ("merkle_root", log["batch"], log["index"], None),
            ("header_hash", log["batch"], log["index"], None),
            ("bad_signature", log["batch"], log["index"], None),
            ("chain_break", log["batch"] + 1, log["index"] + 4, None),
        },
    ),
    (
        "a header's hash",
        "UPDATE audit.batch SET batch_hash = sha256('x') WHERE batch_no = {batch}",
        lambda log: {("header_hash", log["batch"], log["index"], None)},
    ),
    (
        "a signature",
        (
            "UPDATE audit.batch SET signature = set_byte(signature, 7, 255 - get_byte(signature, 7))"
            " WHERE batch_no = {batch}"
        ),
        lambda log: {("bad_signature", log["batch"], log["index"], None)},
    ),
    (
        "the name of a key",
        "UPDATE audit.batch SET key_id = 'strange' WHERE batch_no = {last}",
        lambda log: {
            ("header_hash", log["last"], log["index"] + 4, None),
            ("bad_signature", log["last"], log["index"] + 4, None),
        },
    ),
    (
        "a line feed in the name of a key",
        "UPDATE audit.batch SET key_id = key_id || chr(10) WHERE batch_no = {last}",
        lambda log: {
            ("header_hash", log["last"], log["index"] + 4, None),
            ("bad_signature", log["last"], log["index"] + 4, None),
        },
    ),
    (
        "a link of the chain",
        "UPDATE audit.batch SET prev_hash = sha256('x') WHERE batch_no = {last}",
        lambda log: {
            ("chain_break", log["last"], log["index"] + 4, None),
            ("header_hash", log["last"], log["index"] + 4, None),
            ("bad_signature", log["last"], log["index"] + 4, None),
        },
    ),
    (
        "a batch removed",
        "DELETE FROM audit.batch WHERE batch_no = {batch}",
        lambda log: {("chain_break", log["batch"], log["index"], None)},
    ),
    (
        "a leaf removed",
        "DELETE FROM audit.leaf WHERE log_index = {index} + 1",
        lambda log: {
            ("leaf_index", log["batch"], log["index"] + 1, None),
            ("leaf_count", log["batch"], log["index"], None),
            ("merkle_root", log["batch"], log["index"], None),
        },
    ),
    (
        "a leaf said to be of another batch",
        "UPDATE audit.leaf SET batch_no = {last} WHERE log_index = {index}",
        lambda log: {("leaf_index", log["batch"], log["index"], log["ids"][0])},
    ),
    (
        "a leaf beyond the end",
        (
            "INSERT INTO audit.leaf SELECT log_index + 900, event_id + 900000, batch_no, leaf_hash FROM audit.leaf"
            " WHERE log_index = {index}"
        ),
        lambda log: {("leaf_index", None, log["index"] + 900, log["ids"][0] + 900000)},
    ),
    (
        "a count of leaves",
        "UPDATE audit.batch SET leaf_count = leaf_count - 1 WHERE batch_no = {batch}",
        lambda log: {
            ("leaf_count", log["batch"], log["index"], None),
            ("header_hash", log["batch"], log["index"], None),
            ("bad_signature", log["batch"], log["index"], None),
            ("chain_break", log["batch"] + 1, log["index"] + 4, None),
        },
    ),
    (
        "the time of a seal",
        "UPDATE audit.batch SET sealed_at = sealed_at - interval '1 hour' WHERE batch_no = {last}",
        lambda log: (
            {
                ("clock_backwards", log["last"], log["index"] + 4, None),
                ("header_hash", log["last"], log["index"] + 4, None),
                ("bad_signature", log["last"], log["index"] + 4, None),
            }
            | {("clock_backwards", log["last"], log["index"] + 4 + n, log["last_ids"][n]) for n in range(4)}
        ),
    ),
    (
        "personal data",
        "UPDATE audit.pii SET data = replace(data, '203', '198') WHERE event_id = {ids[2]}",
        lambda log: {("pii_modified", log["batch"], log["index"] + 2, log["ids"][2])},
    ),
    (
        "the salt",
        "UPDATE audit.pii SET salt = sha256(salt) WHERE event_id = {ids[2]}",
        lambda log: {("pii_modified", log["batch"], log["index"] + 2, log["ids"][2])},
    ),
    (
        "personal data removed without a word",
        "DELETE FROM audit.pii WHERE event_id = {ids[2]}",
        lambda log: {("pii_missing", log["batch"], log["index"] + 2, log["ids"][2])},
    ),
    (
        "personal data put where there was none",
        "INSERT INTO audit.pii VALUES ({last_ids[0]}, 'salt', '{{}}')",
        lambda log: {("pii_modified", log["last"], log["index"] + 4, log["last_ids"][0])},
    ),
    (
        "two events exchanged",
        (
            "UPDATE audit.event e SET canonical = o.canonical, object_id = o.object_id FROM audit.event o"
            " WHERE (e.id, o.id) IN (({ids[1]}, {ids[2]}), ({ids[2]}, {ids[1]}))"
        ),
        lambda log: {
            (kind, log["batch"], log["index"] + n, log["ids"][n])
            for n in (1, 2)
            for kind in ("event_modified", "column_mismatch", "pii_modified")
        },
    ),
    (
        "two leaves exchanged",
        (
            "UPDATE audit.leaf SET log_index = 7000000 WHERE log_index = {index} + 1;"
            "UPDATE audit.leaf SET log_index = {index} + 1 WHERE log_index = {index} + 2;"
            "UPDATE audit.leaf SET log_index = {index} + 2 WHERE log_index = 7000000"
        ),
        lambda log: {("merkle_root", log["batch"], log["index"], None)},
    ),
    (
        "a log index",
        "UPDATE audit.leaf SET log_index = 5000000 WHERE log_index = {index} + 3",
        lambda log: {
            ("leaf_index", log["batch"], log["index"] + 3, None),
            ("leaf_index", None, 5000000, log["ids"][3]),
            ("leaf_count", log["batch"], log["index"], None),
            ("merkle_root", log["batch"], log["index"], None),
        },
    ),
]


@pytest.mark.threat(23)
@pytest.mark.parametrize(("what", "statement", "expected"), TAMPERINGS, ids=[each[0] for each in TAMPERINGS])
def test_what_a_superuser_changes_is_found_with_its_exact_place(log, what, statement, expected):
    tamper(statement.format(**log))

    report = verify()

    assert places(report) == expected(log), what
    assert report.verdict is Verdict.TAMPERED


def test_an_event_and_its_leaf_changed_together_break_the_root(log):
    changed = run("SELECT replace(canonical, 'done', 'gone') FROM audit.event WHERE id = %s", [log["ids"][1]])[0]
    tamper("UPDATE audit.event SET canonical = %s, action = 'tests.thing.gone' WHERE id = %s", [changed, log["ids"][1]])
    tamper("UPDATE audit.leaf SET leaf_hash = %s WHERE event_id = %s",
           [merkle.leaf_hash(changed.encode()), log["ids"][1]])  # fmt: skip

    assert places(verify()) == {("merkle_root", log["batch"], log["index"], None)}


def test_a_seal_rewritten_with_the_stolen_key_breaks_the_chain_behind_it(log):
    batch = Batch.objects.get(batch_no=log["batch"])
    batch.sealed_at += timedelta(milliseconds=1)
    text = header.to_bytes(header_of(batch))
    tamper("UPDATE audit.batch SET sealed_at = %s, batch_hash = %s, signature = %s WHERE batch_no = %s",
           [batch.sealed_at, sha256(text).digest(), SIGNER.sign(text), batch.batch_no])  # fmt: skip

    assert places(verify()) == {("chain_break", log["batch"] + 1, log["index"] + 4, None)}


def test_a_log_that_was_sealed_anew_with_another_key_is_signed_by_nobody(log):
    cut(0)
    while seal(by=OTHER):
        pass

    report = verify()

    assert {(found.kind, found.detail) for found in report.findings} == {
        ("bad_signature", f"nobody vouches for the key {OTHER.key_id}")
    }
    assert len(report.findings) == Batch.objects.count()
    believed = verify(trusted=None)
    assert believed.counts == {}, "nothing inside the log can tell: hence the public key from outside"
    assert "believed" in believed.notes[0]


def test_the_first_keys_introduction_made_unreadable_is_an_event_that_was_modified(log):
    (key,) = Event.objects.filter(action="audit.key_introduced")
    tamper("UPDATE audit.event SET canonical = 'x' WHERE id = %s", [key.pk])

    assert {place[0] for place in places(verify())} == {"event_modified", "column_mismatch"}
    assert Finding.BAD_SIGNATURE in verify(trusted=None).counts, "the log itself cannot name its key any more"
