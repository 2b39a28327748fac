"""Evidence for one order that just passes every check: tests change one fact at a time."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from risk.states import LimitKind, LimitScope, StopLevel
from risk.types import (
    Access,
    Check,
    Evidence,
    Exposure,
    Freshness,
    Limit,
    Market,
    Policy,
    Shape,
    Stop,
    Usage,
)

LIMITS = {
    LimitKind.DAILY_LOSS: "1000", LimitKind.DAILY_VALUE: "10000000", LimitKind.DAILY_QUANTITY: "1000",
    LimitKind.ORDERS_PER_DAY: "1000", LimitKind.ORDERS_PER_HOUR: "100", LimitKind.ORDERS_PER_SECOND: "10",
    LimitKind.POSITION_SIZE: "10000", LimitKind.POSITION_COUNT: "200", LimitKind.ORDER_QUANTITY_MAX: "50",
    LimitKind.TRADE_VALUE_MAX: "1000000", LimitKind.TRADE_VALUE_MIN: "0.01", LimitKind.PRICE_COLLAR: "0.005",
}  # fmt: skip

PASSING = Evidence(
    access=Access(user_is_active=True, may_trade=True, account_is_usable=True, account_is_live=False),
    stop=Stop(StopLevel.ACTIVE, "SYSTEM", "Installed."),
    freshness=Freshness("", "", Decimal("0.2"), Decimal(5), ""),
    shape=Shape("", "", "", instrument_is_tradable=True, entry_fault="", stops_fault=""),
    market=Market("", "bid 1.08490, ask 1.08500", Decimal("0.001"), ""),
    exposure=Exposure(
        order_quantity=Decimal("0.1"), venue_quantity_max=Decimal(100), order_value=Decimal("10852.20"),
        order_risk=Decimal("58.30"), position_order=Decimal(10000), position_now=Decimal(0), positions_now=Decimal(0),
        loss_today=Decimal(0), open_risk=Decimal(0), reserved=Decimal(0), margin_required=Decimal("108.53"),
        margin_working=Decimal(0), margin_free=Decimal(100_000), venue_one_way_max=Decimal(1000),
    ),
    usage=Usage(
        orders_today=Decimal(0), orders_this_hour=Decimal(0), orders_last_second=Decimal(0),
        quantity_today=Decimal(0), value_today=Decimal(0), twins=Decimal(0), failures=0, failed_ago_s=None, burst=0,
        opposites=0, past_orders=0, past_value=Decimal(0),
    ),
    limits={kind: Limit(kind, Decimal(value), LimitScope.PLATFORM) for kind, value in LIMITS.items()},
    policy=Policy(
        snapshot_age_max_s=Decimal(10), sight_age_max_s=Decimal(180), duplicate_window_s=0,
        margin_buffer=Decimal("0.1"), cooldown_s=300, cooldown_failures=3, burst_orders=20, burst_window_s=10,
        opposite_window_s=5, unusual_size_factor=Decimal(10), unusual_size_orders=10, network_value=Decimal(50_000),
        reviewed=frozenset(),
    ),
)  # fmt: skip


def evidence(**changes: Any) -> Evidence:
    """Return the passing evidence with some facts changed. Takes: `part__fact=value`, or `is_reducing`, or `limits`."""
    changed = PASSING
    for name, value in changes.items():
        part, _, fact = name.partition("__")
        if not fact:
            changed = replace(changed, **{part: value})
        else:
            changed = replace(changed, **{part: replace(getattr(changed, part), **{fact: value})})
    return changed


def check_of(checks: tuple[Check, ...], name: str) -> Check:
    """Return the check of a name."""
    return next(check for check in checks if check.name == name)
