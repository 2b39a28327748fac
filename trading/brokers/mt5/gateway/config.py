"""What the gateway is told at its start: one JSON file, read once, refused with one clear line.

    {
      "listen": "127.0.0.1:8765",          loopback only, unless there is tls; port 0 takes a free one and logs it
      "tls": {"cert": "server.pem", "key": "server-key.pem", "client_ca": "ca.pem"},      may be left out
      "token_env": "GATEWAY_TOKEN",        the variable that holds the bearer token
      "metrics_token_env": "METRICS_TOKEN", may be left out; a token that opens /metrics and /v1/health only
      "journal": "journal.db",             the memory of every intent; lose it and nothing can be proven never sent
      "log": "gateway.log",                may be left out; what goes to standard output, kept in eleven files of 10 MB
      "journal_days": 90,                  how long it keeps the words of what has ended; names are kept for ever
      "terminal": {"kind": "metatrader5", "path": "C:/…/terminal64.exe", "portable": true, "login": 1,
                   "password_env": "MT5_PASSWORD", "server": "Broker-Live"},
      "limits": {"lots_max": "5", "symbols": ["EURUSD"], "orders_per_minute": 60, "kill_file": "STOP"},
      "watchdog": {"give_way_s": 3, "stall_s": 30, "kill_s": 180}     seconds of one call; may be left out
    }

A paper broker instead: {"kind": "emulator", "store", "login", "password", "server": "Paper-…"} and, if need be, "mode"
(wall, replay), "seed", "csv" ({symbol: file}, for replay), "speed", "start", "currency", "leverage", "balance",
"margin_mode" (hedging, netting), "always_open", "tick_interval_ms". "csv" in mode wall plays a recording for ever.
Its profile: "house" (latency, slippage, delays), "account" (commission, swaps, stop out), "symbols" (terms by symbol);
see `emulator/configuring.py`. "control" {"listen": "127.0.0.1:0", "token_env": "NAME"} opens it to `manage.py paper`.
"""

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

TOKEN_LENGTH_MIN = 16
JOURNAL_DAYS_MIN = 2  # an order may be repeated for a day


class BadConfig(Exception):
    """The file cannot be served. The message is one line and names the key."""


@dataclass(frozen=True, slots=True)
class TerminalConfig:
    """Which terminal to open and the account it must answer for. `options` belong to the kind."""

    kind: str
    login: int
    password: str = field(repr=False)
    server: str
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What this machine sends at most, whatever it is asked. `symbols` is None for all of them.

    Units: `lots_max` in lots an order.
    """

    lots_max: Decimal
    orders_per_minute: int
    symbols: frozenset[str] | None
    kill_file: Path | None


@dataclass(frozen=True, slots=True)
class Tls:
    """The gateway's own certificate, and the authority whose certificates its callers must show."""

    cert: Path
    key: Path
    client_ca: Path


@dataclass(frozen=True, slots=True)
class Watchdog:
    """How long one call of the terminal may last.

    `stall_s` before nothing new is sent, `kill_s` before its process is killed. While a close or cancel waits it is
    killed after `give_way_s` if it is a reading, and after `stall_s` if it is not.
    """

    give_way_s: float = 3.0
    stall_s: float = 30.0
    kill_s: float = 180.0


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file, with the secrets that it names taken from the environment."""

    host: str
    port: int
    token: str = field(repr=False)
    journal: Path
    terminal: TerminalConfig
    limits: Limits
    watchdog: Watchdog = Watchdog()
    journal_days: int = 90
    metrics_token: str = field(default="", repr=False)
    tls: Tls | None = None
    log: Path | None = None


def load(path: Path, *, environment: Mapping[str, str] = os.environ) -> Config:
    """Read the file. Raises: BadConfig."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # programs of Windows like to begin a file with a mark
        document = json.loads(text, parse_float=Decimal)
    except OSError as exc:
        raise BadConfig(f"{path}: cannot be read ({exc.strerror})") from exc
    except ValueError as exc:
        raise BadConfig(f"{path}: is not JSON ({exc})") from exc
    return parse(document, environment=environment)


