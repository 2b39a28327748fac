"""Limits: which are in force for an order, and how one is set."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from risk import rules
from risk.models import RiskLimit
from risk.states import LimitKind, LimitScope
from risk.types import Limit


def in_force(*, user_id: int, account_id: int, symbol: str) -> Mapping[LimitKind, Limit]:
    """Return the tightest limit of each kind over platform, user, account and instrument."""
    rows = RiskLimit.objects.filter(
        Q(scope=LimitScope.PLATFORM)
        | Q(scope=LimitScope.USER, key=str(user_id))
        | Q(scope=LimitScope.ACCOUNT, key=str(account_id))
        | Q(scope=LimitScope.INSTRUMENT, key=symbol),
        ended_at__isnull=True,
    )
    own = (Limit(LimitKind(row.kind), row.value, LimitScope(row.scope)) for row in rows)
    return rules.tightest([*_ceilings(), *own])


@transaction.atomic(durable=True)
def set_limit(
    *, scope: LimitScope, key: str, kind: LimitKind, value: Decimal, reason: str, actor: Actor, at: datetime
) -> RiskLimit:
    """Put a new version of a limit in force, at once. The version it replaces is kept with the time it ended."""
    before = (
        RiskLimit.objects.filter(scope=scope, key=key, kind=kind, ended_at__isnull=True).select_for_update().first()
    )
    if before is not None:
        before.ended_at = at
        before.save(update_fields=["ended_at"])
    row = RiskLimit.objects.create(scope=scope, key=key, kind=kind, value=value, reason=reason, created_at=at)
    trail.record(
        action="risk.limit_set",
        actor=actor,
        target=Target("risk_limit", f"{scope}:{key}:{kind}"),
        detail={"before": before.value if before else None, "after": value, "reason": reason},
        occurred_at=at,
    )
    return row


def _ceilings() -> list[Limit]:
    values = {
        LimitKind.DAILY_LOSS: settings.DAILY_LOSS_LIMIT,
        LimitKind.POSITION_SIZE: settings.MAX_POSITION_SIZE,
        LimitKind.TRADE_VALUE_MAX: settings.TRADE_VALUE_MAX,
        LimitKind.TRADE_VALUE_MIN: settings.TRADE_VALUE_MIN,
    }
    return [Limit(kind, value, LimitScope.PLATFORM) for kind, value in values.items() if value is not None]
