"""A disk that takes no more: orders are not sent, and what is read, and the gateway itself, go on."""

import errno
import http.client
import json
import sqlite3
import sys
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from tests.trading.brokers.mt5.gateway_in_thread import TOKEN
from trading.brokers.base import VenueState
from trading.brokers.mt5.gateway import desk, program
from trading.brokers.mt5.gateway.calls import Answer
from trading.brokers.mt5.gateway.logs import write


def fill(running, *, is_full=True):
    """Let the journal's disk take no more, or take everything again."""
    running.journal._database.execute(f"PRAGMA query_only = {'ON' if is_full else 'OFF'}")
    with program._lasting("beat"):
        running.journal.beat()


def page(running, path):
    address = urlsplit(running.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_the_account_is_read_while_the_disk_is_full(broker, running, monkeypatch):
    monkeypatch.setattr(desk, "CLOCK_NOTE_S", 0)  # each reading wants to note the server's clock
    broker.snapshot(symbols=["EURUSD"])
    fill(running)

    assert broker.snapshot(symbols=["EURUSD"]).quotes.keys() == {"EURUSD"}
    assert running.desk.clock.offset_s is not None


def test_an_order_is_not_sent_while_the_disk_is_full_and_was_never_sent_once_it_is_not(
    broker, running, terminal, order, sent_at
):
    fill(running)
    request, sent_at = order(), sent_at + timedelta(seconds=10)  # long after the journal was begun

    with pytest.raises(OutcomeUnknown, match="the journal cannot be used: attempt to write a readonly database"):
        broker.submit(request)
    with pytest.raises(Unreachable, match="the journal cannot be used"):
        broker.order_report(client_order_id=request.client_order_id, symbol="EURUSD", sent_at=sent_at)

    fill(running, is_full=False)
    report = broker.order_report(client_order_id=request.client_order_id, symbol="EURUSD", sent_at=sent_at)
    assert (report.state, terminal.sent) == (VenueState.NEVER_SENT, [])
    with pytest.raises(Refused, match="never sent"):
        broker.submit(request)
    assert broker.submit(order()).state is VenueState.FILLED


def test_a_full_disk_shows_in_the_gateway_s_health_until_it_takes_a_beat_again(broker, running):
    broker.snapshot(symbols=["EURUSD"])
    fill(running)
    health = json.loads(page(running, "/v1/health"))
    assert (health["status"], health["journal"]) == ("degraded", "attempt to write a readonly database")
    assert "nexus_gateway_journal_writable 0\n" in page(running, "/metrics")

    fill(running, is_full=False)

    health = json.loads(page(running, "/v1/health"))
    assert (health["status"], health["journal"]) == ("ok", "ok")
    assert "nexus_gateway_journal_writable 1\n" in page(running, "/metrics")


def test_the_answer_to_what_was_sent_is_noted_before_a_pause_that_cannot_be(
    broker, running, terminal, order, monkeypatch
):
    def refuse(*_args, **_named):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(running.journal, "note_pause", refuse)
    call = running.desk.call
    too_many = {"retcode": 10024, "order": 0, "deal": 0, "comment": "Too many requests", "request": {}}
    monkeypatch.setattr(
        running.desk, "call",
        lambda function, *args, **named: Answer(too_many, 1, "Success") if function == "order_send"
        else call(function, *args, **named),
    )  # fmt: skip

    request = order()
    with pytest.raises(Refused):
        broker.submit(request)
    record = running.journal.find(request.client_order_id)
    assert record.state == "RESULT"


def test_a_window_that_takes_no_line_ends_nothing(monkeypatch):
    def full(_text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=full, flush=lambda: None))

    write("gateway.started")
