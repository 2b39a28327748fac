"""Many sweeps at once, each in a thread and with time of its own: a frozen gateway holds up nobody else's."""

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime

import structlog
from django.conf import settings
from django.db import connections

from trading.services import sweeping, sweeps

log = structlog.get_logger(__name__)

TURN_S = 3.0  # how long one call waits for its threads; what hangs goes on beside the next call

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_busy: dict[int, str] = {}  # the sweeps that a thread of this process is at, and their gateways


def run_due(*, at: datetime, turn_s: float = TURN_S) -> int:
    """Give every sweep that is due a thread, as far as there are any, and wait for them a while.

    Returns how many were begun. Each gateway has a share of the threads: one that hangs keeps no more than that.
    """
    begun = [_submit(sweep_id, at=at) for sweep_id in _take(sweeps.due())]
    done, hanging = wait(begun, timeout=turn_s)
    for each in done:
        if each.exception() is not None:
            log.error("trading.sweep.broken", error=repr(each.exception()))
    if hanging:
        log.warning("trading.sweep.slow", count=len(hanging))
    return len(begun)


def _take(due: list[tuple[int, str]]) -> list[int]:
    """Choose what there are threads for, and note it as taken."""
    taken = []
    with _lock:
        at_gateways = Counter(_busy.values())
        for sweep_id, gateway in due:
            is_full = at_gateways[gateway] >= settings.SWEEP_THREADS_A_GATEWAY
            if sweep_id in _busy or is_full or len(_busy) >= settings.SWEEP_THREADS:
                continue
            _busy[sweep_id] = gateway
            at_gateways[gateway] += 1
            taken.append(sweep_id)
    return taken


def _submit(sweep_id: int, *, at: datetime) -> Future[None]:
    global _pool  # noqa: PLW0603 - made in the process that uses it: threads do not survive a fork
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max_workers=settings.SWEEP_THREADS, thread_name_prefix="sweep")
    return _pool.submit(_run, sweep_id, at)


def _run(sweep_id: int, at: datetime) -> None:
    try:
        sweeping.run(sweep_id=sweep_id, at=at)
    finally:
        with _lock:
            del _busy[sweep_id]
        connections.close_all()
