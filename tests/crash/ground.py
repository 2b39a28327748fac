"""The ground that a proof stands on: a database of its own on a real PostgreSQL, and processes that may be killed."""

import contextlib
import multiprocessing
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from nexus.local import postgres, servers
from nexus.local.folder import ROOT, SECRET_BYTES

NOWHERE = "http://127.0.0.1:1"
# Room for thousands of orders: limits would end early what is proven here.
ROOMY = {
    "MAX_POSITION_SIZE": "1000000000",
    "DAILY_LOSS_LIMIT": "1000000000",
    "DAILY_VALUE_MAX": "1000000000000",
    "DAILY_QUANTITY_MAX": "1000000",
    "ORDERS_PER_DAY": "1000000",
    "ORDERS_PER_HOUR": "1000000",
    "ORDERS_PER_SECOND": "1000000",
    "MAX_OPEN_POSITIONS": "1000000",
    "COOLDOWN_FAILURES": "1000000",
    "BURST_ORDERS": "1000000",
    "UNKNOWN_ORDERS_MAX": "1000000",
    "REFUSALS_MAX": "1000000",
}
HERE = {
    "UNSTOPPED_MOVE": "0.05",
    "PRICE_DEVIATION": "0.02",
    "MT5_GATEWAY_URL": NOWHERE,
    "LOG_LEVEL": "ERROR",
    "NEXUS_ENV": "test",
}


@contextlib.contextmanager
def prepared(**settings: str) -> Iterator[Path]:
    """Migrate a new database and put its settings into the environment; yields a folder that goes with it."""
    known = {name: secrets.token_hex(size) for name, size in SECRET_BYTES.items()}
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - mkdtemp makes it private
    with (
        tempfile.TemporaryDirectory(prefix="nexus-proof-", dir=memory) as name,
        _server() as server,
        _database(server) as url,
    ):
        env = servers.django_environment({}, folder=Path(name), known=known, database=url, broker="memory://")
        os.environ.update(env | ROOMY | HERE | settings)
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, check=True)
        yield Path(name)


def nursery(*modules: str) -> ForkServerContext:
    """Return where children are born: forked from a process that has loaded `modules` and has opened nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.crash.ready", *modules])
    return context


@contextlib.contextmanager
def _server() -> Iterator[str]:
    if os.environ.get("DATABASE_URL"):
        yield os.environ["DATABASE_URL"]
        return
    with postgres.temporary() as url:
        yield url


@contextlib.contextmanager
def _database(server: str) -> Iterator[str]:
    name = f"proof_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            # Not WITH (FORCE): that refuses when an autovacuum worker, which is the superuser's, happens to be there.
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user",
                [name],
            )
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
