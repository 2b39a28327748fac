"""The settings that tune the rules, as the pure rules see them."""

from decimal import Decimal
from functools import cache

from django.conf import settings
from django.core.signals import setting_changed

from risk.states import Suspicion
from risk.types import Policy


@cache
def current() -> Policy:
    """Return how the rules are tuned now."""
    return Policy(
        snapshot_age_max_s=Decimal(settings.SNAPSHOT_AGE_MAX_S),
        sight_age_max_s=Decimal(settings.RECONCILIATION_AGE_MAX_S),
        duplicate_window_s=settings.DUPLICATE_WINDOW_S,
        margin_buffer=settings.MARGIN_BUFFER,
        cooldown_s=settings.COOLDOWN_S,
        cooldown_failures=settings.COOLDOWN_FAILURES,
        burst_orders=settings.BURST_ORDERS,
        burst_window_s=settings.BURST_WINDOW_S,
        opposite_window_s=settings.OPPOSITE_WINDOW_S,
        unusual_size_factor=settings.UNUSUAL_SIZE_FACTOR,
        unusual_size_orders=settings.UNUSUAL_SIZE_ORDERS,
        network_value=settings.NEW_NETWORK_VALUE,
        reviewed=frozenset(Suspicion(name) for name in settings.REVIEWED_SUSPICIONS),
    )


setting_changed.connect(lambda **_: current.cache_clear(), weak=False)  # only a test changes one
