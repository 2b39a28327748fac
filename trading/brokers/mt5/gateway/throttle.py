"""How long the account is left alone after its broker said that too much was asked of it."""

import math
import time
from collections.abc import Callable, Sequence

from trading.brokers.mt5.gateway.calls import Answer

TOO_MANY_REQUESTS = 10024
PAUSES_S = (1, 5, 30)  # after the first such answer in a row, the second, and every further one
CALM_S = 60  # after a pause: then the next one is the first of a row again


class Throttle:
    """The pauses of one account. Not safe to share between threads but for `left_s`: the worker's thread owns it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._clock, self._pauses_s = clock, pauses_s
        self._row = 0
        self._until = -math.inf

    def note(self, answer: Answer) -> float:
        """Take note of what the broker answered, and return how long nothing is to be sent now.

        No answer says nothing: only one that is another ends the row.
        """
        if answer.result is None:
            return self.left_s()
        if int(answer.result["retcode"]) != TOO_MANY_REQUESTS:
            self._row = 0
            return self.left_s()
        now = self._clock()
        if now - self._until > CALM_S:
            self._row = 0
        self._row = min(self._row + 1, len(self._pauses_s))
        self._until = max(self._until, now + self._pauses_s[self._row - 1])
        return self.left_s()

    def left_s(self) -> float:
        """Return how long nothing is to be sent, 0 when it may be."""
        return round(max(0.0, self._until - self._clock()), 3)
