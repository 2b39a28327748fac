"""The terminal as one thread uses it: connection, identity, and each call with its error as one unit."""

import contextlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol

from trading.brokers.mt5.gateway import logs
from trading.brokers.mt5.gateway.calls import Answer, Call, Where
from trading.brokers.mt5.gateway.journal import Journal
from trading.brokers.mt5.gateway.metrics import Meter
from trading.brokers.mt5.gateway.remote import TerminalDown, TerminalLost
from trading.brokers.mt5.gateway.throttle import Throttle
from trading.brokers.mt5.server_clock import ServerClock, is_still_valid

# What may be read over the wire. Connecting is the gateway's own business, sending has a door of its own with a
# journal, and the wheel's Buy, Sell and Close are never called: they loop, and set no stops.
READINGS = frozenset({
    "version", "terminal_info", "account_info", "symbols_total", "symbols_get", "symbol_info", "symbol_info_tick",
    "symbol_select", "orders_total", "orders_get", "positions_total", "positions_get", "history_orders_total",
    "history_orders_get", "history_deals_total", "history_deals_get", "order_check", "order_calc_margin",
    "order_calc_profit", "copy_rates_from", "copy_rates_from_pos", "copy_rates_range", "copy_ticks_from",
    "copy_ticks_range", "market_book_add", "market_book_get", "market_book_release",
})  # fmt: skip

LOST = frozenset({-10002, -10004})  # the pipe is gone: connect again
FINAL = frozenset({-2, -5, -6, -7})  # trying again changes nothing, and wrong passwords lock accounts
CLOCK_NOTE_S, CLOCK_POLL_S = 60.0, 0.5
SAMPLES_MIN, SAMPLES_MAX = 2, 5  # one symbol alone may be delayed
BACKOFF_S_MAX = 60.0


class Hands(Protocol):
    """Whatever makes the calls: the terminal in this process, or a worker process that owns it."""

    @property
    def login(self) -> int:
        """Return the account that must answer."""
        ...

    @property
    def server(self) -> str:
        """Return the server on which it must be."""
        ...

    @property
    def generation(self) -> int:
        """Return how many have been started one after the other."""
        ...

    @property
    def pid(self) -> int | None:
        """Return the process that makes the calls, None when there is none."""
        ...

    @property
    def now(self) -> Callable[[], float]:
        """Return the clock that the terminal's own times follow."""
        ...

    @property
    def close(self) -> Callable[[], None]:
        """Return what puts the terminal away."""
        ...

    def make(self, calls: Sequence[Call]) -> list[Answer]:
        """Make the calls with nobody in between. Raises: TerminalDown, TerminalLost."""
        ...

    def kill(self) -> None:
        """End whatever is being done now, if that is possible."""
        ...


