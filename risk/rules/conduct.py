"""Checks of conduct: how fast, how often in vain, and what looks unlike the user.

Group 11 of execution reference §5. A suspicion tells people and lets the order pass, unless the policy wants a review.
"""

from decimal import Decimal

from risk.rules.limits import at_most
from risk.states import LimitKind, Suspicion
from risk.types import Check, Evidence

REVIEW = "REVIEW_DEMANDED"


def orders_per_second(e: Evidence) -> Check:
    """Count what the account asked for in the last second, refused or not."""
    return at_most(e.limits, LimitKind.ORDERS_PER_SECOND, used=e.usage.orders_last_second, asked=Decimal(1))


def cooldown(e: Evidence) -> Check:
    """Pause after failures in a row.

    A failed trade is an order that we sent and that ended REJECTED by the broker: refused, or proven absent. What we
    or our gateway rejected was no trade and does not count either way; nor does what only reduces, which may be a
    sweep's, and is not paused either. An order that ends in any other way ends the row.
    """
    policy, ago = e.policy, e.usage.failed_ago_s
    is_cooling = e.usage.failures >= policy.cooldown_failures and (ago is None or ago < policy.cooldown_s)
    left = Decimal(policy.cooldown_s) - (ago or Decimal(0))
    return Check(
        name="COOLDOWN",
        reason="COOLDOWN_NOT_OVER",
        passed=not is_cooling,
        limit=Decimal(policy.cooldown_failures),
        used=Decimal(e.usage.failures),
        unit="failures",
        detail=f"{left:.0f} s left" if is_cooling else "",
    )


def burst(e: Evidence) -> Check:
    """Notice very many orders in a short time."""
    found = e.usage.burst + 1 >= e.policy.burst_orders
    words = f"{e.policy.burst_orders} orders or more within {e.policy.burst_window_s} s"
    return _suspect(e, Suspicion.BURST, found=found, words=words)


def unusual_size(e: Evidence) -> Check:
    """Notice a value far above the average of the user's orders in 30 days. A short history is no history."""
    value, usage = e.exposure.order_value, e.usage
    if usage.past_orders < e.policy.unusual_size_orders or usage.past_orders == 0 or not isinstance(value, Decimal):
        return _suspect(e, Suspicion.UNUSUAL_SIZE, found=False)
    average = usage.past_value / usage.past_orders
    found = value > e.policy.unusual_size_factor * average
    words = f"{value:.2f} USD; the average of {usage.past_orders} orders is {average:.2f} USD"
    return _suspect(e, Suspicion.UNUSUAL_SIZE, found=found, words=words)


def opposite_orders(e: Evidence) -> Check:
    """Notice an order against one of the account's own, just admitted on the same instrument."""
    words = f"an order of the other side within {e.policy.opposite_window_s} s"
    return _suspect(e, Suspicion.OPPOSITE_ORDERS, found=e.usage.opposites > 0 and not e.is_reducing, words=words)


def new_network(e: Evidence) -> Check:
    """Notice a large trade from a network that the user has not used before. A network nobody told is not judged."""
    value = e.exposure.order_value
    is_large = isinstance(value, Decimal) and value >= e.policy.network_value
    found = is_large and e.access.knows_network is False
    return _suspect(e, Suspicion.NEW_NETWORK, found=found, words="a large trade from a network not seen before")


def _suspect(e: Evidence, suspicion: Suspicion, *, found: bool, words: str = "") -> Check:
    is_reviewed = found and suspicion in e.policy.reviewed and not e.is_reducing
    is_cleared = is_reviewed and suspicion in e.policy.cleared
    if is_cleared:
        words += "; an operator lets it pass"
    return Check(
        name=suspicion.value,
        reason=REVIEW,
        passed=is_cleared or not is_reviewed,
        detail=words if found else "",
        suspicion=suspicion if found else None,
    )
