"""Limits: which are in force for an order. Changing one is next door, in `changes`."""

from collections.abc import Mapping
from functools import cache

from django.conf import settings
from django.core.signals import setting_changed

from nexus.core import statements
from nexus.core.statements import Part, Row
from risk.rules import limits as rules
from risk.states import LimitKind, LimitScope
from risk.types import Limit

IN_FORCE = Part(
    """
    SELECT array_agg(kind), array_agg(value), array_agg(scope) FROM risk_limit WHERE ended_at IS NULL AND (
        scope = 'PLATFORM' OR scope = 'USER' AND key = %(user)s::text OR scope = 'ACCOUNT' AND key = %(account)s::text
        OR scope = 'INSTRUMENT' AND key = %(symbol)s)
    """,
    width=3,
)


def in_force(*, user_id: int, account_id: int, symbol: str) -> Mapping[LimitKind, Limit]:
    """Return the tightest limit of each kind over platform, user, account and instrument."""
    given = {"user": user_id, "account": account_id, "symbol": symbol}
    return as_limits(statements.fetch_only(IN_FORCE.query, given))


def as_limits(row: Row) -> Mapping[LimitKind, Limit]:
    """Return what a row of `IN_FORCE` says, beside the platform's own limits."""
    found = zip(*(column or () for column in row), strict=True)
    return rules.tightest(
        [*ceilings(), *(Limit(LimitKind(kind), value, LimitScope(scope)) for kind, value, scope in found)]
    )


@cache
def ceilings() -> tuple[Limit, ...]:
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
    return tuple(Limit(kind, value, LimitScope.PLATFORM) for kind, value in values.items() if value is not None)


setting_changed.connect(lambda **_: ceilings.cache_clear(), weak=False)  # only a test changes one
