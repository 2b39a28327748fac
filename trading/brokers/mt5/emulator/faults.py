"""Plan what breaks: which call, when, how often; and remember every break."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.quotes import splitmix64

ANY = "*"
SEND = "order_send"
MILLION = 1_000_000
WIRE = ("wire_send", "wire_read")  # requests to the gateway: orders, and everything else
HISTORY = ("history_deals_get", "history_orders_get")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fault may break (`functions`, the first is the default), and its parameters with their defaults."""

    functions: tuple[str, ...] = (SEND,)
    params: Mapping[str, object] = field(default_factory=dict)


def _scenery(**params: object) -> Kind:
    return Kind((ANY,), params)


EVERYWHERE = (SEND, ANY)
ON = ("order", "deal", "position")
KINDS: dict[str, Kind] = {
    # the answer is lost, late or a lie
    "timeout_before_accept": Kind(params={"retcode": 0, "delay": 0}),
    "timeout_after_accept": Kind(params={"retcode": 0, "delay": 0}),
    "accept_late": Kind(params={"seconds": 5, "retcode": mt5.TRADE_RETCODE_TIMEOUT}),
    "none_result": Kind(EVERYWHERE, {"code": mt5.RES_E_FAIL, "executed": False}),
    "none_success": Kind(EVERYWHERE, {"code": mt5.RES_S_OK, "executed": False}),
    "retcode": Kind(params={"retcode": mt5.TRADE_RETCODE_REJECT, "executed": False}),
    "requote": Kind(params={"retcode": mt5.TRADE_RETCODE_REQUOTE}),
    "price_changed": Kind(params={"retcode": mt5.TRADE_RETCODE_PRICE_CHANGED}),
    "off_quotes": Kind(params={"retcode": mt5.TRADE_RETCODE_PRICE_OFF}),
    "locked": Kind(params={"retcode": mt5.TRADE_RETCODE_LOCKED}),
    "too_many": Kind(params={"retcode": mt5.TRADE_RETCODE_TOO_MANY_REQUESTS}),
    "hang": Kind(EVERYWHERE, {"seconds": 0}),
    "pipe_cut": Kind(EVERYWHERE, {"point": "during", "executed": True}),
    "crash": Kind(params={"point": "after_commit", "seconds": 0.05}),
    # the execution is not what was asked for
    "duplicate_deal": Kind(),
    "partial": Kind(params={"levels": 1, "volume": "0.01"}),
    "no_liquidity": Kind(),
    "stops_dropped": Kind(),
    "comment_drop": Kind(params={"on": ON}),
    "comment_replace": Kind(params={"on": ON, "text": "broker"}),
    "comment_truncate": Kind(params={"on": ON, "length": 8}),
    "magic_zero": Kind(params={"on": ON}),
    # what happened shows late, never or twice
    "orders_delay": Kind(params={"seconds": 0}),
    "positions_delay": Kind(params={"seconds": 0}),
    "history_delay": Kind(params={"seconds": 0}),
    "history_none": Kind(),
    "repeat_history": Kind(HISTORY, {"old": 0}),
    # the terminal
    "server_disconnect": _scenery(seconds=0),
    "terminal_restart": _scenery(seconds=0),
    "terminal_update": _scenery(seconds=60),
    "wrong_terminal": _scenery(account=0),
    "relogin": _scenery(account=0),
    "algo_off": _scenery(seconds=0),
    "api_off": _scenery(seconds=0),
    "investor": _scenery(seconds=0),
    "frozen_tick": _scenery(target="", seconds=0),
    # the market and the server
    "close_only": _scenery(target="", seconds=0),
    "market_close": _scenery(target="", seconds=0),
    "gap": _scenery(target="", ticks=0),
    "spread": _scenery(target="", ticks=0),
    "clock_jump": _scenery(seconds=0),
    "dst_switch": _scenery(hours=1),
    # the wire between gateway and client
    "bridge_drop": Kind(WIRE, {"point": "request"}),
    "bridge_slow": Kind(WIRE, {"seconds": 0}),
    "bridge_dup_request": Kind(WIRE, {"seconds": 0}),
}
POINTS = {
    "pipe_cut": ("before", "during", "after"),
    "crash": ("before_commit", "after_commit", "after_reply"),
    "bridge_drop": ("request", "response", "middle"),
}
# A fault that would do nothing without this is a mistake, and not planned.
NEEDED = {
    "gap": "ticks", "spread": "ticks", "clock_jump": "seconds", "dst_switch": "hours", "bridge_slow": "seconds",
}  # fmt: skip
SCENERY = frozenset(name for name, kind in KINDS.items() if kind.functions == (ANY,))


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault: it fires on the nth matching call and on those after it, `times` in all (None: always).

    Of the calls that could fire it, `probability` (in millionths, None: all) do, by the dice of its own `seed`; and
    only calls from `since_us` on and before `until_us` match at all (0: no bound).
    """

    id: int
    name: str
    function: str = SEND
    login: int | None = None
    symbol: str | None = None
    magic: int | None = None
    nth: int = 1
    times: int | None = 1
    seen: int = 0
    fired: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    probability: int | None = None
    seed: int = 1
    since_us: int = 0
    until_us: int = 0

    def matches(self, function: str, login: int, symbol: str, magic: int, now_us: int) -> bool:
        """Say whether a call is one of those meant."""
        wanted = ((self.login, login), (self.symbol, symbol), (self.magic, magic))
        is_time = self.since_us <= now_us and (not self.until_us or now_us < self.until_us)
        is_call = self.function == function or (self.function == ANY and function not in WIRE)
        return is_time and is_call and all(want is None or want == given for want, given in wanted)

    @property
    def is_spent(self) -> bool:
        """Say whether it has fired as often as it may."""
        return self.times is not None and self.fired >= self.times

    @property
    def is_lucky(self) -> bool:
        """Say whether its dice let the call that it saw last be hit."""
        if self.probability is None:
            return True
        return splitmix64(splitmix64(self.seed) ^ self.seen) % MILLION < self.probability


def plan(
    fault_id: int,
    name: str,
    *,
    function: str | None,
    nth: int,
    times: int | None,
    probability: float | None = None,
    seed: int = 1,
    window_us: tuple[int, int] = (0, 0),
    **rest: object,
) -> Fault:
    """Make a fault from a name and its parameters, or raise ValueError for one that this broker cannot do."""
    kind = KINDS.get(name)
    if kind is None or not (function is None or function in kind.functions or ANY in kind.functions):
        raise ValueError(f"no fault {name!r} for {function}")
    match = {key: rest.pop(key, None) for key in ("login", "symbol", "magic")}
    if unknown := rest.keys() - kind.params.keys():
        raise ValueError(f"{name} knows no {sorted(unknown)}")
    params = {**kind.params, **rest}
    if name in NEEDED and params[NEEDED[name]] == 0:
        raise ValueError(f"{name} does nothing without {NEEDED[name]}")
    if name in POINTS and params["point"] not in POINTS[name]:
        raise ValueError(f"the point of {name} is one of {', '.join(POINTS[name])}, not {params['point']}")
    if probability is not None and not 0 <= probability <= 1:
        raise ValueError("a probability lies between 0 and 1")
    return Fault(
        id=fault_id, name=name, function=function or kind.functions[0], nth=nth, times=times,
        params=params, probability=None if probability is None else round(probability * MILLION),
        seed=seed, since_us=window_us[0], until_us=window_us[1], **match,  # type: ignore[arg-type]
    )  # fmt: skip


class FaultPlan:
    """Hold the planned faults and their counters."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = {fault.id: fault for fault in faults}

    def look(self, function: str, login: int, symbol: str, magic: int, now_us: int) -> tuple[Fault | None, list[Fault]]:
        """Count a call against the plan: return the fault that fires, if any, and the faults whose counters moved.

        The counters here do not move: `take_over` moves them, once they are committed.
        """
        counted = [
            replace(fault, seen=fault.seen + 1)
            for fault in self.faults.values()
            if not fault.is_spent and fault.matches(function, login, symbol, magic, now_us)
        ]
        firing = next((fault for fault in counted if fault.seen >= fault.nth and fault.is_lucky), None)
        if firing is None:
            return None, counted
        fired = replace(firing, fired=firing.fired + 1)
        return fired, [fired if fault is firing else fault for fault in counted]

    def take_over(self, changed: list[Fault]) -> None:
        """Move the counters as they were committed."""
        self.faults.update({fault.id: fault for fault in changed})
