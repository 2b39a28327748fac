"""A real gateway over the emulator as a process of its own, which may be killed and started again over its files."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from multiprocessing.connection import Client, Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from nexus.local import servers
from tests.crash import points
from tests.fakes import gate
from trading.brokers.mt5.gateway import config as configuration
from trading.brokers.mt5.gateway import program
from trading.brokers.mt5.gateway.journal import Journal

SERVER = "Paper-Nexus"
READY_S = 20.0


class GatewayProcess:
    """One gateway and the broker behind it. Its files outlive it."""

    def __init__(self, context: ForkServerContext, folder: Path, *, login: int) -> None:
        self.login, self._context = login, context
        self._port = servers.free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        folder.mkdir()
        self._config, self._books = folder / "gateway.json", str(folder / "books")
        self._config.write_text(json.dumps(_document(folder, port=self._port, login=login)), encoding="utf-8")
        _make_old(folder / "journal.db")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._strings, theirs = self._context.Pipe()
        self.process: BaseProcess = self._context.Process(
            target=serve, args=(str(self._config), self._books, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        assert self._strings.poll(READY_S), "the gateway does not come up"
        self._strings.recv()
        gate.free(self.url, os.environ["GATEWAY_TOKEN"])

    def arm(self, point: str) -> None:
        """Make it die at `point`."""
        self._strings.send(point)
        self._strings.recv()

    def has_died(self, *, within_s: float = 10.0) -> bool:
        """Wait for its end and tell whether it was killed."""
        self.process.join(within_s)
        return self.process.exitcode == -signal.SIGKILL

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.join()

    def truth(self) -> dict[str, Any]:
        """Return the broker's real books."""
        with Client(self._books, "AF_UNIX") as asking:
            asking.send(self.login)
            books: dict[str, Any] = asking.recv()
            return books


def serve(config_file: str, books: str, strings: Connection) -> None:
    """Be the gateway's process: its real program, and a string by which it is told where to die."""
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    config = configuration.load(Path(config_file))
    threading.Thread(target=_listen_to, args=(strings, config.port), daemon=True).start()
    program.serve(config, [sys.executable, "-m", "tests.crash.terminal", config_file, books])


def _listen_to(strings: Connection, port: int) -> None:
    """Say when the door is open; then take a point to die at, until nobody can ask."""
    deadline = time.monotonic() + READY_S
    while not _listens(port) and time.monotonic() < deadline:
        time.sleep(0.002)
    with contextlib.suppress(EOFError, OSError):
        strings.send("ready")
        while True:
            points.arm(strings.recv())
            strings.send("armed")
    os._exit(0)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _make_old(path: Path) -> None:
    """Make a journal as old as that of an installed gateway: a young one can prove nothing."""
    Journal(path).close()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE meta SET value = ? WHERE key = 'created_at'", (repr(time.time() - 3600),))


def _document(folder: Path, *, port: int, login: int) -> dict[str, Any]:
    return {
        "listen": f"127.0.0.1:{port}",
        "token_env": "GATEWAY_TOKEN",
        "journal": str(folder / "journal.db"),
        "terminal": {
            "kind": "emulator",
            "store": str(folder / "broker.db"),
            "mode": "wall",
            "seed": 7,
            "login": login,
            "password": "a paper password",
            "server": SERVER,
            "balance": "1000000",
            "tick_interval_ms": 20,
        },
        "limits": {"lots_max": "5", "symbols": ["*"], "orders_per_minute": 100_000},
    }
