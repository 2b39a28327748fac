"""Speak about a broker's control over a local socket: one JSON line asks, one JSON line answers.

Ask `{"token": …, "method": …, "args": […], "named": {…}}`; hear `{"result": …}` or `{"error": …, "kind": …}`. Methods
are those of `Control` in `METHODS`, nothing else. Decimals travel as texts, as `Control` takes them. Addresses are a
path (a unix socket, for its owner only) or `host:port` on loopback; nothing else is ever bound.
"""

import socket
from collections.abc import Callable
from typing import Any

from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.requests import Answer

LINE_MAX = 1 << 24
TIMEOUT_S = 30.0
TOKEN_MIN = 16
LOOPBACK = ("127.0.0.1", "::1")


def _as_is(result: Any) -> Any:
    return result


def _answer(result: Any) -> Any:
    return Answer(**result)


def _tick(result: Any) -> Any:
    return Tick(**result)


METHODS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        (
            "accounts", "advance", "balance", "books", "calm", "cancel_deal", "charge_swap", "delete_symbol",
            "dividend", "fault_log", "faults", "inject", "lift", "now_us", "quotes", "restore", "set_leverage",
            "snapshot", "split", "statement", "step", "truth", "verify", "wire_fault",
        ),
        _as_is,
    ),
    **dict.fromkeys(
        (
            "foreign_program_trade", "manual_cancel", "manual_close", "manual_modify", "manual_order", "manual_trade",
        ),
        _answer,
    ),
    "tick": _tick,
}  # fmt: skip


class ControlError(RuntimeError):
    """Say why the broker's control did not do what was asked; `kind` names the exception behind it."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


def split_address(address: str) -> tuple[str, int] | None:
    """Return host and port, or None for the path of a unix socket.

    Raises: ValueError for a host that other machines could reach.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return None
    if host.strip("[]") not in LOOPBACK:
        raise ValueError(f"{host} is not loopback: nobody else may hold these strings")
    return host.strip("[]"), int(port)


def connect(address: str) -> socket.socket:
    """Return a connection to a control server."""
    place = split_address(address)
    if place is not None:
        return socket.create_connection(place, timeout=TIMEOUT_S)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(TIMEOUT_S)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection
