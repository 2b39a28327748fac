"""What a broker, its terminal and the way to them may do to the next requests, and still be believed afterwards."""

import random
from pathlib import Path
from typing import Any

from tests.chaos.books import Books

KIND = "broker"
# Left out is what takes people to clear up: lost magic numbers, a deal booked twice, another account's terminal.
LIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("timeout_before_accept", {}),
    ("timeout_after_accept", {}),
    ("accept_late", {"seconds": 3}),
    ("none_result", {"executed": False}),
    ("none_result", {"executed": True}),
    ("retcode", {}),
    ("requote", {}),
    ("locked", {}),
    ("hang", {"seconds": 5}),
    ("hang", {"seconds": 25}),
    ("pipe_cut", {"point": "before"}),
    ("pipe_cut", {"point": "during", "executed": False}),
    ("pipe_cut", {"point": "during", "executed": True}),
    ("pipe_cut", {"point": "after"}),
    ("crash", {"point": "before_commit"}),
    ("crash", {"point": "after_commit"}),
    ("crash", {"point": "after_reply"}),
    ("partial", {"volume": "0.01"}),
    ("stops_dropped", {}),
    ("orders_delay", {"seconds": 2}),
    ("positions_delay", {"seconds": 2}),
    ("history_delay", {"seconds": 2}),
    ("repeat_history", {"old": 5}),
    ("server_disconnect", {"seconds": 8}),
    ("terminal_restart", {"seconds": 5}),
    ("algo_off", {"seconds": 8}),
    ("bridge_drop", {"point": "request"}),
    ("bridge_drop", {"point": "response"}),
    ("bridge_drop", {"point": "middle"}),
    ("bridge_slow", {"seconds": 3}),
    ("bridge_dup_request", {"seconds": 1}),
)


def tell(folder: Path, *, chance: random.Random) -> str:
    """Plan one for the next request or the next few; return which, nothing when the broker's process is away."""
    name, more = chance.choice(LIES)
    times = chance.choice([1, 1, 3])
    try:
        Books.of(folder).inject(name, times=times, **more)
    except OSError:
        return ""
    return " ".join([name, *(f"{key}={value}" for key, value in more.items()), f"{times} times"])
