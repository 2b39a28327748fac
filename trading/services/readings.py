"""What the watch keeps of each account for charts: one row a minute, and what is held by instrument now.

Written after everything that judges, in a transaction of its own, never beside an order: docs/adr/0021.
"""

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from nexus.core import money, statements
from nexus.core.money import CENT
from risk.types import Limit
from trading import rules
from trading.models import AccountFigures, TradingAccount
from trading.rules import ZERO
from trading.services.facts import Facts
from trading.states import Side
from trading.types import VenuePosition

BATCH = 10_000
LOTS, USD = "lots", "usd"

# Equity is the last of the minute; of all else the worst stays, so that no chart is better than the day was. The commit
# waits for no disk: after a crash a chart may lack its last moment, and nothing else is in this transaction.
KEEP = """
INSERT INTO account_reading (account_id, minute, equity, equity_low, loss_today, lost, loss_limit)
SELECT %(account)s::bigint, %(minute)s::timestamptz, %(equity)s::numeric, %(equity)s::numeric,
       %(loss_today)s::numeric, %(lost)s::numeric, %(limit)s::numeric
FROM set_config('synchronous_commit', 'off', true)
ON CONFLICT (account_id, minute) DO UPDATE SET
    equity = excluded.equity,
    equity_low = least(account_reading.equity_low, excluded.equity_low),
    loss_today = greatest(account_reading.loss_today, excluded.loss_today),
    lost = greatest(account_reading.lost, excluded.lost),
    loss_limit = least(account_reading.loss_limit, excluded.loss_limit)
"""

# The oldest stand first by their keys, so no index is kept for this.
PURGE = """
WITH gone AS (
    DELETE FROM account_reading WHERE id IN (
        SELECT id FROM (SELECT id, minute FROM account_reading ORDER BY id LIMIT %(batch)s::bigint) oldest
        WHERE minute < %(old)s
    ) RETURNING 1
) SELECT count(*) FROM gone
"""


@transaction.atomic(durable=True)
def keep(row: AccountFigures, *, lost: Decimal, limit: Limit | None, at: datetime) -> None:
    """Keep what a look at an account has shown, in the row of its minute."""
    statements.fetch(
        KEEP,
        {
            "account": row.account_id,
            "minute": at.replace(second=0, microsecond=0),
            "equity": row.equity,
            "loss_today": row.loss_today,
            "lost": lost,
            "limit": None if limit is None else limit.value,
        },
    )


def exposure_of(account: TradingAccount, read: Facts) -> dict[str, dict[str, dict[str, str | None]]]:
    """Return what an account holds: by symbol and side its lots and its value in USD at the broker's mark, as texts.

    Nothing is netted. The value of a side that cannot be turned into USD is None.
    """
    held: dict[str, dict[str, list[VenuePosition]]] = defaultdict(lambda: {side.value: [] for side in Side})
    for position in read.accounts[0].snapshot.positions:
        held[position.symbol][position.side].append(position)
    return {
        symbol: {side: _of_side(account, positions, read) for side, positions in sides.items()}
        for symbol, sides in sorted(held.items())
    }


def _of_side(account: TradingAccount, positions: list[VenuePosition], read: Facts) -> dict[str, str | None]:
    lots = sum((each.quantity for each in positions), start=ZERO)
    values = [_value(account, each, read) for each in positions]
    total = None if None in values else sum((each for each in values if each is not None), start=ZERO)
    return {LOTS: money.as_text(lots), USD: None if total is None else money.as_text(money.half_even_to(total, CENT))}


def _value(account: TradingAccount, position: VenuePosition, read: Facts) -> Decimal | None:
    known = read.instruments.get((account.pk, position.symbol))
    usd = None if known is None else rules.usd_rate(known.conversion, read.quotes, owed=True)
    if known is None or usd is None or not position.price_current.is_finite():
        return None
    value: Decimal = position.quantity * known.contract_size * position.price_current * usd
    return value


@transaction.atomic(durable=True)
def purge(*, at: datetime) -> int:
    """Delete one batch of old readings and return how many. Safe to run beside itself."""
    old = at - timedelta(days=settings.READINGS_DAYS)
    deleted: int = statements.fetch_only(PURGE, {"batch": BATCH, "old": old})[0]
    return deleted
