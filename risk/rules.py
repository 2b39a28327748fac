"""Judgement: pure arithmetic over facts, with no I/O at all."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from risk.states import LimitKind, StopLevel
from risk.types import Check, Exposure, Limit, Verdict


def tightest(limits: Iterable[Limit]) -> dict[LimitKind, Limit]:
    """Return the limit in force of each kind: the lowest, but the highest of a minimum. A kind nobody set is absent."""
    chosen: dict[LimitKind, Limit] = {}
    for limit in limits:
        best = chosen.get(limit.kind)
        is_minimum = limit.kind is LimitKind.TRADE_VALUE_MIN
        if best is None or (limit.value > best.value if is_minimum else limit.value < best.value):
            chosen[limit.kind] = limit
    return chosen


def judge(limits: Mapping[LimitKind, Limit], *, exposure: Exposure) -> Verdict:
    """Judge an order against every limit; a limit that nobody set refuses.

    Source: execution reference §4 (daily loss, position size) and §5 (order of the checks).
    """
    e = exposure
    return Verdict(
        (
            _at_least(limits, LimitKind.TRADE_VALUE_MIN, asked=e.order_value),
            _at_most(limits, LimitKind.TRADE_VALUE_MAX, used=Decimal(0), asked=e.order_value, unit="USD"),
            _at_most(limits, LimitKind.POSITION_SIZE, used=e.position_now, asked=e.position_order, unit="base units"),
            _at_most(
                limits, LimitKind.DAILY_LOSS,
                used=e.loss_today + e.open_risk + e.reserved, asked=e.order_risk, unit="USD",
            ),
        )
    )  # fmt: skip


def judge_control(level: StopLevel, *, scope: str, reason: str) -> Check:
    """Judge the stop state: only ACTIVE admits new exposure."""
    return Check(
        name="TRADING_STATE",
        reason="TRADING_HALTED" if level is StopLevel.HALTED else "TRADING_REDUCE_ONLY",
        passed=level is StopLevel.ACTIVE,
        scope=scope,
        detail=reason,
    )


def _at_most(limits: Mapping[LimitKind, Limit], kind: LimitKind, *, used: Decimal, asked: Decimal, unit: str) -> Check:
    limit = limits.get(kind)
    if limit is None:
        return _not_set(kind, asked=asked, unit=unit)
    return Check(
        name=kind.value,
        reason=f"{kind.value}_EXCEEDS_LIMIT",
        passed=used + asked <= limit.value,
        limit=limit.value,
        used=used,
        asked=asked,
        unit=unit,
        scope=limit.scope.value,
    )


def _at_least(limits: Mapping[LimitKind, Limit], kind: LimitKind, *, asked: Decimal) -> Check:
    limit = limits.get(kind)
    if limit is None:
        return _not_set(kind, asked=asked, unit="USD")
    return Check(
        name=kind.value,
        reason="TRADE_VALUE_BELOW_MINIMUM",
        passed=asked >= limit.value,
        limit=limit.value,
        asked=asked,
        unit="USD",
        scope=limit.scope.value,
    )


def _not_set(kind: LimitKind, *, asked: Decimal, unit: str) -> Check:
    return Check(name=kind.value, reason=f"{kind.value}_NOT_SET", passed=False, asked=asked, unit=unit)
