"""What a user has done so far, in one statement: the counts that limits of pace, value and conduct are held against.

Plain SQL, because it runs under the lock of the user's day, once for each order. Every part of it is answered by an
index of its own (migration 0003), so that its cost does not grow with the ledger. The caller holds the lock already:
this is a later statement, and sees what the holders before it have committed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings

from nexus.core import statements
from nexus.core.statements import Part, Row
from trading.types import OrderIntent

RECENT = 100  # how many of an account's newest requests are searched for what looks suspicious, at least

# An order counts whole on the day it is admitted, in the locked row of that day. What is done here is the rest:
# `undone` are remainders of the day's orders that ended without filling, which are given back (and overfills, which are
# taken); `kept` and `late` are what orders of earlier days still may fill and have filled today; `strange` are fills
# that no order of ours asked for. What only takes risk away does not count: orders that reduce have no value here, and
# stops that were hit are of another kind. What the broker has taken back was not done.
#
# Each stretch of time is given an end that is never reached: of one without an end the planner, which plans for any
# value, expects a third of the table, and goes through the user's whole history instead of the end of an index.
COUNT = Part(
    """
WITH recent AS MATERIALIZED (
    SELECT created_at, symbol, side, value FROM trade_ledger
    WHERE account_id = %(account)s AND created_at > %(recent)s AND created_at < 'infinity'
    ORDER BY created_at DESC LIMIT %(most)s
), pace AS (
    SELECT count(*) AS requests FROM trade_ledger
    WHERE account_id = %(account)s AND created_at > %(second)s AND created_at < 'infinity'
), twin AS (
    SELECT count(*) AS twins FROM trade_ledger
    WHERE account_id = %(account)s AND created_at > %(twin)s AND created_at < 'infinity'
      AND value > 0 AND symbol = %(asked_symbol)s AND side = %(asked_side)s
      AND quantity = %(asked_quantity)s AND entry_price IS NOT DISTINCT FROM %(asked_price)s
      AND limit_price IS NOT DISTINCT FROM %(asked_limit)s AND stop_price IS NOT DISTINCT FROM %(asked_stop)s
), ended AS (
    SELECT rejected_by, closed_at FROM trade_ledger
    WHERE user_id = %(user)s AND attempts = 1 AND delivery = 'DONE' AND rejected_by <> 'LOCAL'
      AND venue_position_id = ''
    ORDER BY closed_at DESC, id DESC LIMIT %(failures)s
), undone AS (
    SELECT coalesce(sum(quantity - filled_quantity), 0) AS quantity,
           coalesce(sum(value * (quantity - filled_quantity) / quantity), 0) AS value
    FROM trade_ledger
    WHERE user_id = %(user)s AND created_at >= %(day)s AND created_at < %(tomorrow)s AND value > 0
      AND (status IN ('CANCELED', 'EXPIRED', 'REJECTED') OR overfill_quantity > 0)
), kept AS (
    SELECT coalesce(sum(quantity - filled_quantity), 0) AS quantity,
           coalesce(sum(value * (quantity - filled_quantity) / quantity), 0) AS value
    FROM trade_ledger WHERE user_id = %(user)s AND reserved > 0 AND created_at < %(day)s
), older AS MATERIALIZED (
    SELECT id, quantity, value FROM trade_ledger
    WHERE user_id = %(user)s AND reserved > 0 AND created_at < %(day)s
    UNION
    SELECT id, quantity, value FROM trade_ledger
    WHERE user_id = %(user)s AND closed_at >= %(day)s AND closed_at < 'infinity' AND created_at < %(day)s
      AND (closed_at AT TIME ZONE 'UTC')::date > (created_at AT TIME ZONE 'UTC')::date
), late AS (
    SELECT coalesce(sum(fill.quantity), 0) AS quantity,
           coalesce(sum(older.value * fill.quantity / older.quantity), 0) AS value
    FROM older JOIN fill ON fill.order_id = older.id AND fill.filled_at >= %(day)s AND fill.kind <> 'BUST'
    WHERE NOT EXISTS (
        SELECT FROM fill AS back
        WHERE back.order_id = fill.order_id AND back.kind = 'BUST' AND back.reverses = fill.venue_fill_id
    )
), strange AS (
    SELECT instrument.usd_symbol, instrument.usd_is_base, sum(fill.quantity) AS quantity,
           sum(fill.quantity * abs(fill.price) * instrument.contract_size) AS value
    FROM fill LEFT JOIN instrument USING (account_id, symbol)
    WHERE fill.order_id IS NULL AND fill.filled_at >= %(day)s
      AND fill.account_id = ANY(ARRAY(SELECT trading_account.id FROM trading_account WHERE user_id = %(user)s))
      AND fill.filled_at < 'infinity' AND fill.kind IN ('ORDER', 'OTHER') AND NOT EXISTS (
          SELECT FROM fill AS back
          WHERE back.account_id = fill.account_id AND back.order_id IS NULL AND back.filled_at >= %(day)s
            AND back.filled_at < 'infinity' AND back.kind = 'BUST' AND back.reverses = fill.venue_fill_id
      )
    GROUP BY 1, 2
)
SELECT
    clock_timestamp(), pace.requests, twin.twins,
    (SELECT count(*) FROM recent WHERE created_at > %(burst)s),
    (SELECT count(*) FROM recent
     WHERE created_at > %(opposite)s AND value > 0 AND symbol = %(asked_symbol)s AND side <> %(asked_side)s),
    (SELECT array_agg(rejected_by = 'BROKER' ORDER BY closed_at DESC) FROM ended), (SELECT max(closed_at) FROM ended),
    undone.quantity, undone.value, kept.quantity + late.quantity, kept.value + late.value,
    (SELECT array_agg(ARRAY[usd_symbol, usd_is_base::text, quantity::text, value::text]) FROM strange)
