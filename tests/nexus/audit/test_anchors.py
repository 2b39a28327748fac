"""Seals leave the database: every one, in order, also after a place was down; and a witness notices what changes."""

import json
import logging
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

from nexus import watch
from nexus.alerts.models import Alert
from nexus.audit import providers, selectors
from nexus.audit.models import AnchorMark, Batch
from nexus.audit.providers import File, NotKept, Webhook
from nexus.audit.rules import keys as key_rules
from nexus.audit.services import anchoring, keys
from nexus.audit.services.anchoring import Way
from nexus.audit.types import SealedHeader
from tests.nexus.audit.sealed import OTHER, SIGNER, record, seal, tamper

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SEALS = [SealedHeader(number, f"header {number}\n".encode(), bytes([number])) for number in range(3)]


def public(_host: str, _port: int) -> list[str]:
    """Resolve any name to a public address."""
    return ["93.184.215.14"]


def way_to(anchor: providers.Anchor) -> Way:
    AnchorMark.objects.create(name=anchor.name, is_set=True)
    return Way(anchor, kept_to=-1)


def test_a_file_holds_a_line_a_seal_that_verifies(tmp_path):
    record(2)
    seal()
    record()
    seal()
    way = way_to(File("f", tmp_path / "anchor.jsonl"))

    anchoring.carry(way, at=NOON)

    lines = [json.loads(line) for line in (tmp_path / "anchor.jsonl").read_text().splitlines()]
    assert [line["batch_no"] for line in lines] == list(Batch.objects.order_by("batch_no").values_list("pk", flat=True))
    for line, batch in zip(lines, Batch.objects.order_by("batch_no"), strict=True):
        header = line["header"].encode()
        assert sha256(header).digest() == bytes(batch.batch_hash)
        assert key_rules.is_signed(header, signature=bytes.fromhex(line["signature"]), by=SIGNER.public)
    assert AnchorMark.objects.get(pk="f").kept_to == lines[-1]["batch_no"]


def test_what_was_kept_is_not_brought_again_and_what_is_new_is(tmp_path):
    record()
    seal()
    way = way_to(File("f", tmp_path / "anchor.jsonl"))
    anchoring.carry(way, at=NOON)
    before = len((tmp_path / "anchor.jsonl").read_text().splitlines())
    anchoring.carry(way, at=NOON)
    assert len((tmp_path / "anchor.jsonl").read_text().splitlines()) == before
    record()
    seal()

    anchoring.carry(Way(way.anchor, AnchorMark.objects.get(pk="f").kept_to), at=NOON)  # a new process goes on

    assert len((tmp_path / "anchor.jsonl").read_text().splitlines()) == before + 1


def test_many_seals_go_in_portions(tmp_path, monkeypatch):
    monkeypatch.setattr(anchoring, "AT_ONCE", 2)
    for _ in range(3):
        record()
        seal()
    count = Batch.objects.count()
    way = way_to(File("f", tmp_path / "anchor.jsonl"))

    rounds = 1
    while anchoring.carry(way, at=NOON):
        rounds += 1

    assert rounds >= count // 2
    assert len((tmp_path / "anchor.jsonl").read_text().splitlines()) == count


def test_a_torn_line_is_left_and_the_next_begins_its_own(tmp_path):
    path = tmp_path / "anchor.jsonl"
    path.write_bytes(b'{"batch_no": 0}\n{"batch_no": 1, "hea')

    File("f", path).keep("desk", SEALS[:1])

    assert path.read_bytes().split(b"\n")[1] == b'{"batch_no": 1, "hea'
    assert json.loads(path.read_bytes().split(b"\n")[2])["batch_no"] == 0


def test_the_log_line_says_the_whole_seal(caplog):
    record()
    seal()
    (kept,) = anchoring.seals_after(Batch.objects.count() - 2, limit=1)
    with caplog.at_level(logging.INFO):
        providers.named("log:").keep("desk", [kept])
    said = caplog.messages[-1]
    assert "audit.anchor" in said
    assert kept.signature.hex() in said
    assert all(line in said for line in kept.header.decode().splitlines())

    with caplog.at_level(logging.ERROR, providers.LOGGER), pytest.raises(NotKept, match="LOG_LEVEL"):
        providers.named("log:").keep("desk", [kept])


def test_the_webhook_sends_lines_and_follows_nobody():
    asked: list[httpx.Request] = []
    answers = iter([httpx.Response(204), httpx.Response(302, headers={"Location": "https://elsewhere.example/"})])

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return next(answers)

    hook = Webhook("w", "https://witness.example/seals?key=hush", httpx.MockTransport(answer), public)
    hook.keep("desk", SEALS)
    with pytest.raises(NotKept, match="answered 302"):
        hook.keep("desk", SEALS)

    assert len(asked) == 2
    assert [json.loads(line)["batch_no"] for line in asked[0].content.splitlines()] == [0, 1, 2]


