"""What a broker read may or may not show yet: orders and changes of stops in doubt."""

from datetime import datetime

from nexus.core import statements
from nexus.core.statements import Part, Row
from trading.models import TradeLedger

# What of an order in doubt is needed to count it, as the table has it: not its checks, which are most of the row.
_COUNTED = {
    "id", "public_id", "account_id", "user_id", "client_order_id", "symbol", "side", "quantity", "filled_quantity",
    "risk", "restopped", "limit_price", "stop_price", "stop_loss", "reserved", "value", "status", "delivery", "sent_at",
    "venue_position_id",
}  # fmt: skip
DOUBTED = tuple(field.attname for field in TradeLedger._meta.concrete_fields if field.attname in _COUNTED)
IN_DOUBT = Part(
    """
    SELECT {columns} FROM (SELECT whole.* FROM (
        SELECT id FROM trade_ledger WHERE user_id = %(user)s AND reserved > 0
        UNION
        SELECT id FROM trade_ledger WHERE user_id = %(user)s AND delivery IN ('SENDING', 'UNKNOWN')
        UNION
        SELECT fill.order_id FROM fill JOIN trading_account ON trading_account.id = fill.account_id
        WHERE trading_account.user_id = %(user)s AND fill.booked_at >= %(since)s AND fill.booked_at < 'infinity'
          AND fill.order_id IS NOT NULL
    ) few CROSS JOIN LATERAL (
        SELECT * FROM trade_ledger WHERE id = few.id AND user_id = %(user)s LIMIT 1
    ) whole ORDER BY id) doubted
    """.replace("{columns}", ", ".join(f"array_agg({name})" for name in DOUBTED)),  # nosec B608  # names of our own columns
    width=len(DOUBTED),
)
# The changes that nobody has answered, of the position that an order would be netted with, and of orders that would be
# netted with it too: any of them may bring a stop that nobody has counted for it. And what changes of stops add, one by
# one, the newest last: those that nobody has answered, and what was set in the seconds before, which a list may not
# show yet.
CHANGING = Part(
    """
    SELECT concat_ws(', ', string_agg(change_id, ', ') FILTER (
        WHERE is_open AND mode = 'NETTING' AND account_id = %(account)s AND symbol = %(symbol)s
    ), (
        SELECT string_agg(change_id, ', ') FROM change_request
        JOIN trade_ledger ON trade_ledger.id = change_request.order_id
        JOIN trading_account ON trading_account.id = trade_ledger.account_id
        WHERE change_request.state IN ('SENDING', 'UNKNOWN') AND change_request.kind = 'TERMS'
        AND trade_ledger.account_id = %(account)s AND trade_ledger.symbol = %(symbol)s AND mode = 'NETTING'
    )), array_agg(
        ARRAY[account_id::text, venue_position_id, after ->> 'stop_loss', extra_risk::text, told_at::text]
        ORDER BY fresh.id
    ) FROM (
        SELECT id, position_id, extra_risk, change_id, after, true AS is_open, NULL::timestamptz AS told_at
        FROM change_request WHERE state IN ('SENDING', 'UNKNOWN')
        UNION ALL
        SELECT id, position_id, extra_risk, change_id, after, false,
               CASE WHEN settled_at < %(since)s THEN settled_at END FROM change_request
        WHERE state = 'DONE' AND settled_at >= %(listed_since)s AND settled_at < 'infinity'
    ) fresh
    JOIN broker_positions ON broker_positions.id = fresh.position_id
    JOIN trading_account ON trading_account.id = broker_positions.account_id
    WHERE trading_account.user_id = %(user)s
    """,
    width=2,
)


def in_doubt(*, user_id: int, since: datetime) -> list[TradeLedger]:
    """Return the user's orders that a broker read begun at `since` may or may not show: working ones, and those that
    filled after it. A closing reserves nothing, and is in doubt all the same while nobody knows its outcome.

    One statement, so that an order that settles meanwhile is seen as reserving or as filled, never as neither.
    """
    return as_orders(statements.fetch_only(IN_DOUBT.query, {"user": user_id, "since": since}))


def as_orders(row: Row) -> list[TradeLedger]:
    """Return the orders of a row of `IN_DOUBT`. What they do not carry is read when somebody asks for it."""
    return [statements.made(TradeLedger, DOUBTED, each) for each in zip(*(c or () for c in row), strict=True)]
