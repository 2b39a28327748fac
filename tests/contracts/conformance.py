"""Every fault of every emulator against its adapter: what an order's sender is told, and what turns out to be true.

`python -m tests.contracts.conformance [--write docs/brokers.md]` prints the table (`make conformance`).
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from tests.contracts import alpaca_faults, playing
from tests.contracts.playing import Fault, Outcome, World, play
from tests.fakes import gate
from tests.fakes.paper import LOGIN, PASSWORD, SERVER, TOKEN, paper
from trading.brokers import ids
from trading.brokers.base import Broker, Link, OrderRequest, Side
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import AccountProfile, BrokerProfile, Control, open_broker

TAG, QUANTITY = 7, Decimal("0.03")
UNITS = 10**8  # the broker counts its lots in these
BEGIN, END = "<!-- conformance: written by `make conformance` -->", "<!-- end of conformance -->"
ROOT = Path(__file__).parents[2]
_numbers = count(1)


FAULTS = [
    Fault("timeout_before_accept"), Fault("timeout_before_accept", {"retcode": 10012}),
    Fault("timeout_after_accept"), Fault("timeout_after_accept", {"retcode": 10012}),
    Fault("accept_late", {"seconds": 1}),
    Fault("none_result", {"code": -10002, "executed": False}),
    Fault("none_result", {"code": -10002, "executed": True}),
    Fault("none_result", {"code": -2}), Fault("none_success", {"executed": True}),
    Fault("retcode", {"retcode": 10006}), Fault("retcode", {"retcode": 10011, "executed": True}),
    Fault("retcode", {"retcode": 10017}), Fault("retcode", {"retcode": 10031, "executed": True}),
    Fault("requote"), Fault("price_changed"), Fault("off_quotes"), Fault("locked"), Fault("too_many"),
    Fault("hang", {"seconds": 1}),
    Fault("pipe_cut", {"point": "before"}), Fault("pipe_cut", {"point": "during"}),
    Fault("pipe_cut", {"point": "after"}),
    Fault("duplicate_deal", doubles=True), Fault("partial"), Fault("no_liquidity"), Fault("stops_dropped"),
    Fault("comment_drop"), Fault("comment_replace"), Fault("comment_truncate"), Fault("magic_zero"),
    Fault("orders_delay", {"seconds": 1}), Fault("positions_delay", {"seconds": 1}),
    Fault("history_delay", {"seconds": 1}),
    Fault("history_none", hides=True),
    Fault("repeat_history"),
    Fault("server_disconnect", {"seconds": 1}), Fault("terminal_restart", {"seconds": 1}),
    Fault("terminal_update", {"seconds": 1}), Fault("frozen_tick", {"seconds": 1}),
    Fault("wrong_terminal"), Fault("relogin"), Fault("algo_off", {"seconds": 1}), Fault("api_off", {"seconds": 1}),
    Fault("investor", {"seconds": 1}), Fault("close_only", {"seconds": 1}), Fault("market_close", {"seconds": 1}),
    Fault("gap", {"ticks": 900}), Fault("spread", {"ticks": 900}), Fault("clock_jump", {"seconds": 3600}),
    Fault("dst_switch"),
    Fault("bridge_drop"), Fault("bridge_drop", {"point": "response"}), Fault("bridge_drop", {"point": "middle"}),
    Fault("bridge_slow", {"seconds": 3}), Fault("bridge_dup_request"), Fault("bridge_dup_request", {"seconds": 0.5}),
]  # fmt: skip
CRASHES = [Fault("crash", {"point": point}) for point in ("before_commit", "after_commit", "after_reply")]


def _order(broker: Broker) -> OrderRequest:
    quote = broker.snapshot(symbols=["EURUSD"]).quotes["EURUSD"]
    return OrderRequest(
        client_order_id=ids.client_order_id(tag=TAG, number=next(_numbers)), symbol="EURUSD", side=Side.BUY,
        quantity=QUANTITY, reference_price=quote.ask, deviation=Decimal("0.002"),
        stop_loss=quote.bid - Decimal("0.02"), take_profit=None,
    )  # fmt: skip


def _books(truth: dict[str, Any]) -> tuple[Decimal, int]:
    deals = [deal for deal in truth["deals"] if deal["type"] in (0, 1)]
    executed = sum((Decimal(deal["volume"]) / UNITS for deal in deals), Decimal(0))
    return executed, len({deal["order_ticket"] for deal in deals})


@contextmanager
def in_this_process(folder: Path, *, netting: bool = False) -> Iterator[World]:
    """Serve the gateway in this process, where the emulator's strings can be pulled at any moment."""
    with paper(folder, netting=netting) as running, running.ticking():
        running.journal.created_at -= 60
        broker = _adapter(running.url)
        planned: list[int] = []

        def plan(fault: Fault) -> None:
            planned.append(running.control.inject(fault.name, **fault.params))

        def heal() -> None:
            for each in planned:
                running.control.lift(each)

        try:
            yield World(broker, _order, plan, heal, lambda: _books(running.truth()))
        finally:
            broker.close()


