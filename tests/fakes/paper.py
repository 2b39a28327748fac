"""A paper broker behind a real gateway on loopback: the code that trades real money, over the emulator."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading.brokers.mt5.emulator import AccountProfile, BrokerProfile, Control, facade, open_broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.books import Plan
from trading.brokers.mt5.gateway.bridge import Bridge
from trading.brokers.mt5.gateway.config import Config, Limits, TerminalConfig
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.journal import Journal
from trading.brokers.mt5.gateway.program import assemble
from trading.brokers.mt5.gateway.server import Gateway, Server
from trading.brokers.mt5.gateway.terminal import Terminal
from trading.brokers.mt5.gateway.worker import Worker

LOGIN, SERVER, PASSWORD, TOKEN = 5001, "Paper-Nexus", "a paper password", "a-token-of-the-tests-0123456789"
TERMINAL = "C:/Paper/terminal64.exe"


@dataclass
class Paper:
    """One running paper broker, and the strings that move it."""

    url: str
    control: Control
    journal: Journal
    desk: Desk
    worker: Worker
    login: int = LOGIN
    restart: Callable[[], None] = lambda: None  # the gateway, as a new process would go on with its journal

    def quote(self, symbol: str, bid: str, ask: str) -> None:
        """Quote a symbol now."""
        self.control.tick(symbol, bid, ask)

    def end_day(self) -> None:
        """Let the broker's day end, for orders that last no longer: without a midnight to wait for."""
        broker = self.control._broker
        with broker.lock:
            broker.sync()
            books, soon_us = broker.books[self.login], (broker.now_us // 1000 + 1) * 1000  # days end on a millisecond
            for order in list(books.working.values()):
                if order.type_time == mt5.ORDER_TIME_DAY:
                    broker.carry_out(books, Plan(working=replace(order, expires_us=soon_us)))
        time.sleep(0.002)

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Let EURUSD tick on at an unchanged price, as a market does, so that another process can learn its clock."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(0.05):
                self.quote("EURUSD", "1.08490", "1.08500")

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @property
    def now(self) -> datetime:
        """Return the broker's present."""
        return datetime.fromtimestamp(self.control.now_us / 1_000_000, UTC)

    def truth(self) -> dict[str, Any]:
        """Return the broker's real books."""
        return self.control.truth(self.login)

    def deals(self) -> list[dict[str, Any]]:
        """Return the trades in the broker's books, without its cash movements."""
        return [deal for deal in self.truth()["deals"] if deal["type"] in (mt5.DEAL_TYPE_BUY, mt5.DEAL_TYPE_SELL)]


@contextmanager
def paper(
    folder: Path,
    *,
    netting: bool = False,
    commission: str = "0",
    login: int = LOGIN,
    currency: str = "USD",
    **opening: Any,
) -> Iterator[Paper]:
    """Serve a paper broker until the end of the block. Takes: `opening` for `open_broker`, which lives on wall time."""
    mode = mt5.ACCOUNT_MARGIN_MODE_RETAIL_NETTING if netting else mt5.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING
    account = AccountProfile(
        login=login, password=PASSWORD, server=SERVER, margin_mode=mode, initial_balance="100000",
        commission_per_lot=commission, requests_per_second=100_000,
        currency=currency,
    )  # fmt: skip
    usual = {"mode": "wall", "quotes": "scripted"} if "csv" not in opening else {"mode": "replay"}
    broker = open_broker(
        folder / "broker.db", accounts=[account], profile=BrokerProfile(always_open=True), **(usual | opening)
    )
    broker.has_wire = True
    connect = {"path": TERMINAL, "login": login, "password": PASSWORD, "server": SERVER}
    terminal = Terminal(
        facade.module(broker, TERMINAL), connect, login, SERVER,
        lambda: broker.clock.target_us(broker.now_us) / 1_000_000, lambda: None,
    )  # fmt: skip
    running = _serve(terminal, Control(broker), folder / "journal.db")
    journal, desk = running.journal, running.desk
    desk.reconciled(desk.run, desk.generation)  # as the control plane does before anything is sent
    found = Paper(
        f"http://127.0.0.1:{running.server.server_port}", Control(broker), journal, desk, running.worker, login
    )

    def restart() -> None:
        nonlocal running
        running.close()
        running = _serve(terminal, found.control, folder / "journal.db", port=running.server.server_port)
        found.journal, found.desk, found.worker = running.journal, running.desk, running.worker

    found.restart = restart
    try:
        yield found
    finally:
        running.close()
        broker.close()


class _Listening(Server):
    """The gateway's socket, with those that it has accepted: they end with its process."""

    def __init__(self, *given: Any, **words: Any) -> None:
        self.accepted: list[socket.socket] = []
        super().__init__(*given, **words)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember a connection."""
        self.accepted.append(request)
        super().process_request(request, client_address)

    def cut(self) -> None:
        """End every connection."""
        for each in self.accepted:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class _Running:
    """One process of the gateway, within this one."""

    journal: Journal
    desk: Desk
    worker: Worker
    server: _Listening
    thread: threading.Thread

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        self.server.cut()
        self.worker.close(timeout_s=5)
        self.journal.close()


def _serve(terminal: Terminal, control: Control, kept: Path, *, port: int = 0) -> _Running:
    """Start a gateway with the journal that is kept there."""
    journal, desk = Journal(kept), Desk(terminal)
    config = Config(
        host="127.0.0.1", port=0, token=TOKEN, journal=kept,
        limits=Limits(lots_max=Decimal(100), orders_per_minute=100_000, symbols=None, kill_file=None),
        terminal=TerminalConfig("emulator", terminal.login, PASSWORD, SERVER, {}),
    )  # fmt: skip
    worker = assemble(desk, journal, config)
    server = _Listening(
        ("127.0.0.1", port), gateway=Gateway(desk, worker, journal), token=TOKEN, wire=Bridge(control.wire_fault)
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    return _Running(journal, desk, worker, server, thread)
