"""What accounts that were put aside have cost their user: they are looked at no more, and their losses stay losses.

Otherwise whoever has an account put aside would be given back what it has lost today.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import LiteralString

from nexus.core import statements
from nexus.core.statements import Part

# What was lost today as last known; and while our books show a position there, what it could still lose by the last
# look: nobody sees it any more.
LOST: LiteralString = """
    coalesce(sum(
        CASE WHEN figures.trading_date = %(date)s THEN coalesce(figures.loss_today, figures.loss_known) ELSE 0 END
        + CASE WHEN EXISTS (
            SELECT FROM broker_positions held WHERE held.account_id = figures.account_id AND held.closed_at IS NULL
        ) THEN coalesce(figures.open_risk, 0) ELSE 0 END
    ), 0)
    FROM trading_account JOIN account_figures figures ON figures.account_id = trading_account.id
    WHERE NOT trading_account.is_active
"""
COST = Part(f"SELECT {LOST} AND trading_account.user_id = %(user)s", width=1)  # nosec B608
COSTS: LiteralString = f"SELECT user_id, {LOST} GROUP BY user_id"  # nosec B608  # literal texts of the code


def cost(*, user_id: int, trading_date: date) -> Decimal:
    """Return what the user's accounts that were put aside have lost today and may still lose, in USD."""
    found: Decimal = statements.fetch_only(COST.query, {"user": user_id, "date": trading_date})[0]
    return found


def costs(*, trading_date: date) -> Mapping[int, Decimal]:
    """Return the cost of every user who has such accounts."""
    return dict(statements.fetch(COSTS, {"date": trading_date}))
