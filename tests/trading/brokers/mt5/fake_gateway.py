"""The gateway as a process of its own over a fake terminal: `python -m … CONFIG SENDS BEHAVIOR`.

Each send is written to the file SENDS before anything else. BEHAVIOR `hang` then never answers, and `lock` does so with
Python's own lock held, as the package does; `open` never opens the terminal. All only as long as SENDS.hang exists.
"""

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.trading.brokers.mt5.fake_terminal import FakeTerminal
from trading.brokers.mt5.gateway import config as configuration
from trading.brokers.mt5.gateway import worker_process
from trading.brokers.mt5.gateway.program import serve
from trading.brokers.mt5.gateway.terminal import Terminal


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

    def play(request: dict[str, Any]) -> Any:
        with sends.open("a", encoding="utf-8") as file:
            file.write(f"{request['comment']}\n")
            file.flush()
            os.fsync(file.fileno())
        if behavior in {"hang", "lock"} and Path(f"{sends}.hang").exists():
            (time.sleep if behavior == "hang" else ctypes.PyDLL(None).sleep)(3600)
        return fake.fill(request)

    fake.fill_always = play
    expected = config.terminal
    return Terminal(fake, {}, expected.login, expected.server, time.time, lambda: None)


if __name__ == "__main__":
    sys.exit(main())
