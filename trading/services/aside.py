"""What accounts that were put aside have cost their user: they are looked at no more, and their losses stay losses.

Otherwise whoever has an account put aside would be given back what it has lost today.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import LiteralString, NamedTuple

from nexus.core import statements
from nexus.core.statements import Part, Row
from risk.types import Figure, Unknown
from trading.rules import ZERO
from trading.states import Side

# What was lost today as last known; and while our books show a position there, what it could still lose by the last
# look: nobody sees it any more. Where nothing bounded that, all that was held is counted, and nobody knows more where
# that has no value either. What has filled after that look counts with all that it could cost, and a stop that was
# widened after it with what that has added; an order that still waits counts by itself.
LOST: LiteralString = """
    coalesce(sum(
        CASE WHEN figures.trading_date = %(date)s THEN coalesce(figures.loss_today, figures.loss_known) ELSE 0 END
        + CASE WHEN still.is_held THEN coalesce(figures.open_risk, still.value, 0) + still.filled + still.widened
          ELSE 0 END
    ), 0),
    coalesce(bool_or(still.is_held AND coalesce(figures.open_risk, still.value) IS NULL), false)
    FROM trading_account JOIN account_figures figures ON figures.account_id = trading_account.id
    CROSS JOIN LATERAL (SELECT
        EXISTS (
            SELECT FROM broker_positions held WHERE held.account_id = figures.account_id AND held.closed_at IS NULL
        ) OR EXISTS (
            SELECT FROM fill WHERE fill.account_id = figures.account_id AND fill.booked_at < 'infinity'
            AND fill.booked_at >= greatest(figures.read_at, %(date)s::timestamp AT TIME ZONE 'UTC')
        ) AS is_held,
        (
            SELECT CASE WHEN bool_and(side.value ->> 'usd' IS NOT NULL) THEN sum((side.value ->> 'usd')::numeric) END
            FROM jsonb_each(figures.exposure) held, jsonb_each(held.value) side
        ) AS value,
        (
            SELECT coalesce(sum(risk), 0) FROM trade_ledger WHERE delivery = 'DONE' AND id IN (
                SELECT order_id FROM fill WHERE fill.account_id = figures.account_id
                AND fill.booked_at >= coalesce(figures.read_at, '-infinity') AND fill.booked_at < 'infinity'
            )
        ) AS filled,
        (
            SELECT coalesce(sum(extra_risk), 0) FROM change_request
            JOIN broker_positions ON broker_positions.id = change_request.position_id
            WHERE broker_positions.account_id = figures.account_id AND change_request.state = 'DONE'
            AND settled_at >= coalesce(figures.read_at, '-infinity') AND settled_at < 'infinity'
        ) AS widened
    ) still
    WHERE
"""
# Whose facts were not read was put aside when they were: since then it may have been taken up.
OTHERS: LiteralString = "trading_account.user_id = %(user)s AND trading_account.id <> ALL(%(accounts)s)"
COST = Part(f"SELECT {LOST} {OTHERS}", width=2)  # nosec B608
COSTS: LiteralString = f"SELECT user_id, {LOST} NOT trading_account.is_active GROUP BY user_id"  # nosec B608  # literal texts of the code
# What stands there by our books: positions counted, and the base units of an instrument that are held or wait, long
# and short; whether one of these is of an instrument that was never met.
HELD = Part(
    "SELECT (SELECT count(*) FROM broker_positions held JOIN trading_account ON trading_account.id = held.account_id"  # noqa: S608  # nosec B608
    f" WHERE {OTHERS} AND held.closed_at IS NULL),"
    """
    coalesce(sum(lots * contract_size) FILTER (WHERE lots > 0), 0),
    coalesce(sum(-lots * contract_size) FILTER (WHERE lots < 0), 0), coalesce(bool_or(contract_size IS NULL), false)
    FROM trading_account CROSS JOIN LATERAL (
        SELECT quantity AS lots FROM broker_positions held
        WHERE held.account_id = trading_account.id AND held.symbol = %(symbol)s AND held.closed_at IS NULL
        UNION ALL
        SELECT (quantity - filled_quantity) * CASE side WHEN 'BUY' THEN 1 ELSE -1 END FROM trade_ledger waiting
        WHERE waiting.user_id = %(user)s AND waiting.reserved > 0 AND waiting.account_id = trading_account.id
          AND waiting.symbol = %(symbol)s AND waiting.venue_position_id = ''
    ) stands
    LEFT JOIN instrument ON instrument.account_id = trading_account.id AND instrument.symbol = %(symbol)s
    WHERE """ + OTHERS,
    width=4,
)


ANY = Part(f"SELECT count(*) FROM trading_account WHERE {OTHERS}", width=1)  # noqa: S608  # nosec B608


class Aside(NamedTuple):
    """What such accounts count. Units: `cost` in USD, `positions` counted, `units` in base units by side."""

    cost: Figure
    positions: Decimal
    units: Mapping[Side, Figure]

    @property
    def known_cost(self) -> Decimal:
        """Return `cost`, and nothing where nobody knows it: then the loss of the day is unknown, and says why."""
        return ZERO if isinstance(self.cost, Unknown) else self.cost


NOTHING = Aside(ZERO, ZERO, dict.fromkeys(Side, ZERO))


def read(*, user_id: int, trading_date: date, symbol: str, seen: Sequence[int]) -> Aside:
    """Return what the user's accounts but those `seen` count. Hardly anybody has one: `ANY` tells."""
    given = {"user": user_id, "date": trading_date, "symbol": symbol, "accounts": [*seen]}
    lost, (positions, bought, sold, is_unmet) = statements.fetch_parts((COST, HELD), given)
    units: Mapping[Side, Figure] = {Side.BUY: bought, Side.SELL: sold}
    unmet = Unknown("INSTRUMENT_UNKNOWN", "of an account that was put aside")
    return Aside(_cost(lost), Decimal(positions), dict.fromkeys(Side, unmet) if is_unmet else units)


def cost(*, user_id: int, trading_date: date, seen: Sequence[int] = ()) -> Figure:
    """Return what the user's accounts but those `seen` have lost today and may still lose, in USD."""
    given = {"user": user_id, "date": trading_date, "accounts": [*seen]}
    return _cost(statements.fetch_only(COST.query, given))


def costs(*, trading_date: date) -> Mapping[int, Figure]:
    """Return the cost of every user who has such accounts."""
    rows = statements.fetch(COSTS, {"date": trading_date})
    return {row[0]: _cost(row[1:]) for row in rows}


def _cost(row: Row) -> Figure:
    lost, is_unknown = row
    return Unknown("OPEN_RISK_NOT_BOUNDED", "of an account that was put aside") if is_unknown else lost
