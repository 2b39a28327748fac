"""The rounds in which lost orders and changes are asked about, as the clock deals them out."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from trading.services import facts, resolution


def rounds(monkeypatch: pytest.MonkeyPatch, due: Callable[[], list[int]]) -> list[list[int]]:
    """Return what is due in each of as many rounds as an account whose broker does not answer has to wait for its turn.

    They begin at the database's clock as it is now: what the time does in between says nothing.
    """
    began, found = facts.database_clock(), []
    for number in range(resolution.TURNS):
        with monkeypatch.context() as later:
            clock = began + timedelta(seconds=number * resolution.ROUND_S)
            later.setattr(facts, "database_clock", lambda clock=clock: clock)
            found.append(due())
    return found
