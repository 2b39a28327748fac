"""The one thread that may enter the terminal, and the queue before it."""

import itertools
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from trading.brokers.mt5.gateway import logs

QUEUE_MAX = 256
FIRST_BEAT_S = 0.5
HEARTBEAT_S = 5.0  # the worker must be heard from this often when nobody asks for anything
CLOSES_ALONE_S = 10.0  # what was ended for a close would begin again between its steps


class Urgency(IntEnum):
    """Who goes first."""

    STOP = 0
    CLOSE = 1  # closes and cancels
    PROTECT = 2  # changes of stops
    SEND = 3
    RECONCILE = 4
    QUOTE = 5


SEND_UNIT = "send"  # the one unit that may change something at the broker


@dataclass(frozen=True, slots=True)
class _Job:
    unit: str
    payload: dict[str, Any]
    urgency: Urgency
    future: Future[dict[str, Any]] = field(default_factory=Future)

    def is_reading(self) -> bool:
        """Tell whether it changes nothing, and is less urgent than a close or cancel."""
        return self.unit != SEND_UNIT and self.urgency > Urgency.CLOSE


class Busy(Exception):
    """No place in the queue, or the gateway is stopping; nothing was called."""


class Late(Exception):
    """The caller's time is up. `has_started` tells whether the terminal may have been called."""

    def __init__(self, *, has_started: bool) -> None:
        super().__init__("the deadline has passed")
        self.has_started = has_started


class Worker:
    """Runs named units of plain data one after the other, the urgent first. A caller waits no longer than its deadline.

    Takes: `units`, the functions by name, of which `beat` runs when nothing else does; `stop`, called last, in the
    worker's own thread.
    """

    def __init__(self, units: dict[str, Callable[..., dict[str, Any]]], *, stop: Callable[[], None]) -> None:
        self._units = units
        self._stop = stop
        self._queue: queue.PriorityQueue[tuple[Urgency, int, _Job | None]] = queue.PriorityQueue(QUEUE_MAX)
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._loop, name="terminal", daemon=True)
        self._busy_since: float | None = None
        self._in_hand: _Job | None = None
        self._turn = threading.Lock()  # held while a unit begins or ends: whoever has it knows which one is in hand
        self._closes_alone_until = 0.0
        self._is_closing = False
        self._beat_s = FIRST_BEAT_S
        self._thread.start()

    def run(
        self, unit: str, payload: dict[str, Any], *, timeout_s: float, urgency: Urgency = Urgency.QUOTE
    ) -> dict[str, Any]:
        """Run the unit and return its answer. Raises: Busy, Late, and whatever the unit raises."""
        if self._is_closing or not self._thread.is_alive():
            raise Busy("the gateway is stopping")
        if urgency > Urgency.SEND and time.monotonic() < self._closes_alone_until:
            raise Busy("closes and cancels go first: a reading that lasted was ended for them")
        job = _Job(unit, payload, urgency)
        try:
            self._queue.put_nowait((urgency, next(self._numbers), job))
        except queue.Full as exc:
            raise Busy("too many callers are waiting for the terminal") from exc
        try:
            return job.future.result(timeout=timeout_s)
        except CancelledError as exc:
            raise Late(has_started=False) from exc
        except TimeoutError as exc:
            # A unit that has not begun never will: its caller is gone.
            raise Late(has_started=not job.future.cancel()) from exc

    def busy_s(self) -> float:
        """Return for how long the current unit has been running, 0 when idle."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def restart_watch(self) -> None:
        """Measure the current unit from now on: it has just been ended by force."""
        if self._busy_since is not None:
            self._busy_since = time.monotonic()

    def give_way(self, end: Callable[[], None], *, reading_s: float, any_s: float) -> bool:
        """End what lasts for too long while a close or cancel waits, and tell whether that was done.

        Takes: `end`, which ends by force what is in hand: no unit begins or ends meanwhile, so it never hits what
        waits. For how long a reading, and anything else, may last then.
        """
        with self._turn:
            job = self._in_hand
            if job is None or self.busy_s() <= (reading_s if job.is_reading() else any_s) or not self._has_close():
                return False
            end()
            self.restart_watch()
            if job.is_reading():
                self._closes_alone_until = time.monotonic() + CLOSES_ALONE_S
            return True

    def _has_close(self) -> bool:
        with self._queue.mutex:
            waiting = [job for urgency, _, job in self._queue.queue if urgency is Urgency.CLOSE]
        return any(job is not None and not job.future.cancelled() for job in waiting)

    def waiting(self) -> int:
        """Count the units in the queue."""
        return self._queue.qsize()

    def is_alive(self) -> bool:
        """Tell whether the thread still runs."""
        return self._thread.is_alive()

    def close(self, *, timeout_s: float) -> bool:
        """Let the current unit end, then stop; tell whether that worked in time."""
        self._is_closing = True
        self._cancel_waiting()
        self._queue.put((Urgency.STOP, next(self._numbers), None))
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _cancel_waiting(self) -> None:
        while True:
            try:
                _, _, job = self._queue.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                job.future.cancel()

    def _loop(self) -> None:
        while (job := self._next()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            with self._turn:
                self._busy_since, self._in_hand = time.monotonic(), job
            try:
                job.future.set_result(self._units[job.unit](**job.payload))
            except Exception as exc:  # noqa: BLE001 - it belongs to the caller who waits; this thread must go on
                job.future.set_exception(exc)
            finally:
                with self._turn:
                    self._busy_since = self._in_hand = None
        self._stop()
        logs.write("gateway.worker.stopped")

    def _next(self) -> _Job | None:
        try:
            return self._queue.get(timeout=self._beat_s)[2]
        except queue.Empty:
            beat = _Job("beat", {}, Urgency.QUOTE)
            beat.future.add_done_callback(self._note_beat)
            return beat

    def _note_beat(self, future: Future[dict[str, Any]]) -> None:
        """Take from a beat how soon the next one should come."""
        self._beat_s = HEARTBEAT_S if future.exception() else future.result().get("again_s", HEARTBEAT_S)
