"""Write the settings of the local MT5 gateway: paper trading over the emulator."""

import json
from collections.abc import Mapping
from pathlib import Path

from nexus.local.folder import Folder, write_private

PAPER_LOGIN = 5001
PAPER_SERVER = "Paper-Nexus"
PAPER_SEED = 20200101
PAPER_BALANCE = "10000"  # USD, at the first start


def write_config(folder: Folder, *, port: int, known: Mapping[str, str]) -> Path:
    """Write the gateway's settings, private because a password is among them, and return their file."""
    config = {
        "listen": f"127.0.0.1:{port}",
        "token_env": "GATEWAY_TOKEN",
        "journal": str(folder.path / "gateway" / "journal.db"),
        "terminal": {
            "kind": "emulator",
            "store": str(folder.path / "paper" / "broker.db"),
            "login": PAPER_LOGIN,
            "password": known["PAPER_PASSWORD"],
            "server": PAPER_SERVER,
            "mode": "wall",
            "seed": PAPER_SEED,
            "currency": "USD",
            "balance": PAPER_BALANCE,
        },
        "limits": {
            "lots_max": "50",
            "symbols": ["*"],
            "orders_per_minute": 6000,
            "kill_file": str(folder.path / "gateway" / "STOP"),
        },
    }
    write_private(folder.gateway_config, json.dumps(config, indent=2) + "\n")
    return folder.gateway_config
