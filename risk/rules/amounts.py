"""Checks of amounts: the size of the order, of positions, of the day, and the funds behind it.

Groups 7 to 10 of execution reference §5, with the arithmetic of §4.
"""

from decimal import Decimal

from nexus.core import money
from risk.rules import limits
from risk.rules.limits import at_least, at_most, plus
from risk.states import LimitKind, LimitScope
from risk.types import Check, Evidence, Limit, Reduction, Unknown

ONE = Decimal(1)


def quantity_max(e: Evidence) -> Check:
    """Hold the order's lots against the tighter of our limit and the venue's own maximum."""
    known = dict(e.limits)
    venue, ours = e.exposure.venue_quantity_max, e.limits.get(LimitKind.ORDER_QUANTITY_MAX)
    if venue is not None and (ours is None or venue < ours.value):
        known[LimitKind.ORDER_QUANTITY_MAX] = Limit(LimitKind.ORDER_QUANTITY_MAX, venue, LimitScope.INSTRUMENT)
    return at_most(known, LimitKind.ORDER_QUANTITY_MAX, used=None, asked=e.exposure.order_quantity)


def value_min(e: Evidence) -> Check:
    """Refuse an order too small to be meant."""
    reason = "TRADE_VALUE_BELOW_MINIMUM"
    return at_least(e.limits, LimitKind.TRADE_VALUE_MIN, asked=e.exposure.order_value, reason=reason)


def value_max(e: Evidence) -> Check:
    """Refuse an order too large to be meant."""
    return at_most(e.limits, LimitKind.TRADE_VALUE_MAX, used=None, asked=e.exposure.order_value)


def reduction(e: Evidence) -> Check:
    """Refuse what says that it reduces and would do more."""
    return Check("REDUCTION", e.shape.reduction_fault, passed=not e.shape.reduction_fault)


def position_size(e: Evidence) -> Check:
    """Count positions of the side and working orders as filled; a buy is never netted against a sell."""
    return at_most(e.limits, LimitKind.POSITION_SIZE, used=e.exposure.position_now, asked=e.exposure.position_order)


def one_way(e: Evidence) -> Check:
    """Hold what one account has and what waits on one side, with this order, against the venue's own maximum."""
    most, now, asked = e.exposure.venue_one_way_max, e.exposure.one_way_now, e.exposure.order_quantity
    if most is None:
        return Check("ONE_WAY_QUANTITY", "", passed=True, detail="the venue sets no limit")
    total = plus(now, asked)
    return Check(
        name="ONE_WAY_QUANTITY",
        reason=total.reason if isinstance(total, Unknown) else "ONE_WAY_QUANTITY_EXCEEDS_LIMIT",
        passed=isinstance(total, Decimal) and total <= most,
        limit=most,
        used=None if isinstance(now, Unknown) else now,
        asked=asked,
        unit="lots",
        scope=LimitScope.INSTRUMENT.value,
        detail=total.detail if isinstance(total, Unknown) else "",
    )


def position_count(e: Evidence) -> Check:
    """Count open positions and working orders: each may become one more."""
    return at_most(e.limits, LimitKind.POSITION_COUNT, used=e.exposure.positions_now, asked=ONE)


def bounded_loss(e: Evidence) -> Check:
    """Refuse an order whose loss has no bound: no stop-loss, and no assumed move configured."""
    risk = e.exposure.order_risk
    unknown = risk if isinstance(risk, Unknown) else Unknown("")
    return Check("BOUNDED_LOSS", unknown.reason, passed=not unknown.reason, detail=unknown.detail)


def daily_loss(e: Evidence) -> Check:
    """Admit iff loss today + open risk of all positions + reserved + this order's risk fits."""
    used = plus(e.exposure.loss_today, e.exposure.open_risk, e.exposure.reserved)
    check = at_most(e.limits, LimitKind.DAILY_LOSS, used=used, asked=e.exposure.order_risk)
    aside = e.exposure.aside
    if check.detail or isinstance(aside, Unknown) or not aside:
        return check
    words = f"{money.as_text(aside)} USD of what is used were lost, or may be, on accounts put aside."
    return check._replace(detail=words)


def daily_quantity(e: Evidence) -> Check:
    """Admit iff lots filled today + lots still working + this order's lots fit."""
    return at_most(e.limits, LimitKind.DAILY_QUANTITY, used=e.usage.quantity_today, asked=e.exposure.order_quantity)


def daily_value(e: Evidence) -> Check:
    """Admit iff value filled today + value still working + this order's value fits."""
    return at_most(e.limits, LimitKind.DAILY_VALUE, used=e.usage.value_today, asked=e.exposure.order_value)


def orders_per_day(e: Evidence) -> Check:
    """Count orders when they are admitted; canceling gives nothing back."""
    return at_most(e.limits, LimitKind.ORDERS_PER_DAY, used=e.usage.orders_today, asked=ONE)


def orders_per_hour(e: Evidence) -> Check:
    """Count orders of this hour of the database's clock, when they are admitted."""
    return at_most(e.limits, LimitKind.ORDERS_PER_HOUR, used=e.usage.orders_this_hour, asked=ONE)


def balance(e: Evidence) -> Check:
    """Hold a wallet-funded order against its wallet.

    Every account is funded at its broker so far, where `margin` is the check of funds; payments fills this port with
    the account's wallet when accounts of that kind can be made.
    """
    return Check("BALANCE", "COST_EXCEEDS_AVAILABLE_FUNDS", passed=True, detail="funded at the broker")


def margin(e: Evidence) -> Check:
    """Admit iff required + margin of working orders <= free margin · (1 − buffer)."""
    x = e.exposure
    unknown = next((f for f in (x.margin_required, x.margin_working, x.margin_free) if isinstance(f, Unknown)), None)
    if unknown or not (
        isinstance(x.margin_required, Decimal)
        and isinstance(x.margin_working, Decimal)
        and isinstance(x.margin_free, Decimal)
    ):
        missing = unknown or Unknown("MARGIN_UNKNOWN")
        return Check("MARGIN", missing.reason, passed=False, unit="USD", detail=missing.detail)
    most = x.margin_free * (ONE - e.policy.margin_buffer)
    return Check(
        name="MARGIN",
        reason="MARGIN_EXCEEDS_FREE",
        passed=x.margin_required + x.margin_working <= most,
        limit=most,
        used=x.margin_working,
        asked=x.margin_required,
        unit="USD",
        scope=LimitScope.ACCOUNT.value,
    )


def reduction_fault(reduction: Reduction, *, quantity: Decimal) -> str:
    """Return why an order does not verifiably reduce, or an empty text: Q <= volume − pending reductions of it."""
    if reduction.fault:
        return reduction.fault
    left = max(limits.ZERO, reduction.volume - reduction.pending)
    return "" if quantity <= left else "QUANTITY_EXCEEDS_POSITION"
