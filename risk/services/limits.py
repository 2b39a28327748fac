"""Limits: which are in force for an order. Changing one is next door, in `changes`."""

from collections.abc import Mapping

from django.conf import settings

from nexus.core import statements
from risk.rules import limits as rules
from risk.states import LimitKind, LimitScope
from risk.types import Limit


def in_force(*, user_id: int, account_id: int, symbol: str) -> Mapping[LimitKind, Limit]:
    """Return the tightest limit of each kind over platform, user, account and instrument."""
    rows = statements.fetch(
        """
        SELECT kind, value, scope FROM risk_limit WHERE ended_at IS NULL AND (
            scope = 'PLATFORM' OR scope = 'USER' AND key = %s OR scope = 'ACCOUNT' AND key = %s
            OR scope = 'INSTRUMENT' AND key = %s)
        """,
        [str(user_id), str(account_id), symbol],
    )
    own = (Limit(LimitKind(kind), value, LimitScope(scope)) for kind, value, scope in rows)
    return rules.tightest([*ceilings(), *own])


def ceilings() -> list[Limit]:
    """Return the platform's own limits from the settings. A kind without one needs a row, or orders are refused."""
    values = {
        LimitKind.DAILY_LOSS: settings.DAILY_LOSS_LIMIT,
        LimitKind.DAILY_VALUE: settings.DAILY_VALUE_MAX,
        LimitKind.DAILY_QUANTITY: settings.DAILY_QUANTITY_MAX,
        LimitKind.ORDERS_PER_DAY: settings.ORDERS_PER_DAY,
        LimitKind.ORDERS_PER_HOUR: settings.ORDERS_PER_HOUR,
        LimitKind.ORDERS_PER_SECOND: settings.ORDERS_PER_SECOND,
        LimitKind.POSITION_SIZE: settings.MAX_POSITION_SIZE,
        LimitKind.POSITION_COUNT: settings.MAX_OPEN_POSITIONS,
        LimitKind.ORDER_QUANTITY_MAX: settings.ORDER_QUANTITY_MAX,
        LimitKind.TRADE_VALUE_MAX: settings.TRADE_VALUE_MAX,
        LimitKind.TRADE_VALUE_MIN: settings.TRADE_VALUE_MIN,
        LimitKind.PRICE_COLLAR: settings.PRICE_COLLAR,
    }
    return [Limit(kind, value, LimitScope.PLATFORM) for kind, value in values.items() if value is not None]
