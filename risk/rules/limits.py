"""Limits: which of several is in force, and how usage is held against one."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from risk.states import LimitKind
from risk.types import Check, Figure, Limit, Unknown

ZERO = Decimal(0)
Limits = Mapping[LimitKind, Limit]
UNITS = {
    LimitKind.DAILY_LOSS: "USD",
    LimitKind.DAILY_VALUE: "USD",
    LimitKind.DAILY_QUANTITY: "lots",
    LimitKind.ORDERS_PER_DAY: "orders",
    LimitKind.ORDERS_PER_HOUR: "orders",
    LimitKind.ORDERS_PER_SECOND: "requests",
    LimitKind.POSITION_SIZE: "base units",
    LimitKind.POSITION_COUNT: "positions",
    LimitKind.ORDER_QUANTITY_MAX: "lots",
    LimitKind.TRADE_VALUE_MAX: "USD",
    LimitKind.TRADE_VALUE_MIN: "USD",
    LimitKind.PRICE_COLLAR: "of the price",
}


def is_tighter(kind: LimitKind, value: Decimal, *, than: Decimal) -> bool:
    """Tell whether a value leaves less room: the lower one, but the higher one of a minimum."""
    return value > than if kind is LimitKind.TRADE_VALUE_MIN else value < than


def tightest(limits: Iterable[Limit]) -> Limits:
    """Return the limit in force of each kind: the lowest, but the highest of a minimum. A kind nobody set is absent."""
    chosen: dict[LimitKind, Limit] = {}
    for limit in limits:
        best = chosen.get(limit.kind)
        if best is None or is_tighter(limit.kind, limit.value, than=best.value):
            chosen[limit.kind] = limit
    return chosen


def at_most(limits: Limits, kind: LimitKind, *, used: Figure | None, asked: Figure) -> Check:
    """Hold used + asked against the limit. A limit that nobody set refuses, and so does a figure nobody knows.

    Takes: no `used` for a limit that each order has to itself.
    """
    limit, name = limits.get(kind), kind.value
    total = asked if used is None else plus(used, asked)
    if limit is None:
        reason = f"{name}_NOT_SET"
    else:
        reason = total.reason if isinstance(total, Unknown) else f"{name}_EXCEEDS_LIMIT"
    return Check(
        name=name,
        reason=reason,
        passed=limit is not None and isinstance(total, Decimal) and total <= limit.value,
        limit=None if limit is None else limit.value,
        used=used if isinstance(used, Decimal) else None,
        asked=asked if isinstance(asked, Decimal) else None,
        unit=UNITS[kind],
        scope="" if limit is None else limit.scope.value,
        detail=total.detail if isinstance(total, Unknown) else "",
    )


def at_least(limits: Limits, kind: LimitKind, *, asked: Figure, reason: str) -> Check:
    """Hold what is asked against a minimum."""
    limit = limits.get(kind)
    if limit is None:
        reason = f"{kind.value}_NOT_SET"
    elif isinstance(asked, Unknown):
        reason = asked.reason
    return Check(
        name=kind.value,
        reason=reason,
        passed=limit is not None and isinstance(asked, Decimal) and asked >= limit.value,
        limit=None if limit is None else limit.value,
        asked=None if isinstance(asked, Unknown) else asked,
        unit=UNITS[kind],
        scope="" if limit is None else limit.scope.value,
        detail=asked.detail if isinstance(asked, Unknown) else "",
    )


def plus(*figures: Figure) -> Figure:
    """Add figures up; one that nobody knows makes the sum unknown."""
    total = ZERO
    for figure in figures:
        if isinstance(figure, Unknown):
            return figure
        total += figure
    return total