def parse(document: object, *, environment: Mapping[str, str]) -> Config:
    """Turn the document into a Config. Raises: BadConfig."""
    root = _Section(document, "")
    tls = _tls(root.section("tls")) if "tls" in root else None
    log = root.take("log", str, "")
    host, port = _address(root.take("listen", str), is_protected=tls is not None)
    config = Config(
        host=host,
        port=port,
        token=_token(root.take("token_env", str), environment),
        journal=Path(root.take("journal", str)),
        terminal=_terminal(root.section("terminal"), environment),
        limits=_limits(root.section("limits")),
        tls=tls,
        log=Path(log) if log else None,
        journal_days=root.take("journal_days", int, 90),
        metrics_token=_metrics_token(root.take("metrics_token_env", str, ""), environment),
        watchdog=_watchdog(root.section("watchdog", default={})),
    )
    root.finish()
    if config.journal_days < JOURNAL_DAYS_MIN:
        raise BadConfig(f"journal_days: must be {JOURNAL_DAYS_MIN} or more")
    return config


def _metrics_token(name: str, environment: Mapping[str, str]) -> str:
    return _token(name, environment, key="metrics_token_env") if name else ""


def _tls(section: "_Section") -> Tls:
    paths = [Path(section.take(key, str)) for key in ("cert", "key", "client_ca")]
    section.finish()
    for path in paths:
        if not path.is_file():
            raise BadConfig(f"tls: {path} is not there; the command `certificates` makes what is needed")
    return Tls(*paths)


def _address(listen: str, *, is_protected: bool) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise BadConfig(f"listen: {listen!r} is not HOST:PORT")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError as exc:
        raise BadConfig(f"listen: {host!r} is not an address") from exc
    if not is_loopback and not is_protected:
        raise BadConfig(f"listen: {host!r} is not a loopback address; without tls only those are served")
    return host.strip("[]"), int(port)


def _token(name: str, environment: Mapping[str, str], *, key: str = "token_env") -> str:
    token = environment.get(name, "")
    if len(token) < TOKEN_LENGTH_MIN:
        raise BadConfig(f"{key}: the variable {name} must hold a token of {TOKEN_LENGTH_MIN} characters or more")
    return token


def _terminal(section: "_Section", environment: Mapping[str, str]) -> TerminalConfig:
    kind = section.take("kind", str)
    options: dict[str, Any]
    match kind:
        case "emulator":
            options, password = _emulator(section, environment), section.take("password", str)
        case "metatrader5":
            options = {"path": section.take("path", str), "portable": section.take("portable", bool, default=False)}
            name = section.take("password_env", str)
            password = environment.get(name, "")
            if not password:
                raise BadConfig(f"terminal.password_env: the variable {name} is empty")
        case _:
            raise BadConfig(f"terminal.kind: {kind!r} is neither 'emulator' nor 'metatrader5'")
    login, server = section.take("login", int), section.take("server", str)
    section.finish()
    return TerminalConfig(kind=kind, login=login, password=password, server=server, options=options)


def _emulator(section: "_Section", environment: Mapping[str, str]) -> dict[str, Any]:
    """Read what a paper broker may be told; everything but its file has a default."""
    mode = section.take("mode", str, "wall")
    recordings = section.take("csv", dict, {})
    margin_mode = section.take("margin_mode", str, "hedging")
    if mode not in {"wall", "replay"}:
        raise BadConfig(f"terminal.mode: {mode!r} is neither 'wall' nor 'replay'")
    if mode == "replay" and not recordings:
        raise BadConfig("terminal.csv: must name one recording per symbol in mode 'replay'")
    if margin_mode not in {"hedging", "netting"}:
        raise BadConfig(f"terminal.margin_mode: {margin_mode!r} is neither 'hedging' nor 'netting'")
    return {
        "mode": mode,
        "csv": {str(symbol): Path(str(file)) for symbol, file in recordings.items()},
        "margin_mode": margin_mode,
        "store": Path(section.take("store", str)),
        "seed": section.take("seed", int, 1),
        "speed": section.take("speed", int, 1),
        "start": section.take("start", str, ""),
        "currency": section.take("currency", str, "USD"),
        "leverage": section.take("leverage", int, 100),
        "balance": section.take("balance", str, "10000"),
        "always_open": section.take("always_open", bool, mode == "wall"),
        "tick_interval_ms": section.take("tick_interval_ms", int, 1000),
        "house": section.take("house", dict, {}),
        "account": section.take("account", dict, {}),
        "symbols": section.take("symbols", dict, {}),
        "control": _control(section.section("control"), environment) if "control" in section else None,
    }


