"""How long the account is left alone after its broker said that too much was asked of it.

What takes risk away is tried in a pause too, once for each position and order: an emergency stop must not wait for a
broker that may have had time enough. Refused again, it waits like all else.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from trading.brokers.mt5.gateway.calls import Answer

Target: TypeAlias = tuple[str, int]  # what a close or a cancel is about: "position" or "order", and its ticket

TOO_MANY_REQUESTS = 10024
PAUSES_S = (1, 5, 30)  # after the first such answer in a row, the second, and every further one
CALM_S = 60  # after a pause: then the next one is the first of a row again


class Throttle:
    """The pauses of one account. Not safe to share between threads but for `left_s`: the worker's thread owns it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._clock, self._pauses_s = clock, pauses_s
        self._row = 0
        self._until = -math.inf
        self._tried: set[Target] = set()  # what was refused in this pause, or has begun it

    def may_send(self, target: Target | None = None) -> bool:
        """Tell whether a request may leave now; in a pause, only one that was not tried in it. None takes no part."""
        return not self.left_s() or (target is not None and target not in self._tried)

    def note(self, answer: Answer, target: Target | None = None) -> float:
        """Take note of what the broker answered, and return how long nothing is to be sent now.

        No answer says nothing: only one that is another ends the row. What was tried in a pause and refused begins
        that pause anew and makes none longer.
        """
        if answer.result is None:
            return self.left_s()
        if int(answer.result["retcode"]) != TOO_MANY_REQUESTS:
            self._row = 0
            return self.left_s()
        now = self._clock()
        if now - self._until > CALM_S:
            self._row = 0
        if not self.left_s():
            self._tried.clear()
            self._row = min(self._row + 1, len(self._pauses_s))
        if target is not None:
            self._tried.add(target)
        self._row = max(self._row, 1)
        self._until = max(self._until, now + self._pauses_s[self._row - 1])
        return self.left_s()

    @property
    def row(self) -> int:
        """Return how many answers in a row have asked for fewer requests, as far as it matters."""
        return self._row

    def resume(self, row: int, *, left_s: float) -> None:
        """Go on with what another gateway before this one was asked for; a pause that is long over is none."""
        if row and left_s > -CALM_S:
            self._row = min(row, len(self._pauses_s))
            self._until = self._clock() + min(left_s, self._pauses_s[-1])

    def left_s(self) -> float:
        """Return how long nothing is to be sent, 0 when it may be."""
        return round(max(0.0, self._until - self._clock()), 3)
