"""A real gateway over the emulator as a process of its own, which may be killed and started again over its files."""

import contextlib
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from nexus.local import servers
from tests.crash import points
from trading.brokers.mt5.emulator import Control, opening
from trading.brokers.mt5.gateway import config as configuration
from trading.brokers.mt5.gateway import program
from trading.brokers.mt5.gateway.journal import Journal
from trading.brokers.mt5.gateway.terminal import open_terminal

SERVER = "Paper-Nexus"
READY_S = 20.0


class GatewayProcess:
    """One gateway and the broker behind it. Its files outlive it."""

    def __init__(self, context: ForkServerContext, folder: Path, *, login: int, token: str) -> None:
        self.login, self._context, self._token = login, context, token
        self._port = servers.free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        folder.mkdir()
        self._document = _document(folder, port=self._port, login=login)
        _make_old(folder / "journal.db")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._strings, theirs = self._context.Pipe()
        self.process: BaseProcess = self._context.Process(
            target=serve, args=(self._document, self._token, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        assert self._strings.poll(READY_S), "the gateway does not come up"
        self._strings.recv()

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
        self._strings.send(self.login)
        books: dict[str, Any] = self._strings.recv()
        return books


def serve(document: dict[str, Any], token: str, strings: Connection) -> None:
    """Be the gateway's process: its real program, with the broker's books shown to the one who started it."""
    opened = []
    real = opening.open_broker

    def open_broker(*args: Any, **kwargs: Any) -> Any:
        opened.append(real(*args, **kwargs))
        return opened[-1]

    opening.open_broker = open_broker
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    config = configuration.parse(document, environment={"GATEWAY_TOKEN": token})
    terminal = open_terminal(config.terminal)
    threading.Thread(target=_show, args=(strings, Control(opened[0]), config.port), daemon=True).start()
    # The terminal stays in this process, so that one kill ends both, as the power does.
    vars(program)["Remote"] = lambda _command, **_known: terminal
    program.serve(config, [])


def _show(strings: Connection, control: Control, port: int) -> None:
    """Say when the door is open; then show an account's books, or take a point to die at, until nobody can ask."""
    deadline = time.monotonic() + READY_S
    while not _listens(port) and time.monotonic() < deadline:
        time.sleep(0.002)
    with contextlib.suppress(EOFError, OSError):
        strings.send("ready")
        while True:
            asked = strings.recv()
            if isinstance(asked, str):
                points.arm(asked)
                strings.send("armed")
            else:
                strings.send(control.truth(asked))
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
