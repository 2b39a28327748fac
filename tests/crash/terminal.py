"""The gateway's process that owns the terminal, with the broker's books shown to whoever asks at a socket."""

import contextlib
import os
import sys
import threading
import time
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

from trading.brokers.mt5.emulator import Control, opening
from trading.brokers.mt5.gateway import config as configuration
from trading.brokers.mt5.gateway import worker_process
from trading.brokers.mt5.gateway.config import BadConfig
from trading.brokers.mt5.gateway.terminal import Terminal, open_terminal

PATIENCE_S = 5.0  # the process before may be dying still, and holds the broker's file until it is dead


def main(config_file: str, address: str) -> int:
    """Be that process: the real one, but for the books."""
    config = configuration.load(Path(config_file))
    return worker_process.run(lambda: _open(config, address))


def _open(config: configuration.Config, address: str) -> Terminal:
    opened: list[Any] = []
    real = opening.open_broker

    def open_broker(*args: Any, **kwargs: Any) -> Any:
        opened.append(real(*args, **kwargs))
        return opened[-1]

    opening.open_broker = open_broker
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            terminal = open_terminal(config.terminal)
        except BadConfig:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            threading.Thread(target=_show, args=(Control(opened[-1]), address), daemon=True).start()
            return terminal


def _show(control: Control, address: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        Path(address).unlink()
    with Listener(address, "AF_UNIX") as door:
        while True:
            with door.accept() as asker, contextlib.suppress(EOFError, OSError):
                asker.send(control.truth(asker.recv()))


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
