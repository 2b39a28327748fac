"""The only place that opens a terminal: the package beside a real one, or the emulator's stand-in for it.

Both are loaded by name, because the package exists on Windows only and the emulator has no place on a live machine.
"""

import importlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar

from trading.brokers.mt5.gateway import calls as callings
from trading.brokers.mt5.gateway import logs
from trading.brokers.mt5.gateway.calls import Answer, Call
from trading.brokers.mt5.gateway.config import BadConfig, TerminalConfig

CONNECT_TIMEOUT_MS = 15_000


@dataclass(frozen=True, slots=True)
class Terminal:
    """The module whose functions are called, how it connects, its clock, and how it is put away."""

    module: Any
    connect: dict[str, Any]
    login: int
    server: str
    now: Callable[[], float]
    close: Callable[[], None]
    generation: ClassVar[int] = 1  # it lives and dies with this process

    def make(self, calls: Sequence[Call]) -> list[Answer]:
        """Make the calls one after the other. Only here is it known how to connect, passwords included."""
        answers: list[Answer] = []
        for call in calls:
            known = replace(call, kwargs=self.connect) if call.function == "initialize" else call
            answers.append(callings.make(self.module, known, answers))
        return answers

    @property
    def pid(self) -> int:
        """Return this process."""
        return os.getpid()

    def kill(self) -> None:
        """Do nothing: what runs in this process cannot be ended from within it."""


def open_terminal(config: TerminalConfig) -> Terminal:
    """Load the module that the configuration names. Raises: BadConfig when it is not to be had."""
    return _emulator(config) if config.kind == "emulator" else _metatrader5(config)


def _emulator(config: TerminalConfig) -> Terminal:
    opening, configuring, facade, constants = (
        importlib.import_module(f"trading.brokers.mt5.emulator.{name}")
        for name in ("opening", "configuring", "facade", "constants")
    )
    options = config.options
    control = options.get("control")
    is_replay = options["mode"] == "replay"
    margin_mode = f"ACCOUNT_MARGIN_MODE_RETAIL_{options['margin_mode'].upper()}"
    try:
        terms = {
            "password": config.password, "server": config.server, "currency": options["currency"],
            "leverage": options["leverage"], "initial_balance": options["balance"],
            "margin_mode": getattr(constants, margin_mode),
        }  # fmt: skip
        accounts = [configuring.account(options.get("account", {}), login=config.login, **terms)]
        if control:  # somebody else's account, for the faults that show one
            accounts.append(
                configuring.account({"name": "Somebody else"}, login=config.login + configuring.OTHER_LOGIN, **terms)
            )
        profile = configuring.house(
            options.get("house", {}), options.get("symbols", {}), always_open=options["always_open"],
            tick_interval_ms=options["tick_interval_ms"],
        )  # fmt: skip
        options["store"].parent.mkdir(parents=True, exist_ok=True)
        broker = opening.open_broker(
            options["store"], accounts=accounts, profile=profile, mode=options["mode"], seed=options["seed"],
            csv=options["csv"] or None, speed=options["speed"] if is_replay else None,
            start=datetime.fromisoformat(options["start"]) if options["start"] else None,
        )  # fmt: skip
    except (ValueError, LookupError, RuntimeError, OSError) as exc:
        raise BadConfig(f"terminal: the emulator does not open: {exc}") from exc
    path = "C:/Emulator/terminal64.exe"
    connect = {"path": path, "login": config.login, "password": config.password, "server": config.server}

    def now() -> float:
        """Return the time that the broker will have reached when it is asked next."""
        reached_us: int = broker.clock.target_us(broker.now_us)
        return reached_us / 1_000_000

    close = _with_control(broker, control) if control else broker.close
    return Terminal(facade.module(broker, path), connect, config.login, config.server, now, close)


def _with_control(broker: Any, control: tuple[str, str]) -> Callable[[], None]:
    """Open the strings of a paper broker to this machine, and return what closes both. Raises: BadConfig."""
    control_module, server = (
        importlib.import_module(f"trading.brokers.mt5.emulator.{name}") for name in ("control", "controls.server")
    )
    address, token = control
    broker.has_wire = not address.endswith(":0")  # the gateway asks there what it shall break
    try:
        serving = server.serve(control_module.Control(broker), address, token)
    except OSError as exc:
        broker.close()
        raise BadConfig(f"terminal.control: {address} cannot be bound ({exc.strerror})") from exc
    logs.write("gateway.paper.control", address=serving.address)

    def close() -> None:
        serving.close()
        broker.close()

    return close


def _metatrader5(config: TerminalConfig) -> Terminal:
    try:
        module = importlib.import_module("MetaTrader5")
    except ImportError as exc:
        raise BadConfig("terminal.kind: the package MetaTrader5 is not installed; it exists for Windows only") from exc
    connect = {
        "path": config.options["path"], "portable": config.options["portable"], "timeout": CONNECT_TIMEOUT_MS,
        "login": config.login, "password": config.password, "server": config.server,
    }  # fmt: skip
    return Terminal(module, connect, config.login, config.server, time.time, lambda: None)
