"""Change what a request does, as a fault says: less liquidity, other comments, lost stops. The books stay true."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator.books import Plan
from trading.brokers.mt5.emulator.faults import Fault
from trading.brokers.mt5.emulator.liquidity import Depth
from trading.brokers.mt5.emulator.records import Deal, Order, Position, WorkingOrder

R = TypeVar("R", Order, WorkingOrder, Deal, Position)
Change = Callable[[str], str]


def depth(fault: Fault | None) -> Depth | None:
    """Return the liquidity that a fault leaves, None for the tick's own."""
    if fault is not None and fault.name == "partial":
        return Depth(amounts.units(fault.params["volume"]), fault.params["levels"])
    return Depth(0) if fault is not None and fault.name == "no_liquidity" else None


def plan(fault: Fault | None, plan: Plan) -> Plan:
    """Return what a fault makes of a plan."""
    if fault is None:
        return plan
    if fault.name == "stops_dropped":
        return replace(plan, kept=tuple(replace(each, sl=0, tp=0) for each in plan.kept))
    changed = _change(fault)
    if not changed:
        return plan
    on = fault.params["on"]
    return replace(
        plan,
        order=_with(plan.order, changed) if plan.order and "order" in on else plan.order,
        working=_with(plan.working, changed) if plan.working and "order" in on else plan.working,
        deals=tuple(_with(each, changed) for each in plan.deals) if "deal" in on else plan.deals,
        kept=tuple(_with(each, changed) for each in plan.kept) if "position" in on else plan.kept,
    )


def _change(fault: Fault) -> Mapping[str, Callable[[Any], object]]:
    """Return what becomes of the fields of a row."""
    if fault.name == "comment_drop":
        return {"comment": lambda _: ""}
    if fault.name == "comment_replace":
        return {"comment": lambda _: fault.params["text"]}
    if fault.name == "comment_truncate":
        return {"comment": lambda text: text[: fault.params["length"]]}
    return {"magic": lambda _: 0} if fault.name == "magic_zero" else {}


def _with(row: R, changes: Mapping[str, Callable[[Any], object]]) -> R:
    values: Any = {name: change(getattr(row, name)) for name, change in changes.items()}
    return replace(row, **values)