FROM pace, twin, undone, kept, late
""",
    width=12,
)


@dataclass(frozen=True, slots=True)
class StrangeFills:
    """Fills of one profit currency that no order of ours asked for.

    Units: lots; `value` in that currency, None where the instrument is not known to us.
    """

    usd_symbol: str
    usd_is_base: bool
    quantity: Decimal
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Counts:
    """The answer. Units: quantities in lots, values in USD."""

    clock: datetime
    requests: int
    twins: int
    burst: int
    opposites: int
    failures: int
    failed_at: datetime | None
    undone_quantity: Decimal
    undone_value: Decimal
    carried_quantity: Decimal
    carried_value: Decimal
    strange: tuple[StrangeFills, ...]


def count(
    *, user_id: int, account_id: int, account_ids: Sequence[int], intent: OrderIntent | None, at: datetime
) -> Counts:
    """Count what the user has done. Takes: no `intent` when nobody asks for anything: nothing is like it then."""
    given = arguments(user_id=user_id, account_id=account_id, account_ids=account_ids, intent=intent, at=at)
    return as_counts(statements.fetch_only(COUNT.query, given))


def arguments(
    *, user_id: int, account_id: int, account_ids: Sequence[int], intent: OrderIntent | None, at: datetime
) -> Mapping[str, Any]:
    """Return the arguments of `COUNT`. Takes: as `count`."""
    return {
        **_windows(at),
        "user": user_id,
        "account": account_id,
        "accounts": list(account_ids),
        "asked_symbol": intent.symbol if intent else "",
        "asked_side": intent.side.value if intent else "",
        "asked_quantity": intent.quantity if intent else Decimal(0),
        "asked_price": intent.entry_price if intent else None,
        "asked_limit": intent.limit_price if intent else None,
        "asked_stop": intent.stop_price if intent else None,
        "failures": settings.COOLDOWN_FAILURES,
        "most": max(RECENT, settings.BURST_ORDERS),
    }


def as_counts(row: Row) -> Counts:
    """Return what a row of `COUNT` says."""
    ended: list[bool] = row[5] or []
    return Counts(
        clock=row[0],
        requests=row[1],
        twins=row[2],
        burst=row[3],
        opposites=row[4],
        failures=next((number for number, failed in enumerate(ended) if not failed), len(ended)),
        failed_at=row[6] if ended and ended[0] else None,
        undone_quantity=row[7],
        undone_value=row[8],
        carried_quantity=row[9],
        carried_value=row[10],
        strange=tuple(
            StrangeFills(symbol or "", is_base == "true", Decimal(quantity), Decimal(value) if value else None)
            for symbol, is_base, quantity, value in row[11] or []
        ),
    )


def _windows(at: datetime) -> Mapping[str, datetime]:
    """Return where each window begins. Requests are dated by the clock that `at` comes from, and so are windows."""
    spans = {
        "second": timedelta(seconds=1),
        "twin": timedelta(seconds=settings.DUPLICATE_WINDOW_S),
        "burst": timedelta(seconds=settings.BURST_WINDOW_S),
        "opposite": timedelta(seconds=settings.OPPOSITE_WINDOW_S),
        "recent": timedelta(seconds=max(settings.BURST_WINDOW_S, settings.OPPOSITE_WINDOW_S)),
    }
    day = datetime.combine(at.date(), time(), UTC)
    return {name: at - span for name, span in spans.items()} | {"day": day, "tomorrow": day + timedelta(days=1)}
