"""The anchors: what nothing inside the database can tell."""

import pytest
from django.core.management import CommandError, call_command

from nexus.audit.models import Batch
from nexus.audit.providers import File
from nexus.audit.rules.findings import Finding, Verdict
from nexus.audit.services import anchored
from nexus.audit.services.anchoring import seals_after
from nexus.audit.types import SealedHeader
from tests.nexus.audit.sealed import KNOWN, SIGNER, cut, places, record, seal, tamper, verify

pytestmark = pytest.mark.django_db


def test_a_rewrite_with_the_stolen_key_is_caught_by_the_anchor_alone(log, tmp_path):
    path = tmp_path / "anchor.jsonl"
    File("f", path).keep("nexus", seals_after(-1, limit=1000))
    cut(log["batch"])
    tamper("UPDATE audit.event SET canonical = replace(canonical, '\"number\": 1', '\"number\": 7') WHERE id = %s",
           [log["ids"][1]])  # fmt: skip
    while seal():
        pass
    while Batch.objects.count() <= log["last"]:
        record()
        seal()

    report = verify()
    assert report.verdict is Verdict.CLEAN, "nothing inside the database can tell"
    anchored.compare(report, path)

    assert {(kind, number) for kind, number, _, _ in places(report)} == {
        ("history_rewritten", log["batch"]), ("history_rewritten", log["last"]),
    }  # fmt: skip


def test_a_tail_that_was_cut_is_caught_by_the_anchor_alone(log, tmp_path):
    path = tmp_path / "anchor.jsonl"
    File("f", path).keep("nexus", seals_after(-1, limit=1000))
    with path.open("ab") as file:
        file.write(b'{"batch_no": 9')
    cut(log["last"])
    tamper("DELETE FROM audit.event WHERE id = ANY(%s)", [log["last_ids"]])

    report = verify()
    assert report.verdict is Verdict.CLEAN, "nothing inside the database can tell"
    anchored.compare(report, path)

    assert places(report) == {("tail_truncated", log["last"], None, None)}
    assert any("1 lines that are torn" in note for note in report.notes)
    part = verify(to_batch=log["batch"] - 1)
    anchored.compare(part, path)
    assert part.counts == {}, "what is outside the range is not judged"


def test_seals_that_were_taken_out_of_the_anchor_are_named(log, tmp_path):
    path = tmp_path / "anchor.jsonl"
    File("f", path).keep("nexus", seals_after(-1, limit=1000))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for number, line in enumerate(lines) if number != log["batch"]))
    report = verify()
    anchored.compare(report, path)
    assert places(report) == {("anchor_missing", log["batch"], None, None)}

    path.write_bytes(b"".join(lines[:-1]))
    lagging, cut_off = verify(), verify()
    anchored.compare(lagging, path)
    anchored.compare(cut_off, path, kept_to=log["last"])
    assert lagging.counts == {}, "it may still be on its way"
    assert places(cut_off) == {("anchor_missing", log["last"], None, None)}

    path.write_bytes(b"")
    emptied = verify()
    anchored.compare(emptied, path)
    assert places(emptied) == {("anchor_missing", 0, None, None)}


def test_a_log_that_grows_while_it_is_compared_is_not_called_cut(log, tmp_path):
    path = tmp_path / "anchor.jsonl"
    report = verify()
    record()
    seal()
    File("f", path).keep("nexus", seals_after(-1, limit=1000))

    anchored.compare(report, path)

    assert report.counts == {}


def test_a_line_that_somebody_else_wrote_into_the_anchor_says_whose_it_is_not(log, tmp_path):
    path = tmp_path / "anchor.jsonl"
    seals = seals_after(-1, limit=1000)
    File("f", path).keep("nexus", seals)
    last = seals[-1]
    File("f", path).keep("nexus", [SealedHeader(last.batch_no, last.header.replace(b"Z", b"1Z"), last.signature)])
    report = verify()

    anchored.compare(report, path)

    (found,) = report.findings
    assert (found.kind, found.batch_no) == (Finding.HISTORY_REWRITTEN, log["last"])
    assert "not signed by a known key" in found.detail


def test_a_recovery_that_the_log_tells_of_explains_what_the_anchor_has_more(log, tmp_path, settings):
    path, key = tmp_path / "anchor.jsonl", tmp_path / "key.pem"
    File("f", path).keep("nexus", seals_after(-1, limit=1000))
    cut(log["last"])
    tamper("DELETE FROM audit.event WHERE id = ANY(%s)", [log["last_ids"]])
    key.write_bytes(_pem())
    settings.AUDIT_SIGNING_KEY_FILE = str(key)

    call_command("audit_recovered", "--anchor", str(path), "--reason", "disk failed, restored to 11:58")
    seal()
    record()
    seal()

    report = verify()
    anchored.compare(report, path, trusted=KNOWN)
    assert report.counts == {}
    assert any("disk failed" in note for note in report.notes)
    with pytest.raises(CommandError, match="nothing was lost"):
        call_command("audit_recovered", "--anchor", str(path), "--reason", "again")


def test_a_recovery_that_anybody_could_have_written_explains_nothing(log, tmp_path):
    path = tmp_path / "anchor.jsonl"
    File("f", path).keep("nexus", seals_after(-1, limit=1000))
    cut(log["last"])
    tamper("DELETE FROM audit.event WHERE id = ANY(%s)", [log["last_ids"]])
    detail = {"first_lost": 0, "last_lost": 99, "lost_head_hash": "00", "reason": "x", "signed_by": SIGNER.key_id,
              "authorization": "00" * 64}  # fmt: skip
    record(action="audit.recovery", detail=detail)
    record(action="audit.recovery", detail={})
    seal()

    report = verify()
    anchored.compare(report, path)

    assert report.counts == {Finding.HISTORY_REWRITTEN: 1}


def _pem() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    return SIGNER.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
