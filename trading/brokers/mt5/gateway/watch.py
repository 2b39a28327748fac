"""The watchdog: it stands outside the worker, sees a call that does not end, and ends it."""

import threading

from trading.brokers.mt5.gateway import logs
from trading.brokers.mt5.gateway.config import Watchdog
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.worker import Urgency, Worker

POLL_S = 0.1


class Watch:
    """Looks at the worker until it is closed."""

    def __init__(self, desk: Desk, worker: Worker, limits: Watchdog) -> None:
        self._desk = desk
        self._worker = worker
        self._limits = limits
        self._is_over = threading.Event()
        self._has_alarmed = False
        self.kills = 0
        self._thread = threading.Thread(target=self._loop, name="watchdog", daemon=True)
        self._thread.start()

    def is_stalled(self) -> bool:
        """Tell whether a call has been in flight for so long that nothing new may be sent."""
        return self._worker.busy_s() > self._limits.stall_s

    def holds_up(self, urgency: Urgency) -> bool:
        """Tell whether nothing so urgent may be sent now. A close or cancel may always: what lasts is ended for it."""
        return self.is_stalled() and urgency is not Urgency.CLOSE

    def close(self) -> None:
        """Stop looking."""
        self._is_over.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._is_over.wait(min(POLL_S, self._limits.give_way_s / 4)):
            busy_s = self._worker.busy_s()
            limits = self._limits
            is_read = self._desk.has_been_connected_for(limits.give_way_s)
            reading_s = limits.give_way_s if is_read else limits.stall_s
            if self._worker.give_way(self._desk.kill, reading_s=reading_s, any_s=limits.stall_s):
                self._note_kill(busy_s, reason="a close or cancel waited behind it")
            elif busy_s > self._limits.kill_s:
                self._note_kill(busy_s, reason="a call does not end")
                self._worker.restart_watch()
                self._desk.kill()
            elif busy_s > self._limits.stall_s and not self._has_alarmed:
                self._has_alarmed = True
                logs.write("gateway.worker.stalled", busy_s=round(busy_s, 1), level="critical")
            elif busy_s <= self._limits.stall_s:
                self._has_alarmed = False

    def _note_kill(self, busy_s: float, *, reason: str) -> None:
        self.kills += 1
        self._desk.meter.count("worker_kills_total")
        logs.write("gateway.worker.killed", busy_s=round(busy_s, 1), kills=self.kills, reason=reason)
