"""Where a replay plays: a paper broker on recorded quotes, behind a real gateway on loopback, in this process."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading.brokers.mt5.emulator import AccountProfile, Broker, BrokerProfile, Control, facade, open_broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.gateway.config import Config, Limits, TerminalConfig
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.journal import Journal
from trading.brokers.mt5.gateway.program import assemble
from trading.brokers.mt5.gateway.server import Gateway, Server
from trading.brokers.mt5.gateway.terminal import Terminal

LOGIN, SERVER = 5001, "Paper-Replay"
TERMINAL = "C:/Replay/terminal64.exe"
ENDLESS = 1_000_000


@dataclass
class Stage:
    """A running broker, and the strings that move its time."""

    url: str
    token: str
    broker: Broker
    control: Control

    @property
    def now(self) -> datetime:
        """Return the broker's present."""
        return datetime.fromtimestamp(self.broker.now_us / 1_000_000, UTC)

    def run_to(self, at: datetime) -> None:
        """Let everything happen until then, and go on to the next quote, so that somebody trades on a fresh one."""
        with self.broker.lock:
            self.broker.run_to(int(at.timestamp() * 1_000_000))
            self.control.step()

    def run_out(self) -> None:
        """Let everything happen until the end of the recording."""
        tape = self.broker.tape
        assert tape is not None
        self.broker.run_to(tape.last_ms * 1_000)

    def truth(self) -> dict[str, Any]:
        """Return the broker's real books."""
        return self.control.truth(LOGIN)


@contextmanager
def stage(
    folder: Path, recordings: dict[str, Path], *, balance: str, currency: str, commission: str, netting: bool
) -> Iterator[Stage]:
    """Serve a paper broker on recorded quotes until the end of the block. Raises: what `open_broker` raises."""
    token, password = secrets.token_hex(16), secrets.token_hex(16)
    mode = mt5.ACCOUNT_MARGIN_MODE_RETAIL_NETTING if netting else mt5.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING
    account = AccountProfile(
        login=LOGIN, password=password, server=SERVER, margin_mode=mode, currency=currency, initial_balance=balance,
        commission_per_lot=commission, requests_per_second=ENDLESS,
    )  # fmt: skip
    broker = open_broker(
        folder / "broker.db", accounts=[account], profile=BrokerProfile(always_open=True), mode="replay", csv=recordings
    )
    connect = {"path": TERMINAL, "login": LOGIN, "password": password, "server": SERVER}
    terminal = Terminal(
        facade.module(broker, TERMINAL), connect, LOGIN, SERVER, lambda: broker.now_us / 1_000_000, broker.close
    )
    journal, desk, control = Journal(folder / "journal.db"), Desk(terminal), Control(broker)
    config = Config(
        host="127.0.0.1", port=0, token=token, journal=folder / "journal.db",
        limits=Limits(lots_max=Decimal(ENDLESS), orders_per_minute=ENDLESS, symbols=None, kill_file=None),
        terminal=TerminalConfig("emulator", LOGIN, password, SERVER, {}),
    )  # fmt: skip
    worker = assemble(desk, journal, config)
    server = Server(("127.0.0.1", 0), gateway=Gateway(desk, worker, journal), token=token)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        worker.run("connect", {}, timeout_s=10)
        for _ in range(2):  # the server's clock is learned from a price that moves
            control.step()
            for symbol in recordings:
                worker.run("read", {"calls": _tick_calls(symbol)}, timeout_s=10)
        yield Stage(f"http://127.0.0.1:{server.server_port}", token, broker, control)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        worker.close(timeout_s=5)
        journal.close()


def _tick_calls(symbol: str) -> list[dict[str, Any]]:
    names: tuple[tuple[str, list[Any]], ...] = (("symbol_select", [symbol, True]), ("symbol_info_tick", [symbol]))
    return [{"function": name, "args": args, "kwargs": {}, "where": {}} for name, args in names]