@contextmanager
def in_its_own(folder: Path) -> Iterator[World]:
    """Serve the gateway and its worker as processes; the fault is in the broker's file before they start."""
    store, config = folder / "broker.db", folder / "gateway.json"
    _configure(config, store)
    account = AccountProfile(login=LOGIN, password=PASSWORD, server=SERVER, currency="USD", leverage=100,
                             initial_balance="10000")  # fmt: skip
    with contextlib.ExitStack() as stack:
        reopen = partial(
            open_broker, store, accounts=[account], profile=BrokerProfile(always_open=True, tick_interval_ms=50)
        )
        running: list[subprocess.Popen[str]] = []

        def start(fault: Fault) -> Mt5Broker:
            emulator = reopen()
            Control(emulator).inject(fault.name, **fault.params)
            emulator.close()
            command = [sys.executable, "-m", "trading.brokers.mt5.gateway", "serve", "--config", str(config)]
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                env=os.environ | {"GATEWAY_TOKEN": TOKEN},
            )  # fmt: skip
            running.append(process)
            assert process.stdout is not None
            port = next(
                document["port"]
                for document in map(json.loads, process.stdout)
                if document["event"] == "gateway.started"
            )
            gate.free(f"http://127.0.0.1:{port}", TOKEN)
            broker = _adapter(f"http://127.0.0.1:{port}")
            stack.callback(broker.close)
            return broker

        def stop() -> None:
            for process in running:
                process.terminate()
                process.communicate()

        stack.callback(stop)

        def truth() -> dict[str, Any]:
            stop()
            running.clear()
            emulator = reopen()
            try:
                return Control(emulator).truth(LOGIN)
            finally:
                emulator.close()

        yield _Late(start, truth)


def _configure(config: Path, store: Path) -> None:
    config.write_text(json.dumps({
        "listen": "127.0.0.1:0", "token_env": "GATEWAY_TOKEN", "journal": str(store.with_name("journal.db")),
        "terminal": {
            "kind": "emulator", "store": str(store), "login": LOGIN, "password": PASSWORD, "server": SERVER,
            "tick_interval_ms": 50,
        },
        "limits": {"lots_max": "5", "symbols": ["*"], "orders_per_minute": 100},
    }))  # fmt: skip


class _Late(World):
    """A world that begins when its fault is known."""

    def __init__(self, start: Callable[[Fault], Mt5Broker], truth: Callable[[], dict[str, Any]]) -> None:
        self.start = start
        super().__init__(None, _order, lambda _: None, lambda: None, lambda: _books(truth()))  # type: ignore[arg-type]


def _adapter(url: str) -> Mt5Broker:
    settings = {
        "url": url, "token": TOKEN, "login": str(LOGIN), "server": SERVER, "mode": "paper", "tag": str(TAG),
        "deadline_s": "2.5",
    }  # fmt: skip
    return Mt5Broker(Link("mt5", str(LOGIN), settings | {"fillings": "FOK,IOC"}))


MODES: dict[str, Callable[..., Any]] = {
    "hedging": in_this_process,
    "netting": partial(in_this_process, netting=True),
    "own process": in_its_own,
}


def run(mode: str, fault: Fault) -> Outcome:
    """Play one fault in a fresh world."""
    with tempfile.TemporaryDirectory() as folder, MODES[mode](Path(folder)) as world:
        if isinstance(world, _Late):
            world.broker = world.start(fault)
        return play(world, fault)


SCENERY = frozenset({
    "server_disconnect", "terminal_restart", "terminal_update", "frozen_tick", "wrong_terminal", "relogin", "algo_off",
    "api_off", "investor",
    "close_only", "market_close", "gap", "spread", "clock_jump", "dst_switch", "repeat_history",
    "bridge_drop", "bridge_slow", "bridge_dup_request",
})  # fmt: skip


def is_possible(mode: str, fault: Fault) -> bool:
    """Tell whether a fault can be played: a crash needs a process of its own, scenery one that we can reach into."""
    return fault.name not in SCENERY if mode == "own process" else fault.name != "crash"


def main() -> int:
    """Print the table, and write it between its marks in a page when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="the page that keeps the table")
    arguments = parser.parse_args()
    mt5, wrong = playing.table([*FAULTS, *CRASHES], list(MODES), run=run, is_possible=is_possible)
    shares, wrong_shares = playing.table(alpaca_faults.FAULTS, list(alpaca_faults.MODES), run=alpaca_faults.run)
    wrong += wrong_shares
    text = f"### MetaTrader 5\n\n{mt5}\n\n### Alpaca\n\n{shares}"
    sys.stdout.write(f"{text}\n\n{wrong} wrong\n")
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
        kept = pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", page)
        arguments.write.write_text(kept, encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
