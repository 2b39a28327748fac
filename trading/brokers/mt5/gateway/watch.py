"""The watchdog: it stands outside the worker, sees a call that does not end, and ends it."""

import threading

from trading.brokers.mt5.gateway import logs
from trading.brokers.mt5.gateway.config import Watchdog
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.worker import Worker

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

    def close(self) -> None:
        """Stop looking."""
        self._is_over.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._is_over.wait(min(POLL_S, self._limits.stall_s / 4)):
            busy_s = self._worker.busy_s()
            if busy_s > self._limits.kill_s:
                self.kills += 1
                self._desk.meter.count("worker_kills_total")
                logs.write("gateway.worker.killed", busy_s=round(busy_s, 1), kills=self.kills)
                self._worker.restart_watch()
                self._desk.kill()
            elif busy_s > self._limits.stall_s and not self._has_alarmed:
                self._has_alarmed = True
                logs.write("gateway.worker.stalled", busy_s=round(busy_s, 1), level="critical")
            elif busy_s <= self._limits.stall_s:
                self._has_alarmed = False
