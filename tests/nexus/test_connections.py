"""People are told while the database still has a connection for them, and by figures that are the server's own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection
from django.test import Client
from psycopg import OperationalError, sql

from nexus import watch
from nexus.alerts.models import Alert
from nexus.local import binaries
from nexus.local.binaries import PostgresUnusable
from nexus.local.folder import ROOT
from nexus.tasks import watch_audit

SERVER = """
import sys
from nexus.local import postgres
postgres.TEMPORARY_SETTINGS["max_connections"] = "15"
with postgres.temporary() as url:
    print(url, flush=True)
    sys.stdin.read()
"""
LIMITS = ("", "ALTER ROLE nexus CONNECTION LIMIT 5", "ALTER DATABASE nexus CONNECTION LIMIT 6")


@pytest.fixture
def server() -> Iterator[str]:
    """Yield the address of a small PostgreSQL of our own, as its ordinary role."""
    try:
        binaries.find()
    except PostgresUnusable as exc:
        pytest.skip(f"no PostgreSQL to start: {exc}")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as held:
        assert held.stdout is not None
        yield held.stdout.readline().strip()
        held.communicate(timeout=120)


def counted(asking: psycopg.Connection[Any]) -> watch.Connections:
    """Ask what the watch asks."""
    row = asking.execute(watch.CONNECTIONS).fetchone()
    assert row is not None
    return watch.Connections(*row)


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until a session that has ended is counted no more."""
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def fill(address: str, others: ExitStack) -> int:
    """Open connections until the server refuses one, and return how many it gave."""
    for number in range(100):
        try:
            others.enter_context(psycopg.connect(address))
        except OperationalError:
            return number
    raise AssertionError("The server refuses nobody.")


def test_what_is_left_is_what_the_server_then_gives(server):
    """By its own limit, a role's and a database's. A standby's connection is none of these, and a stranger's is one."""
    standby = server.replace("//nexus:", "//stranger:").replace(f":{urlsplit(server).password}@", ":word@")
    with psycopg.connect(server, autocommit=True) as asking:
        asking.execute("SET ROLE postgres")
        asking.execute("CREATE ROLE stranger LOGIN REPLICATION PASSWORD 'word'")
        for limit in LIMITS:
            with ExitStack() as others:
                asking.execute(f"SET ROLE postgres; {limit}; RESET ROLE")
                others.enter_context(psycopg.connect(standby, replication="database"))
                for address in (server, server, standby):
                    others.enter_context(psycopg.connect(address, application_name="somebody"))

                found = counted(asking)
                gave = fill(server, others)

                assert (found.left, gave) == (gave, found.left)
                assert 0 < gave < 12, limit
                assert found.held_by == "somebody: 3, nexus: 1"
                assert counted(asking).left == 0
            wait_until(lambda: counted(asking).held_by == "nexus: 1")


@pytest.mark.django_db(transaction=True)
def test_people_are_told_while_there_is_one_for_them_and_its_end_lets_them_sleep():
    given = connection.get_connection_params()
    words = {name: given[name] for name in ("dbname", "user", "password", "host", "port") if given.get(name)}
    mine = sql.Identifier(given["dbname"])
    with ExitStack() as ours, ExitStack() as others:
        first = ours.enter_context(psycopg.connect(**words, autocommit=True))
        first.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(mine, used_here() + 10))
        ours.callback(first.execute, sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(mine))
        told = []
        while True:
            watch_audit()
            told.append(Alert.objects.filter(kind=watch.CONNECTIONS_LOW).count())
            try:
                others.enter_context(psycopg.connect(**words, application_name="nexus 4711@web1"))
            except OperationalError:
                break

        assert len(told) == 11
        assert told[0] == 0
        assert sum(told[:-1]) > 0, "told when it was too late"
        alert = Alert.objects.get(kind=watch.CONNECTIONS_LOW)
        assert (alert.severity, alert.closed_at, alert.seen_count) == ("CRITICAL", None, sum(told))
        assert alert.text.startswith("0 of ")
        assert "nexus 4711@web1: 10, " in alert.text
        assert len(alert.text) < 500

        others.close()
        wait_until(lambda: watch.connections().left > 9)
        watch_audit()

    alert.refresh_from_db()
    assert alert.closed_at is not None


def used_here() -> int:
    """Return how many connections this database has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        number: int = cursor.fetchone()[0]
    return number


@pytest.mark.django_db
def test_each_connection_bears_the_name_of_its_process_and_what_is_left_is_scraped():
    with connection.cursor() as cursor:
        cursor.execute("SHOW application_name")
        assert cursor.fetchone()[0] == f"nexus {os.getpid()}@{socket.gethostname()}"[:63]

    lines = dict(line.rsplit(" ", 1) for line in Client().get("/metrics").content.decode().splitlines())
    found = watch.connections()
    assert float(lines["nexus_database_connections_max"]) == found.room
    assert 0 < float(lines["nexus_database_connections_left"]) < found.room
