"""Serve one real gateway over one emulated broker for each account of the bench, all in this process, until SIGTERM.

Takes: a JSON file with `folder`, `logins`, `password`, `server`, `token`, and `ports` to write the chosen ports to.
A terminal serves one account, so a hundred traders have a hundred gateways; here they share one interpreter, which
makes them slower than they would be and never faster.
"""

import json
import signal
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading.brokers.mt5.emulator import AccountProfile, BrokerProfile, facade, open_broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.gateway.config import Config, Limits, TerminalConfig
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.journal import Journal
from trading.brokers.mt5.gateway.program import assemble
from trading.brokers.mt5.gateway.server import Gateway, Server
from trading.brokers.mt5.gateway.terminal import Terminal

TERMINAL = "C:/Paper/terminal64.exe"
WITHOUT_LIMIT = 1_000_000
POLL_S = 30.0  # of a listener that nobody ever stops: the process ends instead
CLOCK_STEP_S = 0.25
CLOCK_STEPS_MAX = 40
SYMBOL = "EURUSD"


def serve(document: dict[str, Any]) -> None:
    """Serve every account, write the ports once the clocks are known, and wait for the end."""
    folder = Path(document["folder"])
    served = [_open(folder / str(login), login, document) for login in document["logins"]]
    _learn_clocks([desk for desk, _ in served])
    for _, server in served:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL_S}, daemon=True).start()
    draft = Path(document["ports"]).with_suffix(".new")
    draft.write_text(json.dumps([server.server_port for _, server in served]), encoding="utf-8")
    draft.replace(document["ports"])
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    over.wait()


def _open(folder: Path, login: int, document: dict[str, Any]) -> tuple[Desk, Server]:
    """Open one broker, its terminal and its gateway, as the tests' paper broker does."""
    folder.mkdir(parents=True)
    password, server_name = document["password"], document["server"]
    account = AccountProfile(
        login=login, password=password, server=server_name, initial_balance="100000000",
        requests_per_second=WITHOUT_LIMIT,
        margin_mode=mt5.ACCOUNT_MARGIN_MODE_RETAIL_NETTING,
    )  # fmt: skip
    broker = open_broker(folder / "broker.db", accounts=[account], profile=BrokerProfile(always_open=True))
    connect = {"path": TERMINAL, "login": login, "password": password, "server": server_name}
    terminal = Terminal(
        facade.module(broker, TERMINAL), connect, login, server_name,
        lambda: broker.clock.target_us(broker.now_us) / 1_000_000, broker.close,
    )  # fmt: skip
    journal, desk = Journal(folder / "journal.db"), Desk(terminal)
    desk.reconciled(desk.run, desk.generation)  # as the control plane does before anything is sent
    config = Config(
        host="127.0.0.1", port=0, token=document["token"], journal=folder / "journal.db",
        limits=Limits(lots_max=Decimal(100), orders_per_minute=WITHOUT_LIMIT, symbols=None, kill_file=None),
        terminal=TerminalConfig("emulator", login, password, server_name, {}),
    )  # fmt: skip
    server = Server(
        ("127.0.0.1", 0), gateway=Gateway(desk, assemble(desk, journal, config), journal), token=config.token
    )
    return desk, server


def _learn_clocks(desks: list[Desk]) -> None:
    """Watch the quotes until one has moved at every account: only then is the server's clock known."""
    calls: list[dict[str, Any]] = [
        {"function": name, "args": args, "kwargs": {}, "where": {}}
        for name, args in (("symbol_select", [SYMBOL, True]), ("symbol_info_tick", [SYMBOL]))
    ]
    for _ in range(CLOCK_STEPS_MAX):
        unknown = [desk for desk in desks if desk.clock.offset_s is None]
        if not unknown:
            return
        for desk in unknown:
            desk.read(calls)
        time.sleep(CLOCK_STEP_S)
    raise TimeoutError("the clock of an emulated server stays unknown")


if __name__ == "__main__":
    serve(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
