"""What charts show of trading: each read is one bounded statement that cuts, sorts and counts in the database.

What has no index of its own by time is read off the newest rows by their key, a fixed number of them, and says where
that ends: a chart slows no order down, neither by an index that each would keep nor by a read of all. docs/adr/0021.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import LiteralString

from nexus.core import statements
from nexus.core.charts import Value, Window
from nexus.core.statements import Row
from trading.models import AccountFigures, TradingAccount
from trading.services.readings import LOTS, USD
from trading.states import Side

NEWEST = 20_000  # orders, and fills, that are looked at
SYMBOLS = 12  # of one account; what is less is added up
BP = Decimal(10_000)

READINGS = """
SELECT date_bin(%(step)s::interval, minute, %(epoch)s::timestamptz) AS begins,
       (array_agg(equity ORDER BY minute DESC))[1], min(equity_low), max(loss_today), max(lost), min(loss_limit)
FROM account_reading
WHERE account_id = %(account)s AND minute >= %(since)s AND minute < %(until)s
GROUP BY begins ORDER BY begins
"""

OLDEST_ORDER = "SELECT created_at FROM trade_ledger ORDER BY id DESC OFFSET %(newest)s::bigint - 1 LIMIT 1"
# A fill is booked by the clock that dates the sending. What rests in the book fills when the market comes: not counted.
LATENCY = """
SELECT date_bin(%(step)s::interval, created_at, %(epoch)s::timestamptz) AS begins,
       count(*),
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY sent_ms)::numeric(14, 1)[],
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY filled_ms)::numeric(14, 1)[]
FROM (
    SELECT few.created_at, extract(epoch FROM few.sent_at - few.created_at) * 1000 AS sent_ms,
           extract(epoch FROM first.booked_at - few.sent_at) * 1000 AS filled_ms
    FROM (SELECT id, created_at, sent_at, order_type FROM trade_ledger ORDER BY id DESC LIMIT %(newest)s::bigint) few
    LEFT JOIN LATERAL (
        SELECT min(booked_at) AS booked_at FROM fill WHERE order_id = few.id
    ) first ON few.order_type = 'MARKET'
    WHERE few.created_at >= %(since)s AND few.created_at < %(until)s AND few.sent_at IS NOT NULL
) timed GROUP BY begins ORDER BY begins
"""

OLDEST_FILL = "SELECT booked_at FROM fill ORDER BY id DESC OFFSET %(newest)s::bigint - 1 LIMIT 1"
SLIPPAGE = """
SELECT width_bucket(slippage * 10000, %(edges)s::numeric[]), count(*)
FROM (SELECT slippage, booked_at FROM fill ORDER BY id DESC LIMIT %(newest)s::bigint) few
WHERE slippage IS NOT NULL AND booked_at >= %(since)s AND booked_at < %(until)s
GROUP BY 1 ORDER BY 1
"""
# Basis points of the price, adverse ones positive. The middle one holds what filled as it was seen.
EDGES = tuple(map(Decimal, ("-10", "-5", "-2", "-1", "-0.5", "-0.1", "0.1", "0.5", "1", "2", "5", "10")))


@dataclass(frozen=True, slots=True)
class Readings:
    """An account over time. Units: equity in its currency; the rest in USD."""

    equity: Sequence[Value]
    equity_low: Sequence[Value]
    loss_today: Sequence[Value]
    lost: Sequence[Value]
    limit: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Held:
    """What an account holds of one instrument. Units: lots, USD; None where it cannot be valued."""

    symbol: str
    long_lots: Decimal
    long_usd: Value
    short_lots: Decimal
    short_usd: Value

    @property
    def size(self) -> Decimal:
        """Return how large it is; what nobody can value stands first."""
        if self.long_usd is None or self.short_usd is None:
            return Decimal("Infinity")
        return self.long_usd + self.short_usd


@dataclass(frozen=True, slots=True)
class Exposure:
    """What an account holds, the largest first. `others`: how many instruments are not in `held`."""

    held: Sequence[Held]
    others: int
    read_at: datetime | None


@dataclass(frozen=True, slots=True)
class Latency:
    """How long orders took, in milliseconds: half of them less than the first, all but 5 % less than the second."""

    orders: Sequence[Value]
    sent_half: Sequence[Value]
    sent_most: Sequence[Value]
    filled_half: Sequence[Value]
    filled_most: Sequence[Value]
    whole_since: datetime | None  # the statement has looked no further back; None when it has seen all


@dataclass(frozen=True, slots=True)
class Slippage:
    """How many fills slipped how far: one count below the first edge, between each two, and above the last."""

    counts: Sequence[int]
    whole_since: datetime | None


def readings(account: TradingAccount, window: Window) -> Readings:
    """Return what the watch saw of an account; of each step the last equity, and the worst of all else."""
    rows = statements.fetch(READINGS, {**window.given, "account": account.pk})
    return Readings(*map(window.spread, _columns(rows, width=5)))


def exposure(account: TradingAccount) -> Exposure:
    """Return what an account held when it was last looked at."""
    row = AccountFigures.objects.filter(account=account).only("exposure", "read_at").first()
    if row is None:
        return Exposure((), 0, None)
    held = sorted((_held(symbol, sides) for symbol, sides in row.exposure.items()), key=lambda each: -each.size)
    return Exposure(held[:SYMBOLS], len(held[SYMBOLS:]), row.read_at)


def latency(window: Window, *, newest: int = NEWEST) -> Latency:
    """Return how long orders took from the request to the sending, and market orders from there to their first fill."""
    given = {**window.given, "newest": newest}
    rows = [
        (begins, Decimal(count), *(sent or (None, None)), *(filled or (None, None)))
        for begins, count, sent, filled in statements.fetch(LATENCY, given)
    ]
    orders, sent_half, sent_most, filled_half, filled_most = map(window.spread, _columns(rows, width=5))
    end = _end(OLDEST_ORDER, window, newest=newest)
    return Latency(orders, sent_half, sent_most, filled_half, filled_most, end)


def slippage(window: Window, *, newest: int = NEWEST) -> Slippage:
    """Return how many fills of our orders slipped how far from the market that they were sent into."""
    given = {**window.given, "newest": newest, "edges": list(EDGES)}
    counts: dict[int, int] = dict(statements.fetch(SLIPPAGE, given))
    return Slippage(
        [counts.get(number, 0) for number in range(len(EDGES) + 1)], _end(OLDEST_FILL, window, newest=newest)
    )


def _end(query: LiteralString, window: Window, *, newest: int) -> datetime | None:
    row = statements.fetch_one(query, {"newest": newest})
    return row[0] if row is not None and row[0] > window.since else None


def _columns(rows: Sequence[Row], *, width: int) -> list[Mapping[datetime, Value]]:
    return [{row[0]: row[number] for row in rows} for number in range(1, width + 1)]


def _held(symbol: str, sides: Mapping[str, Mapping[str, str | None]]) -> Held:
    bought, sold = sides[Side.BUY], sides[Side.SELL]
    return Held(symbol, _lots(bought), _usd(bought), _lots(sold), _usd(sold))


def _lots(side: Mapping[str, str | None]) -> Decimal:
    return Decimal(side[LOTS] or 0)


def _usd(side: Mapping[str, str | None]) -> Value:
    value = side[USD]
    return None if value is None else Decimal(value)
