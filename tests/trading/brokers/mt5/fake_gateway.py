"""The gateway as a process of its own over a fake terminal: `python -m … CONFIG SENDS BEHAVIOR`.

Each send is written to the file SENDS before anything else. BEHAVIOR `hang` then never answers.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.trading.brokers.mt5.fake_terminal import FakeTerminal
from trading.brokers.mt5.gateway import config as configuration
from trading.brokers.mt5.gateway.program import serve
from trading.brokers.mt5.gateway.terminal import Terminal


def main() -> int:
    config_file, sends, behavior = sys.argv[1:]
    fake = FakeTerminal()

    def play(request: dict[str, Any]) -> Any:
        with Path(sends).open("a", encoding="utf-8") as file:
            file.write(f"{request['comment']}\n")
            file.flush()
            os.fsync(file.fileno())
        if behavior == "hang":
            time.sleep(3600)
        return fake.fill(request)

    fake.next_send = play
    config = configuration.load(Path(config_file))
    expected = config.terminal
    return serve(config, Terminal(fake, {}, expected.login, expected.server, time.time, lambda: None))


if __name__ == "__main__":
    sys.exit(main())
