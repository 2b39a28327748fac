"""A connection is used again only while the server is at its other end, and ends with its thread."""

import gc
import logging
import os
import queue
import threading
import warnings

import psycopg
import pytest
from celery.contrib.testing.worker import start_worker
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, connections

from nexus.celery import app
from nexus.core import statements

pytestmark = pytest.mark.django_db(transaction=True)


def end(pid: int) -> None:
    """End a session of the server, as its restart would."""
    given = connection.get_connection_params()
    words = {name: given[name] for name in ("dbname", "user", "password", "host", "port") if given.get(name)}
    with psycopg.connect(**words, autocommit=True) as another:
        another.execute("SELECT pg_terminate_backend(%s)", [pid])
        while another.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone():
            pass


def test_a_connection_that_lives_is_not_asked(django_assert_num_queries):
    connection.ensure_connection()

    with django_assert_num_queries(0):
        assert connection.is_usable()


def test_a_connection_that_the_server_has_ended_is_opened_anew():
    connection.ensure_connection()
    first = connection.connection.info.backend_pid
    end(first)
    assert not connection.is_usable()

    connection.errors_occurred = True  # as after a statement that failed with it
    connection.close_if_unusable_or_obsolete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone()[0] != first


def test_the_first_statement_after_a_restart_of_the_server_works_whoever_asks_it():
    """Our own statements begin most requests: each thread of the web server answered one with an error (seen)."""
    (first,) = statements.fetch_only("SELECT pg_backend_pid()")
    connection.close_if_unusable_or_obsolete()  # a request ends, and the next begins
    end(first)

    assert statements.fetch_only("SELECT pg_backend_pid()") != (first,)


def test_within_a_request_a_connection_is_looked_at_once(monkeypatch):
    statements.fetch("SELECT 1")
    connection.close_if_unusable_or_obsolete()
    statements.fetch("SELECT 1")
    monkeypatch.setattr(connections["default"], "is_usable", lambda: pytest.fail("looked at twice"))

    statements.fetch("SELECT 1")
    monkeypatch.undo()


def test_a_connection_whose_statement_was_given_up_is_not_usable():
    """As by a job that was too slow: its answer is still to come."""
    connection.ensure_connection()
    connection.connection.pgconn.send_query(b"SELECT pg_sleep(0.5)")

    assert not connection.is_usable()
    connection.close()


BACKENDS: queue.Queue[int] = queue.Queue()


@app.task(name="tests.report_backend")
def report_backend() -> None:
    """Note which of the server's processes a job talks to."""
    BACKENDS.put(statements.fetch_only("SELECT pg_backend_pid()")[0])


def test_a_worker_keeps_its_connection_from_job_to_job_and_opens_another_when_the_server_has_ended_it():
    """Where each job opens one, none is done once the database has no more: no stop is followed, and nobody is told."""
    before = logging.root.level
    with start_worker(app, perform_ping_check=False, pool="solo", shutdown_timeout=10):
        logging.root.setLevel(before)  # it would be quiet for all that comes after

        def backend() -> int:
            app.send_task("tests.report_backend")
            return BACKENDS.get(timeout=20)

        kept = {backend() for _ in range(5)}
        assert len(kept) == 1
        assert are_there([*kept])

        end(*kept)
        after = {backend() for _ in range(5)}
        assert len(after) == 1
        assert after.isdisjoint(kept)


@app.task(name="tests.be_too_slow")
def be_too_slow() -> None:
    """Be interrupted with a lock of the session in hand."""
    statements.fetch("SELECT pg_advisory_lock(4711)")
    report_backend()
    raise SoftTimeLimitExceeded


def test_a_job_that_is_too_slow_leaves_no_lock_of_its_session():
    before = logging.root.level
    with start_worker(app, perform_ping_check=False, pool="solo", shutdown_timeout=10):
        logging.root.setLevel(before)
        app.send_task("tests.be_too_slow")
        given_up = BACKENDS.get(timeout=20)

        assert statements.fetch_only("SELECT pg_advisory_lock(4711)")  # it ends, or times out
        statements.fetch("SELECT pg_advisory_unlock(4711)")
        app.send_task("tests.report_backend")
        assert BACKENDS.get(timeout=20) != given_up


def test_a_closed_connection_is_not_usable():
    connection.ensure_connection()
    connection.connection.close()

    assert not connection.is_usable()
    connection.close()


def pid_of_a_thread_that_ended():
    """Return the server's process that a thread of ours has talked to; nobody closes what the thread has opened."""
    found = []

    def ask():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            found.append(cursor.fetchone()[0])

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


def are_there(pids):
    """Return which of the server's processes still serve somebody."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)", [pids])
        return {pid for (pid,) in cursor.fetchall()}


@pytest.mark.threat(26)
@pytest.mark.threat(27)
def test_a_connection_ends_with_its_thread_though_nobody_looks_for_rubbish():
    gc.disable()
    try:
        pids = [pid_of_a_thread_that_ended() for _ in range(5)]
        for _ in range(200):  # the server takes its time to end
            if not are_there(pids):
                break
    finally:
        gc.enable()

    assert len(set(pids)) == 5
    assert are_there(pids) == set()


def test_a_connection_that_a_fork_inherits_is_its_parents():
    connection.ensure_connection()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that other threads do not go along
        child = os.fork()
    if not child:
        try:
            from nexus.core.database import base  # noqa: PLC0415 - the child's own way to end its thread's

            base._thread.opened = []
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
