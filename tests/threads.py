"""Run the same thing many times at the same instant."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

T = TypeVar("T")


def together(count: int, act: Callable[[int], T]) -> list[T]:
    """Call `act(0)` … `act(count - 1)` in threads that start together; return the answers in that order.

    Each thread opens its connection before the barrier and closes it after.
    """
    barrier = threading.Barrier(count, timeout=30)

    def run(number: int) -> T:
        connections["default"].ensure_connection()
        try:
            barrier.wait()
            return act(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=count) as pool:
        return list(pool.map(run, range(count)))
