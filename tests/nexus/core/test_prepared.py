"""Our statements on the wire: BEGIN and COMMIT in the round trip of a statement, and nothing left by a failure."""

import gc
import select
import socket
import struct
import threading
import time
import weakref
from datetime import UTC
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import DataError, OperationalError, connection, connections, transaction
from psycopg.pq import TransactionStatus

from nexus.core import prepared, statements

INSERT = "INSERT INTO probe (n) VALUES (%s) RETURNING n, pg_current_xact_id()::text"


NOTICE = b"SWARNING\0VWARNING\0C57P02\0Mterminating connection because of crash of another server process\0\0"
CRASHED = b"N" + struct.pack("!i", 4 + len(NOTICE)) + NOTICE


class Relay:
    """A server's socket whose other end can be made to crash: what is said last arrives, and then it is closed."""

    def __init__(self, path: Path, *, server: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.connect(server)
        self.is_crashed = False

    def __enter__(self) -> "Relay":
        self.thread = threading.Thread(target=self._carry, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.crash(b"")
        self.listener.close()

    def crash(self, says: bytes) -> None:
        if self.is_crashed:
            return
        self.is_crashed = True
        self.thread.join()
        self.client.sendall(says)
        self.client.close()
        self.server.close()

    def _carry(self) -> None:
        self.client, _ = self.listener.accept()
        ends = {self.client: self.server, self.server: self.client}
        while not self.is_crashed:
            for end in select.select([*ends], [], [], 0.05)[0]:
                ends[end].sendall(end.recv(65536))


@pytest.fixture
def probe(transactional_db: None) -> Any:
    """A table of numbers."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE probe (n int PRIMARY KEY)")
    yield
    connections.close_all()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE probe")


def status() -> TransactionStatus:
    return TransactionStatus(connection.connection.pgconn.transaction_status)


def seen_by_others() -> list[int]:
    found: list[int] = []

    def look() -> None:
        found.extend(n for (n,) in statements.fetch("SELECT n FROM probe ORDER BY n"))
        connections.close_all()

    other = threading.Thread(target=look)
    other.start()
    other.join()
    return found


def test_the_last_statement_brings_its_commit_and_begins_where_nothing_has_begun(probe):
    with transaction.atomic(durable=True):
        assert statements.fetch(INSERT, [1], is_last=True)[0][0] == 1
        assert (status(), seen_by_others()) == (TransactionStatus.IDLE, [1])

    with transaction.atomic(durable=True):
        first = statements.fetch(INSERT, [2])[0][1]
        assert (status(), seen_by_others()) == (TransactionStatus.INTRANS, [1])
        second = statements.fetch(INSERT, [3], is_last=True)[0][1]
        assert seen_by_others() == [1, 2, 3]

    assert first == second


def test_a_statement_that_fails_is_not_committed_and_neither_is_what_came_before_it(probe):
    @transaction.atomic(durable=True)
    def fail() -> None:
        statements.fetch(INSERT, [1])
        statements.fetch("INSERT INTO probe (n) SELECT 1 / %s RETURNING n", [0], is_last=True)

    with pytest.raises(DataError):
        fail()

    assert seen_by_others() == []
    assert statements.fetch(INSERT, [1])[0][0] == 1


def test_within_another_transaction_nothing_is_committed(probe):
    with transaction.atomic():
        with transaction.atomic():
            statements.fetch(INSERT, [1], is_last=True)
        assert status() == TransactionStatus.INTRANS
        transaction.set_rollback(True)

    assert seen_by_others() == []


@pytest.mark.parametrize("in_a_transaction", [True, False])
def test_whoever_waits_lets_the_others_run(probe, in_a_transaction):
    turns, over = 0, threading.Event()

    def count() -> None:
        nonlocal turns
        while not over.wait(0.001):
            turns += 1

    other = threading.Thread(target=count)
    other.start()
    connection.set_autocommit(not in_a_transaction)
    try:
        statements.fetch("SELECT pg_sleep(0.3)")
    finally:
        connection.rollback() if in_a_transaction else None
        connection.set_autocommit(True)
        over.set()
        other.join()

    assert turns > 5


@pytest.mark.parametrize("is_last", [True, False])
def test_a_lost_connection_is_an_operational_error_and_the_next_one_works(probe, is_last):
    @transaction.atomic(durable=True)
    def lose() -> None:
        (own,) = statements.fetch_only("SELECT pg_backend_pid()")
        _terminate(own)
        statements.fetch(INSERT, [1], is_last=is_last)

    with pytest.raises(OperationalError):
        lose()
    connection.close_if_unusable_or_obsolete()

    assert statements.fetch(INSERT, [2])[0][0] == 2
    assert seen_by_others() == [2]


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("says", [b"", CRASHED], ids=["silent", "with a notice"])
def test_a_server_that_crashed_between_two_statements_is_an_operational_error(
    transactional_db, tmp_path, says, commits
):
    """What was sent just before may be at a broker: whoever settles it catches a lost database, and nothing else."""
    params = connection.get_connection_params()
    with Relay(tmp_path / ".s.PGSQL.5432", server=f"{params['host']}/.s.PGSQL.{params['port']}") as relay:
        known = {name: params[name] for name in ("dbname", "user", "password")}
        with psycopg.connect(**known, host=str(tmp_path), port=5432, autocommit=True) as lost:
            assert prepared.run(lost, "SELECT $1::int", [1]) == [(1,)]
            relay.crash(says)
            with pytest.raises(psycopg.OperationalError, match="closed the connection"):
                prepared.run(lost, "SELECT $1::int", [1], commits=commits)


def test_an_interruption_leaves_no_half_read_connection(probe, monkeypatch):
    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared, "_until_sync", interrupted)
    with pytest.raises(KeyboardInterrupt), transaction.atomic(durable=True):
        statements.fetch(INSERT, [1])
    monkeypatch.undo()
    connection.close_if_unusable_or_obsolete()

    assert seen_by_others() == []
    assert statements.fetch(INSERT, [2])[0][0] == 2


def _terminate(process: int) -> None:
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [process])
    time.sleep(0.1)


def test_times_are_read_as_django_reads_them(transactional_db):
    query = "SELECT timestamptz '2026-07-01 23:59:59.123456+05:30', timestamptz '1999-12-31 00:00Z', NULL::timestamptz"
    with connection.cursor() as cursor:
        cursor.execute(query)
        theirs = cursor.fetchone()

    (ours,) = statements.fetch(query)

    assert ours == theirs
    assert [each and each.tzinfo for each in ours] == [each and each.tzinfo for each in theirs] == [UTC, UTC, None]


def test_what_is_known_of_a_connection_ends_with_it(transactional_db):
    statements.fetch("SELECT 1")
    known = weakref.ref(connection.connection)
    connection.close()
    gc.collect()
    assert known() is None


def test_an_interruption_behind_a_preparation_leaves_no_name_that_is_taken(transactional_db, monkeypatch):
    """A soft time limit may hit a worker just there: its connection lives on, and goes on preparing."""
    real, calls = prepared._checked, []

    def interrupt(wire: Any, result: Any) -> Any:
        calls.append(result)
        if len(calls) == 1:
            raise TimeoutError("the job has had its time")
        return real(wire, result)

    statements.fetch("SELECT 1")
    monkeypatch.setattr(prepared, "_checked", interrupt)
    with pytest.raises(TimeoutError):
        statements.fetch("SELECT 2 + 0")

    assert statements.fetch("SELECT 3 + 0") == [(3,)]
    assert statements.fetch("SELECT 2 + 0") == [(2,)]
