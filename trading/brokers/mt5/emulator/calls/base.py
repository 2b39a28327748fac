"""Give every function its frame: one call at a time, the error reset first, None on failure."""

import functools
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from trading.brokers.mt5.emulator import arguments, scenery, sending
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.broker import Broker
from trading.brokers.mt5.emulator.failures import CLOSES_PIPE, SUCCESS, CallError
from trading.brokers.mt5.emulator.faults import SCENERY, Fault
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.profiles import AccountProfile
from trading.brokers.mt5.emulator.records import Tick

P = ParamSpec("P")
C = TypeVar("C", bound="Calls")


def answering(
    failure: object = None,
) -> Callable[[Callable[Concatenate[C, P], Any]], Callable[Concatenate[C, P], Any]]:
    """Frame a function of the package: on failure it answers `failure` and leaves the reason in `last_error`."""

    def frame(function: Callable[Concatenate[C, P], Any]) -> Callable[Concatenate[C, P], Any]:
        def call(self: C, /, *args: P.args, **named: P.kwargs) -> Any:
            with self._one_at_a_time:
                self._error, self._fault = SUCCESS, None
                try:
                    return function(self, *args, **named)
                except CallError as exc:
                    self._error = (exc.code, exc.message)
                    if exc.code in CLOSES_PIPE:
                        self._pipe = None
                    return failure

        functools.update_wrapper(call, function)
        return call

    return frame


class Calls:
    """Hold what one process that imported the package holds: its pipe and its last error."""

    def __init__(self, broker: Broker, terminal_path: str) -> None:
        self._broker, self._terminal = broker, broker.terminal(terminal_path)
        self._one_at_a_time = threading.RLock()
        self._error: tuple[int, str] = SUCCESS
        self._pipe: int | None = None
        self._fault: Fault | None = None
        profile = broker.profile
        self._dates = arguments.Dates(strict=profile.strict_zero_dates, host_offset_s=profile.host_offset_s)

    def last_error(self) -> tuple[int, str]:
        """Return code and words of the last call's outcome."""
        return self._error

    def _require_pipe(self) -> None:
        if self._pipe is None or self._pipe != self._terminal.run:
            self._pipe = None
            raise CallError(mt5.RES_E_INTERNAL_FAIL_CONNECT)

    def _enter(self, function: str) -> int:
        """Reach the account behind the pipe, through the faults planned for the function; return its login."""
        self._require_pipe()
        login = self._terminal.login
        if login is None:
            raise CallError(mt5.RES_E_FAIL)
        fault = self._broker.call_fault(function, login)
        with self._broker.lock:
            self._broker.sync()
        if fault is not None:
            login = self._suffer(fault, login)
        self._terminal.wake(self._broker.now_us)
        return login

    def _suffer(self, fault: Fault, login: int) -> int:
        """Let a fault do to a call what it does; return the account that answers it."""
        self._fault = fault
        if fault.name == "wrong_terminal":
            return int(fault.params["account"])
        if fault.name in SCENERY:
            scenery.change(self._broker, self._terminal, fault)
            self._require_pipe()
            return sending.still_there(self._broker, self._terminal)
        if fault.name == "hang":
            sending.hang(self._broker, fault)
        elif fault.name == "pipe_cut":
            self._terminal.cut_pipe()
            is_before = fault.params["point"] == "before"
            raise CallError(mt5.RES_E_INTERNAL_FAIL_CONNECT if is_before else mt5.RES_E_INTERNAL_FAIL_RECEIVE)
        elif "code" in fault.params:
            raise CallError(fault.params["code"])
        return login

    @property
    def _seen_us(self) -> int:
        """Return up to which instant the terminal knows what has happened."""
        return self._terminal.seen_us(self._broker.now_us)

    def _quote(self, symbol: str) -> Tick | None:
        """Return the last tick of a symbol that has arrived in the terminal."""
        return self._broker.quotes.at(symbol, self._terminal.quoted_us(symbol, self._broker.now_us) // 1_000)

    def _profile(self, login: int) -> AccountProfile:
        return self._broker.books[login].profile

    def _instrument(self, name: str) -> Instrument:
        instrument = self._broker.offers(name)
        if instrument is None:
            raise CallError(mt5.RES_E_NOT_FOUND)
        return instrument
