"""A gateway that shows its paper account as one with real money: the world outside, faked at its wire.

The emulator always says that it is a paper broker, and nothing in the product can make it say otherwise. Here, between
it and the gateway's own code, two words of one answer are exchanged: the kind of the account, and its server's name.
Started as `python -m tests.browser.live_broker serve|worker CONFIG`, as the gateway itself.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from trading.brokers.mt5.emulator import structures
from trading.brokers.mt5.gateway import config as configuration
from trading.brokers.mt5.gateway import program, worker_process
from trading.brokers.mt5.gateway.config import TerminalConfig
from trading.brokers.mt5.gateway.terminal import Terminal, open_terminal
from trading.brokers.mt5.wire import REAL

SERVER = "Savannah-Live"
BEHIND = "Paper-Savannah"


class Real:
    """The terminal's package, over an account that says it holds real money."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        """Leave everything else as it is."""
        return getattr(self._module, name)

    def account_info(self) -> structures.AccountInfo | None:
        """Show the account as a bank's customer would have it."""
        shown = self._module.account_info()
        if shown is None:
            return None
        return structures.build(structures.AccountInfo, shown._asdict() | {"trade_mode": REAL, "server": SERVER})


def open_real(config: TerminalConfig) -> Terminal:
    """Open the paper broker behind, and show it as the one of the settings."""
    assert config.server == SERVER
    terminal = open_terminal(replace(config, server=BEHIND))
    return replace(terminal, module=Real(terminal.module), server=SERVER)


def main() -> int:
    """Be the gateway, or the process that owns its terminal."""
    command, file = sys.argv[1:]
    config = configuration.load(Path(file))
    if command == "worker":
        return worker_process.run(lambda: open_real(config.terminal))
    return program.serve(config, [sys.executable, "-m", "tests.browser.live_broker", "worker", file])


if __name__ == "__main__":
    sys.exit(main())
