"""Our books beside the broker's, in one statement each: which positions differ, and what the balance should be.

Reads only. Positions are compared by symbol where an account nets them, and by identifier where it does not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import LiteralString

from nexus.core import money, statements
from trading.brokers import registry
from trading.models import BookCorrection, CashMovement, Fill, TradingAccount
from trading.states import CorrectionKind, PositionMode
from trading.types import Conversion, Difference, VenuePosition

# An average that the venue rounds to its own digits is the same average: less than a tick is no difference.
DIFFERENCES: LiteralString = """
WITH theirs AS (
    SELECT CASE WHEN %(netting)s THEN symbol ELSE id END AS key, max(symbol) AS symbol, max(id) AS id,
           sum(quantity) AS quantity, sum(quantity * price) / nullif(sum(quantity), 0) AS price, max(mark) AS mark,
           max(opened_at) AS opened_at
    FROM unnest(%(ids)s::text[], %(symbols)s::text[], %(quantities)s::numeric[], %(prices)s::numeric[],
                %(marks)s::numeric[], %(opened)s::timestamptz[])
         AS shown (id, symbol, quantity, price, mark, opened_at)
    GROUP BY 1
), ours AS (
    SELECT CASE WHEN %(netting)s THEN symbol ELSE venue_position_id END AS key, max(symbol) AS symbol,
           sum(quantity) AS quantity, sum(quantity * price_open) / nullif(sum(quantity), 0) AS price
    FROM broker_positions WHERE account_id = %(account)s AND closed_at IS NULL GROUP BY 1
), beside AS (
    SELECT key, coalesce(theirs.symbol, ours.symbol) AS symbol, coalesce(theirs.id, '') AS venue_id,
           coalesce(ours.quantity, 0) AS quantity, ours.price, coalesce(theirs.quantity, 0) AS venue_quantity,
           theirs.price AS venue_price, theirs.mark, theirs.opened_at
    FROM ours FULL JOIN theirs USING (key)
    WHERE ours.quantity IS DISTINCT FROM theirs.quantity OR ours.price IS DISTINCT FROM theirs.price
)
SELECT key, beside.symbol, venue_id, beside.quantity, beside.price, venue_quantity, venue_price, mark,
       instrument.contract_size, instrument.usd_symbol, instrument.usd_is_base,
       coalesce(beside.opened_at >= %(quiet_since)s, false) OR EXISTS (
           SELECT FROM trade_ledger WHERE account_id = %(account)s AND trade_ledger.symbol = beside.symbol
           AND (delivery IN ('SENDING', 'UNKNOWN') OR delivery = 'ACKED' AND order_type = 'MARKET')
       ) OR EXISTS (
           SELECT FROM fill WHERE account_id = %(account)s AND booked_at >= %(quiet_since)s
           AND fill.symbol = beside.symbol AND (%(netting)s OR fill.venue_position_id = key)
       )
FROM beside LEFT JOIN instrument ON instrument.account_id = %(account)s AND instrument.symbol = beside.symbol
WHERE beside.quantity <> venue_quantity
   OR abs(beside.price - venue_price) >= coalesce(nullif(instrument.tick_size, 0), 0.0000000001)
ORDER BY key
"""
BALANCE: LiteralString = """
SELECT (SELECT coalesce(sum(profit + swap + commission + fee), 0) FROM fill
        WHERE account_id = %(account)s AND (booked_at < %(started)s OR venue_fill_id = ANY(%(fills)s::text[])))
     + (SELECT coalesce(sum(amount), 0) FROM cash_movement
        WHERE account_id = %(account)s AND kind <> 'CREDIT'
        AND (booked_at < %(started)s - interval '1 minute' OR venue_cash_id = ANY(%(cash)s::text[])))
     + (SELECT coalesce(sum(amount), 0) FROM book_correction WHERE account_id = %(account)s)
"""
# What was earned where nobody tells it: what is held at cost, less all that was paid for it. Shares count one by one.
EARNED: LiteralString = """
SELECT (SELECT coalesce(sum(quantity * price_open), 0) FROM broker_positions
        WHERE account_id = %(account)s AND closed_at IS NULL)
     - (SELECT coalesce(sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END * price), 0) FROM fill
        WHERE account_id = %(account)s)
     - (SELECT coalesce(sum(quantity * price), 0) FROM book_correction
        WHERE account_id = %(account)s AND venue_position_id <> '')
