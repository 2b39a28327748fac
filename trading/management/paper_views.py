"""The verbs of `manage.py paper` that look and change nothing."""

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from trading.brokers.mt5.emulator import faults
from trading.brokers.mt5.emulator.controls.client import ControlClient
from trading.brokers.mt5.emulator.fault_words import WORDS

DEALS = 20
FIGURES = ("balance", "credit", "profit", "equity", "margin", "free", "level")
POSITION = ("ticket", "symbol", "side", "lots", "opened at", "now", "stop", "target", "swap", "profit", "by", "comment")
ORDER = ("ticket", "symbol", "type", "lots", "price", "limit", "stop", "target", "expires", "by", "comment")
DEAL = (
    "deal", "time", "type", "entry", "symbol", "lots", "price", "position", "profit", "swap", "commission", "by",
    "comment",
)  # fmt: skip


def add_verbs(verbs: Any) -> None:
    """Define the verbs."""
    verbs.add_parser("accounts", help="every paper account, with its money")
    for name, act, words in (
        ("books", _books, "account, positions, orders and the last deals, as the broker has them"),
        ("account", _account, "the account's money"),
        ("positions", _positions, "open positions"),
        ("orders", _orders, "resting orders"),
        ("deals", _deals, "the last deals, money movements included"),
        ("quotes", _quotes, "the price of every symbol"),
        ("faults", _faults, "every fault that can be injected, and which are planned now"),
        ("log", _log, "which faults have fired, and on which request"),
        ("verify", _verify, "compare the broker's books with its own deals"),
    ):
        verb: argparse.ArgumentParser = verbs.add_parser(name, help=words)
        verb.set_defaults(act=act)
        if name in ("books", "deals", "log"):
            verb.add_argument("--last", type=int, default=DEALS, help=f"how many rows; {DEALS} when left out")


def accounts(brokers: Mapping[int, ControlClient]) -> str:
    """Return every account with its money."""
    rows = [broker.books(login, 0)["account"] for login, broker in brokers.items()]
    return table("Paper accounts", rows, ("login", "name", "kind", "currency", "leverage", *FIGURES[:4], "free"))


def _books(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    books = broker.books(login, options["last"])
    parts = (_heading(books), _figures(books), *(_rows(books, name) for name in ("positions", "orders", "deals")))
    return "\n".join(parts)


def _account(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    books = broker.books(login, 0)
    return f"{_heading(books)}\n{_figures(books)}"


def _positions(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    return _rows(broker.books(login, 0), "positions")


def _orders(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    return _rows(broker.books(login, 0), "orders")


def _deals(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    return _rows(broker.books(login, options["last"]), "deals")


def _quotes(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    return table("Prices (UTC)", broker.quotes(), ("symbol", "bid", "ask", "at", "market"))


def _faults(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    rows = [{"fault": name, "parameters": parameters(name), "what it does": WORDS[name]} for name in faults.KINDS]
    return "\n".join(
        [
            table("Faults: paper inject NAME PARAMETER=VALUE …", rows, ("fault", "parameters", "what it does")),
            planned(broker),
            "What breaks the network between Nexus and the gateway is not here: see docs/rehearsal.md.",
        ]
    )


def planned(broker: ControlClient) -> str:
    """Return the faults that are planned now."""
    rows = [
        {
            "id": row["id"], "fault": row["name"], "on": "any call" if row["function"] == "*" else row["function"],
            "with": _typed(row["params"]),
            "fired": f"{row['fired']} of {row['times'] or 'always'}",
        }
        for row in broker.faults()
    ]  # fmt: skip
    return table("Planned now", rows, ("id", "fault", "on", "with", "fired"))


def _typed(params: Mapping[str, Any]) -> str:
    """Return parameters as they are typed."""
    told = []
    for name, value in params.items():
        shown = "forever" if value is None else ",".join(value) if isinstance(value, list) else value
        told.append(f"{name}={shown}")
    return " ".join(told) or "-"


def _log(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    fired = broker.fault_log()
    rows = [
        {
            "time": datetime.fromtimestamp(row["time_us"] // 10**6, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            "fault": row["fault"], "call": row["function"], "request": _request(json.loads(row["request"])),
        }
        for row in fired[max(0, len(fired) - options["last"]) :]
    ]  # fmt: skip
    return table("Fired (fault by its number, UTC)", rows, ("time", "fault", "call", "request"))


def _request(request: Mapping[str, Any]) -> str:
    told = {name: value for name, value in request.items() if value not in (0, "0", "")}
    return " ".join(f"{name}={value}" for name, value in told.items()) or "-"


def _verify(broker: ControlClient, *, login: int, options: Mapping[str, Any]) -> str:
    broker.verify()
    return "The broker's balances and positions are what its deals add up to."


def needed(name: str) -> str:
    """Return the parameter without which a fault would do nothing, if there is one."""
    return "seconds" if name == "hang" or name.endswith("_delay") else faults.NEEDED.get(name, "")


def parameters(name: str) -> str:
    """Return a fault's parameters with their defaults, as they are typed."""
    told = []
    for key, value in faults.KINDS[name].params.items():
        choices = faults.POINTS.get(name)
        shown = (
            "|".join(choices) if key == "point" and choices else ",".join(value) if isinstance(value, tuple) else value
        )
        is_needed = " (needed)" if needed(name) == key else ""
        told.append(f"{key}={shown}{is_needed}" if shown != "" else f"{key}=")
    return " ".join(told) or "-"


def _heading(books: Mapping[str, Any]) -> str:
    account = books["account"]
    return (
        f"Account {account['login']} at {account['server']}: {account['kind']}, {account['currency']}, "
        f"1:{account['leverage']}. The broker's time is {account['time']} UTC."
    )


def _figures(books: Mapping[str, Any]) -> str:
    return table("Money", [books["account"]], FIGURES)


def _rows(books: Mapping[str, Any], name: str) -> str:
    columns = {"positions": POSITION, "orders": ORDER, "deals": DEAL}[name]
    title = name.capitalize()
    if name == "deals":
        title = f"Deals, the last {len(books['deals'])} of {books['deals_in_all']} (UTC)"
    return table(title, books[name], columns)


def table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Draw rows as text; columns in which nothing stands are left out."""
    if not rows:
        return f"{title}: none"
    used = [name for name in columns if any(str(row[name]) not in ("", "None") for row in rows)]
    cells = [used, *([str(row[name]) for name in used] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(used))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join([title, *(f"  {line}" for line in lines)])
