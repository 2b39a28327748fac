"""How many requests of a process may wait for brokers at once: those that hang leave threads for everything else.

Orders come through the same few threads of the web server as stops, pages and readings of our own books do. While many
brokers hang, each order waits for its whole deadline, and a stop would wait behind all of them. Only what somebody
waits for is counted (`base.answering`): a worker has threads of its own.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nexus.core.errors import Unreachable
from trading.brokers import base

SLOW_S = 2.0  # who has waited for so long may wait for one that hangs: in a wild market, an answer takes a second
POLL_S = 0.05

_began: dict[int, float] = {}  # when each wait began, by this process's steady clock
_free = threading.Condition()
_numbers = itertools.count()


@contextmanager
def reading() -> Iterator[None]:
    """Count one reading at a broker. Where no more may wait, it waits for its turn; what takes risk away has one place
    more. Raises: Unreachable at once when half of those that wait are slow, and when no time is left.
    """
    most = base.at_once()
    if most is None:
        yield
        return
    with _free:
        while len(_began) >= most + base.is_patient():
            if 2 * _slow() >= most:
                raise Unreachable("too many requests wait for brokers that do not answer")
            _free.wait(min(POLL_S, base.time_left(POLL_S)))
        number = _enter()
    try:
        yield
    finally:
        _leave(number)


@contextmanager
def sending() -> Iterator[None]:
    """Count what is sent, and never hold it up: it was admitted, and its reading has waited for its turn."""
    if base.at_once() is None:
        yield
        return
    with _free:
        number = _enter()
    try:
        yield
    finally:
        _leave(number)


def _enter() -> int:
    number = next(_numbers)
    _began[number] = time.monotonic()
    return number


def _leave(number: int) -> None:
    with _free:
        del _began[number]
        _free.notify()


def _slow() -> int:
    since = time.monotonic() - SLOW_S
    return sum(began < since for began in _began.values())
