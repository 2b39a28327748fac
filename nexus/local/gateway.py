"""The paper accounts of the local run, and the settings of the gateway of each: MT5 over the emulator."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nexus.local.folder import Folder, FolderUnusable, write_private
from trading.brokers.mt5.emulator import configuring
from trading.brokers.mt5.gateway import config as configuration

PAPER_LOGIN = 5001
PAPER_SERVER = "Paper-Nexus"
PAPER_SEED = 20200101
PAPER_BALANCE = "10000"  # USD, at the first start
# Where the file stands is ours to say, and by whom it is served.
OURS = frozenset({"kind", "store", "password", "server", "control", "mode", "login"})


@dataclass(frozen=True, slots=True)
class PaperAccount:
    """One paper account: a broker, a gateway and a file of its own. `terms` go to the gateway as they are."""

    login: int = PAPER_LOGIN
    name: str = "Paper account"
    terms: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        """Tell whether it is the account that every run has."""
        return self.login == PAPER_LOGIN


def paper_accounts(folder: Folder, environment: Mapping[str, str]) -> list[PaperAccount]:
    """Read which paper accounts there shall be from the file that NEXUS_PAPER names, or `paper.json` in the folder.

    Without a file there is one. Raises: FolderUnusable.
    """
    path = Path(environment.get("NEXUS_PAPER") or folder.path / "paper.json").expanduser().absolute()
    if not path.exists() and not environment.get("NEXUS_PAPER"):
        return [PaperAccount()]
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["accounts"]
        accounts = [_account(dict(row), path.parent) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise FolderUnusable(f'{path} is not {{"accounts": [{{"login": 5001, …}}, …]}}: {exc!r}') from exc
    logins = [each.login for each in accounts]
    if PAPER_LOGIN not in logins or len(set(logins)) < len(logins):
        raise FolderUnusable(f"{path}: every login must be another one, and {PAPER_LOGIN} among them.")
    return sorted(accounts, key=lambda each: not each.is_first)


def _account(row: dict[str, Any], folder: Path) -> PaperAccount:
    login, name = int(row.pop("login")), str(row.pop("name", "Paper account"))
    if not 0 < login < configuring.OTHER_LOGIN:
        raise ValueError(f"a login is 1 to {configuring.OTHER_LOGIN - 1}")
    if known := row.keys() & OURS:
        raise ValueError(f"{', '.join(sorted(known))} of a paper account cannot be chosen")
    row["account"] = {"name": name} | row.get("account", {})
    row["csv"] = {symbol: str(folder / file) for symbol, file in row.get("csv", {}).items()}
    return PaperAccount(login, name, row)


def write_config(
    folder: Folder, account: PaperAccount, *, port: int, control_port: int, known: Mapping[str, str]
) -> Path:
    """Write a gateway's settings, private because a password is among them, and return their file.

    Raises: FolderUnusable when the account's terms are not what a paper broker can be told.
    """
    place = "" if account.is_first else f"-{account.login}"
    usual = {"seed": PAPER_SEED, "currency": "USD", "balance": PAPER_BALANCE}
    ours = {
        "kind": "emulator",
        "store": str(folder.path / "paper" / f"broker{place}.db"),
        "login": account.login,
        "password": known["PAPER_PASSWORD"],
        "server": PAPER_SERVER,
        "mode": "wall",
        "control": {"listen": f"127.0.0.1:{control_port}", "token_env": "PAPER_CONTROL_TOKEN"},
    }
    config = {
        "listen": f"127.0.0.1:{port}",
        "token_env": "GATEWAY_TOKEN",
        "journal": str(folder.path / "gateway" / f"journal{place}.db"),
        "terminal": usual | dict(account.terms) | ours,
        "limits": {
            "lots_max": "50",
            "symbols": ["*"],
            "orders_per_minute": 6000,
            "kill_file": str(folder.path / "gateway" / "STOP"),
        },
    }
    try:
        options = configuration.parse(config, environment=known).terminal.options
        configuring.account(options["account"], login=account.login, password="")  # nosec B106  # only the shape is read
        configuring.house(options["house"], options["symbols"])
    except (configuration.BadConfig, ValueError) as exc:
        raise FolderUnusable(f"The paper account {account.login} cannot be opened: {exc}") from exc
    path = folder.gateway_config.with_name(f"gateway{place}.json")
    write_private(path, json.dumps(config, indent=2) + "\n")
    return path