def _control(section: "_Section", environment: Mapping[str, str]) -> tuple[str, str]:
    """Read where the paper broker's strings are held, and the secret for it. A real terminal has no such key."""
    listen, name = section.take("listen", str), section.take("token_env", str)
    section.finish()
    _address(listen, is_protected=False)
    return listen, _token(name, environment, key="terminal.control.token_env")


def _limits(section: "_Section") -> Limits:
    symbols = section.take("symbols", list)
    if not symbols or not all(isinstance(symbol, str) for symbol in symbols):
        raise BadConfig('limits.symbols: must list symbols, or be ["*"] for all of them')
    kill_file = section.take("kill_file", str, "")
    limits = Limits(
        lots_max=section.amount("lots_max"),
        orders_per_minute=section.take("orders_per_minute", int),
        symbols=None if symbols == ["*"] else frozenset(symbols),
        kill_file=Path(kill_file) if kill_file else None,
    )
    section.finish()
    if limits.orders_per_minute < 1:
        raise BadConfig("limits.orders_per_minute: must be 1 or more")
    return limits


def _watchdog(section: "_Section") -> Watchdog:
    usual = Watchdog()
    stall_s = float(section.amount("stall_s", str(usual.stall_s)))
    kill_s = float(section.amount("kill_s", str(usual.kill_s)))
    watchdog = Watchdog(float(section.amount("give_way_s", str(min(usual.give_way_s, stall_s)))), stall_s, kill_s)
    section.finish()
    if watchdog.kill_s <= watchdog.stall_s:
        raise BadConfig("watchdog.kill_s: must be longer than stall_s")
    if watchdog.give_way_s > watchdog.stall_s:
        raise BadConfig("watchdog.give_way_s: must be no longer than stall_s")
    return watchdog


class _Section:
    """One object of the file; whatever nobody took from it is a mistake."""

    def __init__(self, document: object, name: str) -> None:
        if not isinstance(document, dict):
            raise BadConfig(f"{name or 'the file'}: must be an object")
        self._rest = dict(document)
        self._prefix = f"{name}." if name else ""

    def __contains__(self, key: str) -> bool:
        """Tell whether the object has this key, and nobody has taken it yet."""
        return key in self._rest

    def take(self, key: str, kind: type[Any], default: Any = None) -> Any:
        """Take a value of exactly this type. A missing one without a default is refused."""
        value = self._rest.pop(key, default)
        if value is None:
            raise BadConfig(f"{self._prefix}{key}: is missing")
        if type(value) is not kind:
            raise BadConfig(f"{self._prefix}{key}: must be of type {kind.__name__}")
        return value

    def amount(self, key: str, default: str | None = None) -> Decimal:
        """Take a positive number, written as a number or as text."""
        value = self._rest.pop(key, default)
        text = str(value) if type(value) in {int, str, Decimal} else ""
        try:
            amount = Decimal(text)
        except ArithmeticError as exc:
            raise BadConfig(f"{self._prefix}{key}: must be a positive number") from exc
        if not amount.is_finite() or amount <= 0:
            raise BadConfig(f"{self._prefix}{key}: must be a positive number")
        return amount

    def section(self, key: str, default: Any = None) -> "_Section":
        """Take an object."""
        return _Section(self._rest.pop(key, default), f"{self._prefix}{key}")

    def finish(self) -> None:
        """Refuse keys that nobody knows: a limit with a typing error would not limit."""
        for key in self._rest:
            raise BadConfig(f"{self._prefix}{key}: is not a known key")
