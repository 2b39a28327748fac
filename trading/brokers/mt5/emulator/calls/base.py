"""Give every function its frame: one call at a time, the error reset first, None on failure."""

import functools
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from trading.brokers.mt5.emulator import arguments
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.broker import Broker
from trading.brokers.mt5.emulator.failures import CLOSES_PIPE, SUCCESS, CallError
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.profiles import AccountProfile

P = ParamSpec("P")
C = TypeVar("C", bound="Calls")


def answering(
    failure: object = None,
) -> Callable[[Callable[Concatenate[C, P], Any]], Callable[Concatenate[C, P], Any]]:
    """Frame a function of the package: on failure it answers `failure` and leaves the reason in `last_error`."""

    def frame(function: Callable[Concatenate[C, P], Any]) -> Callable[Concatenate[C, P], Any]:
        def call(self: C, /, *args: P.args, **named: P.kwargs) -> Any:
            with self._one_at_a_time:
                self._error = SUCCESS
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
        if fault is not None and fault.name == "hang":
            self._broker.pause(fault.params["seconds"])
        elif fault is not None:
            raise CallError(fault.params["code"])
        with self._broker.lock:
            self._broker.sync()
        return login

    def _profile(self, login: int) -> AccountProfile:
        return self._broker.books[login].profile

    def _instrument(self, name: str) -> Instrument:
        instrument = self._broker.instruments.get(name)
        if instrument is None:
            raise CallError(mt5.RES_E_NOT_FOUND)
        return instrument
