"""What Prometheus is told of accounts and orders, in few statements however many accounts there are."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from nexus.core import statements
from risk.services import limits, stats
from risk.states import LimitKind
from risk.types import Unknown
from trading import selectors
from trading.models.orders import NOWHERE_FOR
from trading.rules import ZERO
from trading.services import aside

# The states are written out: a plan for any value could not use the index of open orders. Unknown are those that nobody
# can find, as `unfound` says.
ACCOUNTS = """
SELECT account.public_id::text, extract(epoch FROM clock_timestamp() - figures.read_at),
       figures.loss_today, figures.open_risk, coalesce(open.unknown, 0), open.unknown_age_s, coalesce(open.late, 0)
FROM trading_account account
LEFT JOIN account_figures figures ON figures.account_id = account.id
LEFT JOIN (
    SELECT account_id, count(*) FILTER (WHERE is_unfound) AS unknown,
           extract(epoch FROM clock_timestamp() - min(sent_at) FILTER (WHERE is_unfound)) AS unknown_age_s,
           count(*) FILTER (WHERE delivery = 'SENDING' AND sent_at < clock_timestamp() - %s::interval) AS late
    FROM trade_ledger CROSS JOIN LATERAL (
        SELECT delivery = 'UNKNOWN'
            OR delivery = 'ACKED' AND absent_at >= absent_since + %s::interval AS is_unfound
    ) found WHERE delivery IN ('QUEUED', 'SENDING', 'ACKED', 'UNKNOWN') GROUP BY account_id
) open ON open.account_id = account.id
WHERE account.is_active ORDER BY account.id
"""
OUTBOX = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) FROM trade_ledger
WHERE delivery IN ('QUEUED', 'SENDING', 'ACKED', 'UNKNOWN') AND delivery = 'QUEUED'
"""


@dataclass(frozen=True, slots=True)
class AccountSignals:
    """One account. Units: USD, seconds; None where nobody knows. `late` sends are older than their lease."""

    account: str
    age_s: Decimal | None
    loss_today: Decimal | None
    open_risk: Decimal | None
    unknown: int
    unknown_age_s: Decimal | None
    late: int


@dataclass(frozen=True, slots=True)
class Outbox:
    """Accepted orders that nobody has sent yet."""

    orders: int
    oldest_s: Decimal


def accounts() -> list[AccountSignals]:
    """Return every active account."""
    lease = timedelta(seconds=settings.SENDING_LEASE_S)
    return [AccountSignals(*row) for row in statements.fetch(ACCOUNTS, [lease, NOWHERE_FOR])]


def outbox() -> Outbox:
    """Return how many orders wait to be sent."""
    return Outbox(*statements.fetch_only(OUTBOX))


def headroom(*, at: datetime) -> Iterator[tuple[str, str, Decimal]]:
    """Return what is left of each limit that our own books know the use of: account, limit, and in its own unit.

    The others depend on the order that is asked for; `GET /trading/limits` shows them. As the gate, it counts a user's
    accounts together; where it does not know what one of them has lost, nothing is told of the daily loss.
    """
    owned = list(selectors.active_accounts())
    lost: dict[int, Decimal] = defaultdict(Decimal)
    unknown: set[int] = set()
    figures = {row.account: row for row in accounts()}
    for account in owned:
        row = figures[str(account.public_id)]
        if row.loss_today is None or row.open_risk is None:
            unknown.add(account.user_id)
        else:
            lost[account.user_id] += row.loss_today + row.open_risk
    for user_id, cost in aside.costs(trading_date=at.date()).items():
        if isinstance(cost, Unknown):
            unknown.add(user_id)
        else:
            lost[user_id] += cost
    days = stats.days(trading_date=at.date())
    for account in owned:
        day = days.get(account.user_id)
        is_known = account.user_id not in unknown
        used = ({LimitKind.DAILY_LOSS: lost[account.user_id]} if is_known else {}) | {
            LimitKind.ORDERS_PER_DAY: Decimal(day.orders_admitted) if day else ZERO,
            LimitKind.DAILY_VALUE: Decimal(day.value_admitted) if day else ZERO,
            LimitKind.DAILY_QUANTITY: Decimal(day.quantity_admitted) if day else ZERO,
        }
        in_force = limits.in_force(user_id=account.user_id, account_id=account.pk, symbol="")
        for kind, use in used.items():
            if kind in in_force:
                yield str(account.public_id), kind.value, in_force[kind].value - use