"""
CENT = Decimal("0.01")
CLOCKS_MAY_DIFFER = timedelta(minutes=1)  # ours and a venue's


@dataclass(frozen=True, slots=True)
class Shown:
    """What a broker's answer showed, as far as sums have to agree with it.

    Units: account currency. `started_at` is the database's clock before the broker was asked.
    """

    balance: Decimal
    started_at: datetime
    fill_ids: Sequence[str]
    cash_ids: Sequence[str]


def differences(
    account: TradingAccount, positions: Iterable[VenuePosition], *, quiet_since: datetime
) -> list[Difference]:
    """Return every position on which the broker's answer and our books disagree, by key.

    Takes: `quiet_since` by the database's clock: what has moved since then is busy.
    """
    shown = list(positions)
    rows = statements.fetch(
        DIFFERENCES,
        {
            "account": account.pk,
            "netting": account.mode == PositionMode.NETTING,
            "quiet_since": quiet_since,
            "ids": [each.venue_position_id for each in shown],
            "symbols": [each.symbol for each in shown],
            "quantities": [each.quantity * each.side.direction for each in shown],
            "prices": [each.price_open for each in shown],
            "marks": [each.price_current for each in shown],
            "opened": [each.opened_at for each in shown],
        },
    )
    return [
        Difference(
            key=key, symbol=symbol, venue_position_id=venue_id, quantity=quantity, price=_tidy(price),
            venue_quantity=venue_quantity, venue_price=_tidy(venue_price), mark=mark, contract_size=contract_size,
            conversion=None if usd_symbol is None else Conversion(usd_symbol, usd_is_base), is_busy=is_busy,
        )
        for key, symbol, venue_id, quantity, price, venue_quantity, venue_price, mark, contract_size, usd_symbol,
        usd_is_base, is_busy in rows
    ]  # fmt: skip


def balance_missing(account: TradingAccount, shown: Shown) -> Decimal:
    """Return what the balance that the broker shows has more than our books explain: opening, journal and results.

    What was booked after the answer began, and is not in it, is left out of both. Credit is no part of a balance. A
    balance is shown in cents: less than one is no difference.
    """
    given = {
        "account": account.pk, "started": shown.started_at, "fills": list(shown.fill_ids), "cash": list(shown.cash_ids),
    }  # fmt: skip
    expected: Decimal = statements.fetch_only(BALANCE, given)[0]
    if account.venue in registry.RESULTS_UNTOLD:
        expected += statements.fetch_only(EARNED, given)[0]
    missing = shown.balance - expected
    return missing if abs(missing) >= CENT else Decimal(0)


def is_cash_busy(account: TradingAccount, *, quiet_since: datetime) -> bool:
    """Tell whether money of the account has moved since then, or may be moving: an order is in flight."""
    row = statements.fetch_only(
        """
        SELECT EXISTS (SELECT FROM fill WHERE account_id = %(account)s AND booked_at >= %(since)s)
            OR EXISTS (SELECT FROM trade_ledger WHERE account_id = %(account)s
                       AND (delivery IN ('SENDING', 'UNKNOWN') OR delivery = 'ACKED' AND order_type = 'MARKET'))
        """,
        {"account": account.pk, "since": quiet_since},
    )
    return bool(row[0])


def has_told_late(account: TradingAccount, *, since: datetime) -> bool:
    """Tell whether money that had moved by then was told only afterwards: what was missing then may be this. A deal
    brings its result, too, unless an order of ours made it that was sent since.
    """
    told = {"account": account, "booked_at__gt": since}
    cash = CashMovement.objects.filter(**told, moved_at__lte=since + CLOCKS_MAY_DIFFER)
    deals = Fill.objects.filter(**told, filled_at__lte=since + CLOCKS_MAY_DIFFER).exclude(order__sent_at__gt=since)
    return cash.exists() or deals.exists()


def is_opened(account: TradingAccount) -> bool:
    """Tell whether the account's opening is booked: what stood at the broker when we looked for the first time."""
    return BookCorrection.objects.filter(account=account, kind=CorrectionKind.OPENING).exists()


def _tidy(price: Decimal | None) -> Decimal | None:
    return None if price is None else money.half_even_to(price, Decimal("1E-10"))
