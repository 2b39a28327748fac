"""Break calls on purpose, as the plan says, and remember every break."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trading.brokers.mt5.emulator import constants as mt5

ANY_CALL = frozenset({"hang", "none_result"})
SEND_ONLY = frozenset({"timeout_before_accept", "timeout_after_accept", "retcode", "history_delay"})
PARAMETERS: dict[str, Mapping[str, object]] = {
    "timeout_before_accept": {"retcode": 0, "delay": 0},
    "timeout_after_accept": {"retcode": 0, "delay": 0},
    "none_result": {"code": mt5.RES_E_FAIL, "executed": False},
    "retcode": {"retcode": mt5.TRADE_RETCODE_REJECT, "executed": False},
    "hang": {"seconds": 0},
    "history_delay": {"seconds": 0},
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault: it fires on the nth matching call and on those after it, `times` in all (None: always)."""

    id: int
    name: str
    function: str = "order_send"
    login: int | None = None
    symbol: str | None = None
    magic: int | None = None
    nth: int = 1
    times: int | None = 1
    seen: int = 0
    fired: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)

    def matches(self, function: str, login: int, symbol: str, magic: int) -> bool:
        """Say whether a call is one of those meant."""
        wanted = ((self.login, login), (self.symbol, symbol), (self.magic, magic))
        return self.function == function and all(want is None or want == given for want, given in wanted)

    @property
    def is_spent(self) -> bool:
        """Say whether it has fired as often as it may."""
        return self.times is not None and self.fired >= self.times


def plan(fault_id: int, name: str, *, function: str, nth: int, times: int | None, **rest: object) -> Fault:
    """Make a fault from a name and its parameters, or raise ValueError for one that this broker cannot do."""
    if name not in PARAMETERS or (function != "order_send" and name not in ANY_CALL):
        raise ValueError(f"no fault {name!r} for {function}")
    match = {key: rest.pop(key, None) for key in ("login", "symbol", "magic")}
    if unknown := rest.keys() - PARAMETERS[name].keys():
        raise ValueError(f"{name} knows no {sorted(unknown)}")
    params = {**PARAMETERS[name], **rest}
    return Fault(id=fault_id, name=name, function=function, nth=nth, times=times, params=params, **match)  # type: ignore[arg-type]


class FaultPlan:
    """Hold the planned faults and their counters."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = {fault.id: fault for fault in faults}

    def look(self, function: str, login: int, symbol: str, magic: int) -> tuple[Fault | None, list[Fault]]:
        """Count a call against the plan: return the fault that fires, if any, and the faults whose counters moved.

        The counters here do not move: `take_over` moves them, once they are committed.
        """
        counted = [
            replace(fault, seen=fault.seen + 1)
            for fault in self.faults.values()
            if not fault.is_spent and fault.matches(function, login, symbol, magic)
        ]
        firing = next((fault for fault in counted if fault.seen >= fault.nth), None)
        if firing is None:
            return None, counted
        fired = replace(firing, fired=firing.fired + 1)
        return fired, [fired if fault is firing else fault for fault in counted]

    def take_over(self, changed: list[Fault]) -> None:
        """Move the counters as they were committed."""
        self.faults.update({fault.id: fault for fault in changed})
