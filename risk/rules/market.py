"""Checks of who asks, whether trading is on, how fresh the facts are, and what the order and its quote look like.

Groups 1 to 6 of execution reference §5.
"""

from decimal import Decimal

from risk.rules import limits
from risk.states import LimitKind, StopLevel
from risk.types import Check, Evidence, Figure, Unknown


def user_active(e: Evidence) -> Check:
    """Refuse a user who is switched off."""
    return Check("USER_ACTIVE", "USER_NOT_ACTIVE", passed=e.access.user_is_active)


def permission(e: Evidence) -> Check:
    """Refuse whoever may not trade; a reducing order may also come from an operator who closes."""
    return Check("PERMISSION", "ROLE_MAY_NOT_TRADE", passed=e.access.may_trade or e.is_reducing)


def account(e: Evidence) -> Check:
    """Refuse an account that is somebody else's, or put aside."""
    return Check("ACCOUNT", "ACCOUNT_NOT_USABLE", passed=e.access.account_is_usable)


def step_up(e: Evidence) -> Check:
    """Ask for the second factor where real money is. Paper passes; so does taking risk away."""
    needed = e.access.account_is_live and not e.is_reducing
    return Check("STEP_UP", "STEP_UP_REQUIRED", passed=not needed or e.access.stepped_up)


def armed(e: Evidence) -> Check:
    """Refuse new exposure with real money while the account is not armed; taking risk away passes."""
    needed = e.access.account_is_live and not e.is_reducing
    return Check("ARMED", "LIVE_NOT_ARMED", passed=not needed or e.access.is_armed)


def stop_state(e: Evidence) -> Check:
    """Judge the stop: only ACTIVE admits new exposure, REDUCE_ONLY what verifiably reduces, HALTED its own sweep."""
    most = StopLevel.HALTED if e.stop.is_sweep else StopLevel.REDUCE_ONLY
    allowed = most if e.is_reducing else StopLevel.ACTIVE
    return Check(
        name="TRADING_STATE",
        reason="TRADING_HALTED" if e.stop.level is StopLevel.HALTED else "TRADING_REDUCE_ONLY",
        passed=e.stop.level <= allowed,
        scope=e.stop.scope,
        detail=e.stop.reason,
    )


def broker_link(e: Evidence) -> Check:
    """Refuse while any of the user's brokers cannot be read: its losses would be invisible."""
    fault = e.freshness.broker_fault
    return Check("BROKER_LINK", fault, passed=not fault, detail=e.freshness.broker_detail[:200])


def snapshot_age(e: Evidence) -> Check:
    """Refuse figures that were read too long ago."""
    return _age(
        "SNAPSHOT_AGE", "SNAPSHOT_STALE", age=e.freshness.snapshot_age_s, age_max=e.policy.snapshot_age_max_s
    )  # fmt: skip


def sight_age(e: Evidence) -> Check:
    """Refuse new exposure on an account that nobody has looked at with success for too long."""
    return _age(
        "RECONCILIATION_AGE", "RECONCILIATION_STALE", age=e.freshness.sight_age_s, age_max=e.policy.sight_age_max_s
    )  # fmt: skip


def lost_orders(e: Evidence) -> Check:
    """Refuse while nobody knows whether an earlier order on the instrument arrived, or new stops of what this one
    would be netted with: set after it has filled, they would be its own.
    """
    lost = e.freshness.lost_orders
    return Check("UNKNOWN_ORDERS", "UNKNOWN_ORDER_ON_INSTRUMENT", passed=not lost, detail=lost[:200])


def symbol_format(e: Evidence) -> Check:
    """Refuse a name that is no symbol."""
    return Check("SYMBOL_FORMAT", e.shape.symbol_fault, passed=not e.shape.symbol_fault)


def amount(e: Evidence) -> Check:
    """Refuse a quantity that is not finite, not above zero, out of the instrument's bounds or off its step."""
    return Check("AMOUNT", e.shape.quantity_fault, passed=not e.shape.quantity_fault)


def price(e: Evidence) -> Check:
    """Refuse prices that are not finite, not above zero or off the tick."""
    return Check("PRICE", e.shape.price_fault, passed=not e.shape.price_fault)


def instrument(e: Evidence) -> Check:
    """Refuse to open in an instrument that cannot be traded now. What is held there may still be closed: most of them
    may only be closed, and of the others the broker says so itself.
    """
    return Check("INSTRUMENT", "INSTRUMENT_NOT_TRADABLE", passed=e.shape.instrument_is_tradable)


def entry(e: Evidence) -> Check:
    """Refuse a pending order that cannot wait where it wants to."""
    return Check("ENTRY", e.shape.entry_fault, passed=not e.shape.entry_fault, detail=e.market.quote_detail)


def stops(e: Evidence) -> Check:
    """Refuse stops on the wrong side of the market or too near to it."""
    return Check("STOPS", e.shape.stops_fault, passed=not e.shape.stops_fault, detail=e.market.quote_detail)


def duplicate(e: Evidence) -> Check:
    """Refuse the same account, instrument, side, quantity and price within the window.

    Two requests with one Idempotency-Key are one order long before this. The reference asks for this check where keys
    do not tell orders apart; here every order has a key of its own, and a second key says that a second order is meant.
    The window is therefore 0, which is off, until an operator widens it for clients that retry under a new key.
    """
    window = e.policy.duplicate_window_s
    return Check(
        "DUPLICATE",
        "DUPLICATE_ORDER",
        passed=window == 0 or e.usage.twins == 0,
        detail=f"within {window} s" if window else "off: every order has its own key",
    )


def quote(e: Evidence) -> Check:
    """Refuse a quote that cannot be trusted."""
    return Check("QUOTE", e.market.quote_fault, passed=not e.market.quote_fault, detail=e.market.quote_detail)


def plausible(e: Evidence) -> Check:
    """Refuse to open on a quote that what is set for the instrument calls an error. A band that was left behind by its
    market holds no close back.
    """
    fault = e.market.implausible
    return Check("PLAUSIBLE", fault, passed=not fault, detail=e.market.quote_detail)


def price_collar(e: Evidence) -> Check:
    """Refuse a price too far from the market; an instrument may have a tighter collar of its own."""
    check = limits.at_most(e.limits, LimitKind.PRICE_COLLAR, used=None, asked=e.market.collar_used)
    reason = "PRICE_OUTSIDE_COLLAR" if check.reason == "PRICE_COLLAR_EXCEEDS_LIMIT" else check.reason
    return check._replace(reason=reason, detail=e.market.quote_detail)


def conversion(e: Evidence) -> Check:
    """Refuse what cannot be turned into USD now, or only by a price that no order would be traded on."""
    fault = e.market.conversion_fault
    return Check("CONVERSION", fault, passed=not fault, detail=e.market.conversion_detail[:200])


def _age(name: str, reason: str, *, age: Figure, age_max: Decimal) -> Check:
    if isinstance(age, Unknown):
        return Check(name, age.reason, passed=False, limit=age_max, unit="s", detail=age.detail)
    return Check(name, reason, passed=age <= age_max, limit=age_max, asked=max(limits.ZERO, age), unit="s")
