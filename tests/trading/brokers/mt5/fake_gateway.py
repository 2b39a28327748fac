"""The gateway as a process of its own over a fake terminal: `python -m … CONFIG SENDS BEHAVIOR`.

Each send is written to the file SENDS before anything else. BEHAVIOR `hang` then never answers, and `lock` does so with
Python's own lock held, as the package does; `open` never opens the terminal, and `history` never lists deals. All only
as long as SENDS.hang exists. `slow` takes its time to open.
"""

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.trading.brokers.mt5.fake_terminal import FIRST_TICKET, FakeTerminal
from trading.brokers.mt5.gateway import config as configuration
from trading.brokers.mt5.gateway import worker_process
from trading.brokers.mt5.gateway.program import serve
from trading.brokers.mt5.gateway.terminal import Terminal

# The position of a `history`, a `lock` and a `slow`, in each worker anew. Its ticket is HELD_TICKET.
HELD = {
    "action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "price": 1.1, "sl": 0.0, "tp": 0.0, "magic": 0,
    "comment": "",
}  # fmt: skip
HELD_TICKET = FIRST_TICKET + 1
OPENING_S = 1.5


def main() -> int:
    config_file, sends, behavior, *role = sys.argv[1:]
    config = configuration.load(Path(config_file))
    if not role:
        return serve(config, [sys.executable, "-m", __spec__.name, config_file, sends, behavior, "worker"])
    return worker_process.run(lambda: _terminal(config, Path(sends), behavior))


def _terminal(config: configuration.Config, sends: Path, behavior: str) -> Terminal:
    fake = FakeTerminal()
    if behavior == "open" and Path(f"{sends}.hang").exists():
        ctypes.PyDLL(None).sleep(3600)
    if behavior == "slow":
        time.sleep(OPENING_S)

    def play(request: dict[str, Any]) -> Any:
        with sends.open("a", encoding="utf-8") as file:
            file.write(f"{request['comment']}\n")
            file.flush()
            os.fsync(file.fileno())
        if behavior in {"hang", "lock"} and Path(f"{sends}.hang").exists():
            (time.sleep if behavior == "hang" else ctypes.PyDLL(None).sleep)(3600)
        return fake.play(request)

    def count_deals(since: int, until: int) -> Any:
        if Path(f"{sends}.hang").exists():
            ctypes.PyDLL(None).sleep(3600)
        return sum(since <= deal.time <= until for deal in fake.deals)

    fake.fill_always = play
    if behavior == "history":
        fake.history_deals_total = count_deals  # type: ignore[method-assign]
    if behavior in {"history", "lock", "slow"}:
        fake.fill(HELD)
    expected = config.terminal
    return Terminal(fake, {}, expected.login, expected.server, time.time, lambda: None)


if __name__ == "__main__":
    sys.exit(main())