def test_a_place_that_is_down_is_tried_again_within_the_minute_and_gets_everything():
    record()
    seal()
    is_down = [True]
    kept: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if is_down[0]:
            raise httpx.ConnectError("https://witness.example/?key=hush is down")
        kept.extend(json.loads(line)["batch_no"] for line in request.content.splitlines())
        return httpx.Response(200)

    way = way_to(Webhook("w", "https://witness.example/", httpx.MockTransport(answer), public))
    at, tries = NOON, []
    while at < NOON + timedelta(minutes=10):
        attempts = way.attempts
        anchoring.carry(way, at=at)
        tries += [at] if way.attempts > attempts else []
        at += timedelta(seconds=2)
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(tries)]
    assert pauses[:4] == [2, 4, 8, 16]
    assert max(pauses) == 30
    mark = AnchorMark.objects.get(pk="w")
    assert (mark.failing_since, mark.fault, mark.kept_to) == (NOON, "ConnectError", -1)

    is_down[0] = False
    anchoring.carry(way, at=at + timedelta(seconds=30))

    mark.refresh_from_db()
    assert kept == list(Batch.objects.order_by("batch_no").values_list("pk", flat=True))
    assert (mark.failing_since, mark.fault) == (None, "")


def test_an_anchor_that_lags_is_told_and_one_that_was_taken_away_is_not(tmp_path):
    record()
    seal()
    (way,) = anchoring.open_ways((f"file:{tmp_path}/a%20b.jsonl",))
    sealed_at = Batch.objects.get(batch_no=0).sealed_at

    watch.watch_seals(at=sealed_at + timedelta(seconds=60))
    assert not Alert.objects.filter(kind="AUDIT_ANCHOR_LATE").exists()
    watch.watch_seals(at=sealed_at + timedelta(seconds=61))
    assert Alert.objects.get(kind="AUDIT_ANCHOR_LATE").closed_at is None
    while anchoring.carry(way, at=now()):
        pass
    watch.watch_seals(at=sealed_at + timedelta(seconds=62))
    assert Alert.objects.get(kind="AUDIT_ANCHOR_LATE").closed_at is not None

    assert (tmp_path / "a b.jsonl").exists()
    anchoring.open_ways(())
    assert selectors.anchor_lags(at=now()) == []


@pytest.mark.parametrize("word", ["file:", "file:relative", "http://plain.example", "https://", "ftp://x", "words"])
def test_unknown_anchors_are_refused(word):
    with pytest.raises(ValueError, match="AUDIT_ANCHORS"):
        providers.named(word)


def test_two_addresses_at_one_host_are_two_anchors_and_neither_name_tells_the_secret():
    names = {providers.named(f"https://h.example/?key={secret}").name for secret in ("aaa", "bbb")}

    assert len(names) == 2
    assert not any("aaa" in name or "bbb" in name for name in names)


def test_in_production_the_sealer_wants_an_anchor(settings, tmp_path):
    keys.create(tmp_path / "key.pem")
    settings.AUDIT_SIGNING_KEY_FILE, settings.AUDIT_ANCHORS = str(tmp_path / "key.pem"), ()
    settings.NEXUS_ENV = "production"

    with pytest.raises(CommandError, match="AUDIT_ANCHORS is not set"):
        call_command("audit_seal")


def test_the_command_brings_what_it_seals_to_the_anchors(settings, tmp_path):
    keys.create(tmp_path / "key.pem")
    settings.AUDIT_SIGNING_KEY_FILE = str(tmp_path / "key.pem")
    settings.AUDIT_ANCHORS = (f"file:{tmp_path}/anchor.jsonl",)
    record()

    call_command("audit_seal")

    lines = (tmp_path / "anchor.jsonl").read_text().splitlines()
    assert len(lines) == Batch.objects.count()


@pytest.fixture
def witness(tmp_path, capsys):
    """Look at the log as a witness; return what it says, or how it complains."""

    def look(*arguments: str) -> str:
        try:
            call_command("audit_witness", "--state", str(tmp_path / "head.json"), *arguments)
        except CommandError as exc:
            return str(exc)
        return str(capsys.readouterr().out)

    return look


def test_the_witness_is_content_while_the_log_grows(witness):
    record()
    seal()
    first = witness()
    record()
    seal()

    assert "continues" in first
    assert "continues" in witness()
    assert "continues" in witness()


def test_the_witness_notices_a_tail_that_was_cut(witness):
    record()
    seal()
    record()
    seal()
    witness()
    last = Batch.objects.order_by("-batch_no")[0].batch_no
    tamper("DELETE FROM audit.leaf WHERE batch_no = %s", [last])
    tamper("DELETE FROM audit.batch WHERE batch_no = %s", [last])

    assert f"moved backwards: batch {last}" in witness()
    assert "moved backwards" in witness(), "it forgot"


def test_the_witness_notices_a_history_that_was_rewritten_with_the_stolen_key(witness):
    record()
    seal()
    witness()
    last = Batch.objects.order_by("-batch_no")[0].batch_no
    tamper("DELETE FROM audit.leaf WHERE batch_no = %s", [last])
    tamper("DELETE FROM audit.batch WHERE batch_no = %s", [last])
    record()
    seal()

    assert f"rewritten: batch {last}" in witness()


def test_the_witness_notices_silence_and_a_strange_key(witness, tmp_path):
    record()
    seal()
    strange = tmp_path / "other.pem"
    strange.write_text(keys.as_public_pem(OTHER.public))

    assert "stands still" in witness("--stale-after", "-1")
    assert "not by a known key" in witness("--public-key", str(strange))
