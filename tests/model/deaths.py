"""Where a process may end in the middle of an order, for a test that goes on living: nothing after it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from trading.services import fills, orders, transitions


class Died(BaseException):
    """The process ended here. No code of ours may catch it."""


def _die(*_: Any, **__: Any) -> Any:
    raise Died


# Where it ends: the function that it does not come back from, whether it has begun by then, and whether the request
# of the order had left us.
DEATHS: dict[str, tuple[Any, str, bool, bool]] = {
    "before it was stored": (orders, "_store", False, False),
    "stored, not committed": (orders, "_store", True, False),
    "committed, not sent": (orders, "send", False, False),
    "answered, not booked": (fills, "settle", False, True),
    "booked, not committed": (fills, "_book", True, True),
    "moved, not committed": (transitions, "move", True, True),
}


@contextmanager
def death(name: str) -> Iterator[None]:
    """Let the process die at a point within the block, and swallow its death."""
    owner, function, has_begun, _ = DEATHS[name]
    original = getattr(owner, function)

    def begin_and_die(*args: Any, **kwargs: Any) -> Any:
        original(*args, **kwargs)
        raise Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, function, begin_and_die if has_begun else _die)
        # Between two statements of one transaction: not where all is one statement.
        if owner in (fills, transitions) and has_begun:
            patch.setattr(fills, "_is_plain", lambda *_, **__: False)
        try:
            yield
        except Died:
            return
