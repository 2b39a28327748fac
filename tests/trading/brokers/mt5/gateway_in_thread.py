"""The gateway in this process, over a fake terminal, on a free port of the loopback address."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.trading.brokers.mt5.fake_terminal import LOGIN, SERVER
from trading.brokers.base import Link
from trading.brokers.mt5.gateway.config import Config, Limits, TerminalConfig
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.journal import Journal
from trading.brokers.mt5.gateway.program import assemble
from trading.brokers.mt5.gateway.server import Gateway, Server
from trading.brokers.mt5.gateway.terminal import Terminal
from trading.brokers.mt5.gateway.worker import Worker

TOKEN = "a-token-of-the-tests-0123456789"
TAG = 7
LIMITS = Limits(lots_max=Decimal(5), orders_per_minute=1000, symbols=None, kill_file=None)


@dataclass
class Running:
    """One running gateway and what a test may want to look into."""

    url: str
    journal: Journal
    worker: Worker
    desk: Desk
    server: Server

    def link(self, **settings: str) -> Link:
        """Return the link of the paper account behind this gateway."""
        return link(self.url, **settings)


def link(url: str, /, **settings: str) -> Link:
    """Return a paper link; `settings` replaces or adds."""
    usual = {
        "url": url, "token": TOKEN, "login": str(LOGIN), "server": SERVER, "mode": "paper", "tag": str(TAG),
        "deadline_s": "5",
    }  # fmt: skip
    return Link(venue="mt5", account="5001", settings=usual | settings)


@contextmanager
def gateway(
    module: Any, journal: Path, *, limits: Limits = LIMITS, terminal: Terminal | None = None
) -> Iterator[Running]:
    """Serve `module`, or a whole terminal, until the end of the block."""
    config = Config(
        host="127.0.0.1", port=0, token=TOKEN, journal=journal, limits=limits,
        terminal=TerminalConfig("emulator", LOGIN, "secret", SERVER, {}),
    )  # fmt: skip
    terminal = terminal or Terminal(module, {"path": "C:/t.exe"}, LOGIN, SERVER, time.time, lambda: None)
    book = Journal(journal)
    desk = Desk(terminal)
    worker = assemble(desk, book, config)
    desk.reconciled(desk.run, desk.generation)  # as the control plane does before anything is sent
    server = Server(("127.0.0.1", 0), gateway=Gateway(desk, worker, book), token=TOKEN)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Running(f"http://127.0.0.1:{server.server_port}", book, worker, desk, server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        worker.close(timeout_s=5)
        book.close()