class Desk:
    """The terminal's only user. Not safe to share between threads: the worker's thread owns it."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._run = secrets.token_hex(8)
        self._counted = 0  # the generation that is in the figures
        self._reconciled = 0  # the generation of hands that the control plane has compared its books with
        self._is_connected = False
        self._down: TerminalDown | None = None
        self._is_connecting = False
        self._connected_at = 0.0  # by this process's steady clock
        self._retry_at = 0.0
        self._backoff_s = 0.5
        self._ticks: dict[str, int] = {}  # of the unit in hand
        self._journal: Journal | None = None
        self._noted: tuple[int | None, float] = (None, 0.0)  # the offset on disk, and since when
        self._samples: tuple[tuple[bool, str], ...] = ()  # symbols whose prices show the clock
        self.clock = ServerClock()
        self.meter = Meter()
        self.throttle = Throttle()
        self.server_tick_time: int | None = None
        self.identity: tuple[int, str] | None = None  # as last seen
        self.points: dict[str, Decimal] = {}  # the unit of each symbol's deviation, where it was ever read

    def now(self) -> float:
        """Return UTC in seconds, by the clock that the terminal's own times follow."""
        return self._hands.now()

    def connect(self) -> None:
        """Connect if need be, with growing pauses between attempts. Raises: TerminalDown."""
        if self._is_connected:
            return
        if self._down and (self._down.is_final or time.monotonic() < self._retry_at):
            raise self._down
        try:
            self._is_connecting = True
            (error,) = self._make([Call("initialize")])
        except TerminalLost as exc:
            error = Answer(None, 0, str(exc))
        except TerminalDown as exc:  # its process does not start: that costs time, and is not tried at each reading
            self._down = TerminalDown(str(exc))
            self._wait_longer()
            raise
        finally:
            self._connected_at, self._is_connecting = time.monotonic(), False
        if error.result is not True:
            self._wait_longer()
            detail = f"the terminal does not connect: {error.code} {error.message or error.exception}"
            self._down = TerminalDown(detail, is_final=error.code in FINAL)
            logs.write("gateway.terminal.down", code=error.code, detail=error.message)
            raise self._down
        self._is_connected, self._down, self._backoff_s = True, None, 0.5
        self.meter.count("worker_starts_total" if self.generation > self._counted else "terminal_connects_total")
        self._counted = self.generation
        logs.write("gateway.terminal.connected", login=self._hands.login, server=self._hands.server)

    def has_been_connected_for(self, seconds: float) -> bool:
        """Tell whether what is in hand had this long after a connection: opening a terminal may take its time."""
        return not self._is_connecting and time.monotonic() - self._connected_at > seconds

    def _wait_longer(self) -> None:
        self._retry_at = time.monotonic() + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_S_MAX)

    def close(self) -> None:
        """Leave the terminal."""
        if self._is_connected:
            with contextlib.suppress(TerminalDown):
                self._make([Call("shutdown")])
        self._is_connected = False
        self._hands.close()

    def verify(self, calls: Sequence[Call] = ()) -> tuple[Any, Any, list[Answer]]:
        """Check that the right account answers and that its broker is there.

        Returns what account and terminal say, and the answers to `calls`, made in the same unit. Raises: TerminalDown.
        """
        self.connect()
        account, terminal, *answers = self.make([Call("account_info"), Call("terminal_info"), *calls])
        if not account.ok:
            raise TerminalDown(f"the terminal does not say which account it serves: {account.code} {account.message}")
        if self.identity != (self._hands.login, self._hands.server):
            raise TerminalDown(f"another account answers: {self.identity}")
        if not terminal.ok or not terminal.result["connected"]:
            raise TerminalDown("the terminal is not connected to the broker")
        return account.result, terminal.result, answers

    def call(self, function: str, *args: Any, where: Where | None = None, **kwargs: Any) -> Answer:
        """Call once; whatever happens is in the answer. `where` keeps of a listing what has one of its values."""
        (answer,) = self.make([Call(function, args, kwargs, where)])
        return answer

    def make(self, calls: Sequence[Call]) -> list[Answer]:
        """Make the calls as one unit and note what they tell. Raises: TerminalDown, TerminalLost."""
        answers = self._make(calls)
        for call, answer in zip(calls, answers, strict=True):
            if answer.code in LOST:
                self._is_connected = False
            if answer.ok:
                self._note(call.function, call.args, answer.result)
            elif call.function == "account_info":
                self.identity = None
        return answers

    def read(self, calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Make the calls one after the other with nobody in between, and stamp the whole. Raises: TerminalDown."""
        self.connect()
        started = time.perf_counter()
        self._ticks = {}
        wanted = [Call(**call) for call in calls]
        witness = [] if any(call.function == "account_info" for call in wanted) else [Call("account_info")]
        answers = [answer.as_dict() for answer in self.make([*wanted, *witness])[: len(wanted)]]
        self._learn_clock()
        return {"ok": all(answer["ok"] for answer in answers), "results": answers, **self.stamp(started)}

    def keep_clock(self, journal: Journal, *, symbols: frozenset[str] | None = None) -> None:
        """Begin with the server's offset that the journal remembers, if it must still hold, and keep it up to date.

        Takes: `symbols` that may be watched for it, None for any.
        """
        self._journal = journal
        self._samples = tuple((False, name) for name in sorted(symbols or ())[:SAMPLES_MAX])
        remembered = journal.offset()
        if remembered is not None and is_still_valid(seen_s=remembered[1], now_s=self.now()):
            self.clock.adopt(remembered[0], seen_s=remembered[1])

    def _learn_clock(self) -> None:
        now = self.now()
        if not self.clock.observe(self._ticks, utc_s=now) or self._journal is None:
            return
        offset_s, noted_at = self._noted
        if self.clock.offset_s == offset_s and abs(now - noted_at) < CLOCK_NOTE_S:
            return
        assert self.clock.offset_s is not None
        self._noted = (self.clock.offset_s, now)
        try:
            has_changed = self._journal.note_offset(self.clock.offset_s, at=now)
        except sqlite3.Error as exc:  # who reads hears what was read all the same
            logs.write("gateway.journal.not_written", level="warning", what="offset", problem=repr(exc))
            return
        if has_changed:
            self.meter.count("clock_changes_total")
            logs.write("gateway.clock.changed", level="warning", offset_s=self.clock.offset_s)

    def beat(self) -> dict[str, Any]:
        """Hear from the worker, bring it back when it is gone, and watch prices while the clock is not known for sure.

        Returns how soon to do so again, when that is sooner than usual. Raises: TerminalDown.
        """
        self.connect()
        if self.clock.is_known() and not self.clock.is_doubted():
            self.make([])
            return {}
        if len(self._samples) < SAMPLES_MIN:
            listing = self.call("symbols_get").result or []
            others = sorted((not entry["select"], entry["name"]) for entry in listing)
            self._samples = tuple({name: (is_idle, name) for is_idle, name in (*self._samples, *others)}.values())
            self._samples = self._samples[:SAMPLES_MAX]
        names = [name for _, name in self._samples]
        self.make([Call("symbol_select", (name, True)) for name in names])
        self.read([{"function": "symbol_info_tick", "args": [name]} for name in names])
        is_clear = self.clock.is_known() and not self.clock.is_doubted()
        return {} if is_clear else {"again_s": CLOCK_POLL_S}

    def kill(self) -> None:
        """End the call in flight, from another thread."""
        self._hands.kill()

    @property
    def generation(self) -> int:
        """Return which worker in a row serves the terminal."""
        return self._hands.generation

    @property
    def run(self) -> str:
        """Return a name of this start of the gateway: each counts its workers from one."""
        return self._run

    @property
    def worker_pid(self) -> int | None:
        """Return the process that serves the terminal, None when there is none."""
        return self._hands.pid

    @property
    def must_reconcile(self) -> bool:
        """Tell whether nobody has compared the books since this worker was started; the first one is no exception."""
        return self._hands.generation > self._reconciled

    def reconciled(self, run: str, generation: int) -> None:
        """Take the control plane's word that its books agree with what this worker shows."""
        if run != self._run:
            return  # it speaks of what an earlier start has shown
        self._reconciled = max(self._reconciled, min(generation, self._hands.generation))

    def stamp(self, started: float) -> dict[str, Any]:
        """Return who answered, when, by whose clock, and how long it took since `started`."""
        login, server = self.identity or (None, None)
        return {
            "login": login, "server": server, "server_tick_time": self.server_tick_time,
            "server_offset_s": self.clock.offset_s, "gateway_utc": round(self.now(), 6),
            "run": self._run, "generation": self.generation, "reconcile_first": self.must_reconcile,
            "pause_s": self.throttle.left_s(),
            "call_ms": round(1000 * (time.perf_counter() - started), 3),
        }  # fmt: skip

    def _note(self, function: str, args: Sequence[Any], result: Any) -> None:
        if function == "account_info":
            self.identity = (int(result["login"]), result["server"])
        elif function == "symbol_info_tick":
            self._ticks[args[0]] = int(result["time_msc"])
            self.server_tick_time = max(self.server_tick_time or 0, int(result["time"]))
        elif function == "symbol_info":
            self.points[result["name"]] = Decimal(str(result["point"]))

    def _make(self, calls: Sequence[Call]) -> list[Answer]:
        try:
            return self._hands.make(calls)
        except TerminalDown:
            self._is_connected, self.identity = False, None
            raise
