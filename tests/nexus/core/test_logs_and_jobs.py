"""One id from the door to the last job, no secret on the way, and no transport that can break a request."""

import io
import json
import logging
import threading
import uuid

import pytest
import structlog
from celery import current_app
from celery.contrib.testing.worker import start_worker
from django.db import transaction

from nexus.celery import app
from nexus.core import jobs, logs

SEEN: list[dict[str, object]] = []
ARRIVED = threading.Event()


@app.task(name="tests.report_correlation")
def report_correlation(**kwargs: object) -> None:
    """Note which id the job runs under."""
    SEEN.append({"id": logs.correlation_id(), **kwargs})
    ARRIVED.set()


@pytest.fixture
def lines():
    """Return what was logged, as it is written."""
    ours = next(h for h in logging.root.handlers if isinstance(h.formatter, structlog.stdlib.ProcessorFormatter))
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ours.formatter)
    logging.root.addHandler(handler)
    before = logging.root.level
    logging.root.setLevel(logging.INFO)  # a worker that ran here before has made it quiet
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.root.setLevel(before)
    logging.root.removeHandler(handler)


@pytest.mark.django_db
def test_the_request_id_is_ours_and_the_clients_is_a_hint(anonymous, lines):
    response = anonymous.http.get("/health?token=abc", headers={"x-request-id": "theirs\x7f" + "x" * 500})

    ours = response["X-Request-ID"]
    assert uuid.UUID(ours)
    finished = next(line for line in lines() if line["event"] == "request_finished")
    assert finished["request_id"] == ours
    assert finished["client_request_id"].startswith("theirs")
    assert len(finished["client_request_id"]) == 128
    assert finished["request"] == "GET /health"
    assert logs.correlation_id() == ""


@pytest.mark.threat(25)
@pytest.mark.django_db
def test_no_secret_of_a_login_is_logged(user, api, lines):
    api.get("/auth/profile")
    api.post("/auth/refresh", {"refresh_token": api.tokens["refresh_token"]})

    text = json.dumps(lines())
    assert "request_finished" in text
    assert "eyJ" not in text
    assert user.email not in text


@pytest.mark.threat(25)
@pytest.mark.parametrize(
    "name", ["Authorization", "X-Nexus-OTP", "password", "secret", "token", "key", "refresh", "access", "access_token",
             "signingKey", "HTTP_AUTHORIZATION", "JWT_SIGNING_KEYS"],
)  # fmt: skip
def test_a_telling_name_hides_its_value(name):
    event = logs.redact(None, "info", {"event": "x", name: "hush", "deep": [{name: {"a": 1}}]})

    assert event[name] == logs.REDACTED
    assert event["deep"] == [{name: logs.REDACTED}]


@pytest.mark.parametrize("name", ["monkey", "accessible", "tokenizer", "order_id"])
def test_an_innocent_name_shows_its_value(name):
    assert logs.redact(None, "info", {name: "seen"})[name] == "seen"


@pytest.mark.threat(25)
@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefgh12345678",
        "bearer abcdefgh12345678",
        "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh12345678 here",
        "password=abcdefgh12345678&x=1",
        "{'password': 'abcdefgh12345678'}",
        '{"token": "abcdefgh12345678"}',
        "key nxk_live_abcdefgh12345678",
        "postgresql://nexus:abcdefgh12345678@db/nexus",
    ],
)
def test_a_secret_inside_a_text_is_struck_out(text):
    assert "abcdefgh12345678" not in json.dumps(logs.redact(None, "info", {"event": text}))


def test_every_logger_writes_one_escaped_json_line(lines):
    logging.getLogger("some.library").warning(
        "line one\nline two \x1b[31m\x85\u2028 %s", "done", extra={"token": "abc"}
    )
    structlog.get_logger("ours").info("ours.thing.done", order_id=7, note="a\x00b")

    theirs, ours = lines()
    assert (theirs["event"], theirs["level"], theirs["token"]) == (
        "line one\nline two \x1b[31m\x85\u2028 done", "warning", logs.REDACTED,
    )  # fmt: skip
    assert (ours["event"], ours["order_id"], ours["note"]) == ("ours.thing.done", 7, "a\x00b")


def test_a_command_binds_an_id_of_its_own():
    assert logs.correlation_id() == ""
    with logs.correlated() as chosen:
        assert logs.correlation_id() == chosen
        assert uuid.UUID(chosen)
    assert logs.correlation_id() == ""


@pytest.mark.django_db(transaction=True)
def test_the_id_arrives_in_the_job_of_a_real_worker():
    SEEN.clear()
    ARRIVED.clear()
    with start_worker(app, perform_ping_check=False, pool="solo", shutdown_timeout=10):
        with logs.correlated(request_id="5b2f8f0e-1111-4222-8333-444455556666"), transaction.atomic():
            jobs.enqueue("tests.report_correlation", order_id=7)
            assert not SEEN
        assert ARRIVED.wait(10)

    assert SEEN == [{"id": "5b2f8f0e-1111-4222-8333-444455556666", "order_id": 7}]


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_request_sends_nothing(monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **_: sent.append(name))

    with transaction.atomic():
        jobs.enqueue("tests.never", order_id=7)
        transaction.set_rollback(True)
    with transaction.atomic():
        jobs.enqueue("tests.once", order_id=7)

    assert sent == ["tests.once"]


@pytest.mark.django_db(transaction=True)
def test_a_transport_that_is_down_is_an_error_in_the_log_and_nothing_more(monkeypatch, lines):
    def down(*_args, **_kwargs):
        raise ConnectionError("redis://:hush-hush@cache refused")

    monkeypatch.setattr(current_app, "send_task", down)

    with transaction.atomic():
        jobs.enqueue("tests.lost", order_id=7)

    (line,) = lines()
    assert (line["event"], line["level"], line["job"]) == ("jobs.publish.failed", "error", "tests.lost")
    assert "hush-hush" not in json.dumps(line)
