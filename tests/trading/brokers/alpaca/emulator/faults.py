"""How the venue, or the way to it, misbehaves: one fault at a time, for the requests that it is meant for."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

NAMES = {
    "refuse": "the API refuses in its own words: status, code, message, headers; `executed` when it lies",
    "answer": "something answers in nobody's words: status, body; `executed` when the request was carried out first",
    "drop": "the connection ends without an answer; `executed` or not",
    "cut": "the connection ends in the middle of the answer, after the request was carried out",
    "slow": "the answer comes after `seconds`; `executed` tells when: before waiting, after it, or never",
    "duplicate_fills": "each execution is told twice",
    "partial": "a part of `share` fills, and the rest waits",
    "fills_late": "executions are told `seconds` after they happened; the order is not",
    "search_lags": "a new order is in no listing, and not found by its name, for `seconds`",
    "name_lags": "a new order is listed, but not found by its name, for `seconds`",
    "halt": "the symbol is halted: orders are taken in, nothing fills",
    "fill_on_cancel": "the order fills just before it is canceled",
    "no_buying_power": "there is no buying power",
    "blocked": "the account is restricted",
    "closed": "the market is closed",
    "gap": "the market jumps before the order comes",
    "unlisted": "the symbol is not traded any more",
}


@dataclass
class Fault:
    """One fault as it is injected. `times` is how many requests of its method it meets."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)
    method: str = "POST"
    times: int = 1

    def __post_init__(self) -> None:
        assert self.name in NAMES, self.name


class Faults:
    """What is wrong now."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []
        self._lock = threading.Lock()
        self._began: dict[int, float] = {}

    def plan(self, fault: Fault) -> None:
        with self._lock:
            self._planned.append(fault)
            self._began[id(fault)] = time.monotonic()

    def heal(self) -> None:
        with self._lock:
            self._planned.clear()

    def lasting(self, name: str) -> dict[str, Any] | None:
        """Return the parameters of a fault that lasts until it is healed, or None."""
        with self._lock:
            return next((fault.params for fault in self._planned if fault.name == name), None)

    def take(self, method: str) -> Fault | None:
        """Return the fault that meets this request, if any, and count it."""
        wanted = {"refuse", "answer", "drop", "cut", "slow"}
        with self._lock:
            for fault in self._planned:
                if fault.name in wanted and fault.method == method and fault.times:
                    fault.times -= 1
                    return fault
        return None
