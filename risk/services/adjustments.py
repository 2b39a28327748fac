"""Keeping what changed the risk of something that already stands."""

from datetime import datetime
from decimal import Decimal

from django.db import connection

from risk.models import RiskAdjustment
from risk.states import AdjustmentKind


def record(
    *,
    kind: AdjustmentKind,
    account_id: int,
    order_id: int | None,
    before: Decimal | None,
    after: Decimal | None,
    reason: str,
    at: datetime,
) -> None:
    """Keep one change of risk, in the transaction of what caused it. Units: `before` and `after` in USD, None
    for what has no bound, or no price to tell it by.
    """
    assert connection.in_atomic_block
    RiskAdjustment.objects.create(
        kind=kind,
        account_id=account_id,
        order_id=order_id,
        before=before,
        after=after,
        reason=reason[:500],
        created_at=at,
    )
