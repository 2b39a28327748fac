"""The terminal as one thread uses it: connection, identity, and each call with its error as one unit."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from trading.brokers.mt5.gateway import logs, plain
from trading.brokers.mt5.gateway.terminal import Terminal
from trading.brokers.mt5.server_clock import ServerClock

# What may be read over the wire. Connecting is the gateway's own business, sending has a door of its own with a
# journal, and the wheel's Buy, Sell and Close are never called: they loop, and set no stops.
READINGS = frozenset({
    "version", "terminal_info", "account_info", "symbols_total", "symbols_get", "symbol_info", "symbol_info_tick",
    "symbol_select", "orders_total", "orders_get", "positions_total", "positions_get", "history_orders_total",
    "history_orders_get", "history_deals_total", "history_deals_get", "order_check", "order_calc_margin",
    "order_calc_profit", "copy_rates_from", "copy_rates_from_pos", "copy_rates_range", "copy_ticks_from",
    "copy_ticks_range", "market_book_add", "market_book_get", "market_book_release",
})  # fmt: skip

Where: TypeAlias = Mapping[str, Sequence[object]]  # field → values, of which one in any field will do

SUCCESS = 1
LOST = frozenset({-10002, -10004})  # the pipe is gone: connect again
FINAL = frozenset({-2, -5, -6, -7})  # trying again changes nothing, and wrong passwords lock accounts
BACKOFF_S_MAX = 60.0


class TerminalDown(Exception):
    """The terminal cannot be used now; nothing was called. `is_final` when only a person can change that."""

    def __init__(self, detail: str, *, is_final: bool = False) -> None:
        super().__init__(detail)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Answer:
    """One call's outcome: its plain result, and the error read before anyone else could overwrite it."""

    result: Any
    code: int
    message: str
    exception: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether the call worked; an empty result is a success, a missing one is not."""
        return not self.exception and self.code == SUCCESS and self.result is not None

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as it stands on the wire."""
        answer = {"ok": self.ok, "result": self.result, "last_error": [self.code, self.message]}
        return answer | {"exception": self.exception} if self.exception else answer


class Desk:
    """The terminal's only user. Not safe to share between threads: the worker's thread owns it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._is_connected = False
        self._down: TerminalDown | None = None
        self._retry_at = 0.0
        self._backoff_s = 0.5
        self._ticks: dict[str, int] = {}  # of the unit in hand
        self.clock = ServerClock()
        self.server_tick_time: int | None = None
        self.identity: tuple[int, str] | None = None  # as last seen

    def now(self) -> float:
        """Return UTC in seconds, by the clock that the terminal's own times follow."""
        return self._terminal.now()

    def connect(self) -> None:
        """Connect if need be, with growing pauses between attempts. Raises: TerminalDown."""
        if self._is_connected:
            return
        if self._down and (self._down.is_final or time.monotonic() < self._retry_at):
            raise self._down
        error = self._raw("initialize", (), self._terminal.connect)
        if error.result is not True:
            self._retry_at, self._backoff_s = (
                time.monotonic() + self._backoff_s,
                min(2 * self._backoff_s, BACKOFF_S_MAX),
            )
            detail = f"the terminal does not connect: {error.code} {error.message or error.exception}"
            self._down = TerminalDown(detail, is_final=error.code in FINAL)
            logs.write("gateway.terminal.down", code=error.code, detail=error.message)
            raise self._down
        self._is_connected, self._down, self._backoff_s = True, None, 0.5
        logs.write("gateway.terminal.connected", login=self._terminal.login, server=self._terminal.server)

    def close(self) -> None:
        """Leave the terminal."""
        if self._is_connected:
            self._raw("shutdown", (), {})
        self._is_connected = False
        self._terminal.close()

    def verify(self) -> tuple[Any, Any]:
        """Check that the right account answers and that its broker is there, and return what both say.

        Raises: TerminalDown.
        """
        self.connect()
        account = self.require("account_info")
        if self.identity != (self._terminal.login, self._terminal.server):
            raise TerminalDown(f"another account answers: {self.identity}")
        terminal = self.require("terminal_info")
        if not terminal["connected"]:
            raise TerminalDown("the terminal is not connected to the broker")
        return account, terminal

    def require(self, function: str, **kwargs: Any) -> Any:
        """Call once and return the result. Raises: TerminalDown when there is none."""
        answer = self.call(function, **kwargs)
        if not answer.ok:
            raise TerminalDown(f"the terminal does not answer {function}: {answer.code} {answer.message}")
        return answer.result

    def call(self, function: str, *args: Any, where: Where | None = None, **kwargs: Any) -> Answer:
        """Call once; whatever happens is in the answer. `where` keeps of a listing what has one of its values."""
        answer = self._raw(function, args, kwargs, where)
        if answer.code in LOST:
            self._is_connected = False
        if answer.ok:
            self._note(function, args, answer.result)
        elif function == "account_info":
            self.identity = None
        return answer

    def read(self, calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Make the calls one after the other with nobody in between, and stamp the whole. Raises: TerminalDown."""
        self.connect()
        started = time.perf_counter()
        self._ticks = {}
        answers = [
            self.call(call["function"], *call["args"], where=call["where"], **call["kwargs"]).as_dict()
            for call in calls
        ]
        if all(call["function"] != "account_info" for call in calls):
            self.call("account_info")
        self.clock.observe(self._ticks, utc_s=self.now())
        return {"ok": all(answer["ok"] for answer in answers), "results": answers, **self.stamp(started)}

    def stamp(self, started: float) -> dict[str, Any]:
        """Return who answered, when, by whose clock, and how long it took since `started`."""
        login, server = self.identity or (None, None)
        return {
            "login": login, "server": server, "server_tick_time": self.server_tick_time,
            "server_offset_s": self.clock.offset_s, "gateway_utc": round(self.now(), 6),
            "call_ms": round(1000 * (time.perf_counter() - started), 3),
        }  # fmt: skip

    def _note(self, function: str, args: Sequence[Any], result: Any) -> None:
        if function == "account_info":
            self.identity = (int(result["login"]), result["server"])
        elif function == "symbol_info_tick":
            self._ticks[args[0]] = int(result["time_msc"])
            self.server_tick_time = max(self.server_tick_time or 0, int(result["time"]))

    def _raw(self, function: str, args: Sequence[Any], kwargs: dict[str, Any], where: Where | None = None) -> Answer:
        entry: Callable[..., Any] = getattr(self._terminal.module, function)
        try:
            value = entry(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001 - whatever the package raises, the one thread that owns it must live
            return Answer(None, 0, str(exc), type(exc).__name__)
        try:
            code, message = self._terminal.module.last_error()
            return Answer(plain.of_value(_chosen(value, where)), int(code), str(message))
        except Exception as exc:  # noqa: BLE001 - the call was made; that its answer cannot be read proves nothing
            return Answer(None, 0, f"{type(exc).__name__}: {exc}", "UnreadableAnswer")


def _chosen(listing: Any, where: Where | None) -> Any:
    """Keep of a listing the structures of which any field named in `where` has one of the values given there."""
    if not where or not isinstance(listing, (tuple, list)):
        return listing
    wanted = [(name, {str(value) for value in values}) for name, values in where.items()]
    return [entry for entry in listing if any(str(getattr(entry, name)) in values for name, values in wanted)]
