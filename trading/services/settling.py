"""The settle step's own SQL: what books a fill, and what moves an order with everything that stands beside its move.

`book` inserts the fill and locks the position that it belongs to, inside `fill_book`, a VOLATILE function (migration
0018). It comes after the order's own lock, in the one order. The arithmetic between is `trading.rules`.

`beside` is what stands beside the order's move in one statement: the positions, the audit event and the end of the
key's keeping. It reads nothing but the rows it changes, all of which are locked.

The usual end of an order, one fill of the whole, is that statement alone, and no transaction around it: the move
compares the order with what it was sent as, and takes its lock; the fill and the position follow from the move. The
position's arithmetic is `position_price` then (migration 0007), which a test holds to `rules.apply_fill`; where a fill
that was executed later is booked already, the statement fails as a whole (migration 0028).

The ORM's way of the same steps is kept in tests/trading/twins.py, and a test holds the two to the same rows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString, NamedTuple

from django.db import connection

from nexus.audit.services import trail
from nexus.core import metrics, money, statements
from nexus.idempotency.services import records
from trading import rules
from trading.models import Beside, Fill, TradeLedger
from trading.states import Side
from trading.types import FillReport, Holding

PRICE_STEP = Decimal("1E-10")

BOOK = """
SELECT fill_id, booked_at, position_id, quantity, price_open
FROM fill_book(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_OWN = {"order_id", "booked_at"}  # known to the statement that books it
_GIVEN = [str(field.column) for field in Fill._meta.concrete_fields if field.column not in {"id", *_OWN}]
ONLY: LiteralString = """
, booked AS (
    INSERT INTO fill (order_id, booked_at, {columns}) SELECT moved.id, clock_timestamp(), {values} FROM moved
    RETURNING order_id
), taken AS (
    INSERT INTO broker_positions AS held (public_id, account_id, venue_position_id, symbol, quantity, price_open,
                                          stop_loss, take_profit, opened_at, stops_unseen)
    SELECT gen_random_uuid(), %(fill_account_id)s, %(fill_venue_position_id)s, %(fill_symbol)s, %(fill_signed)s,
           %(fill_price)s, moved.stop_loss, moved.take_profit, %(fill_filled_at)s, %(stops_unseen)s FROM booked, moved
    ON CONFLICT (account_id, venue_position_id) DO UPDATE SET
        quantity = held.quantity + excluded.quantity,
        price_open = position_price_in_turn(held.quantity, held.price_open, excluded.quantity, excluded.price_open,
            held.account_id, held.venue_position_id, excluded.opened_at, (SELECT sent_at FROM moved)),
        stops_unseen = held.stops_unseen OR
            (excluded.stops_unseen AND excluded.quantity * (held.quantity + excluded.quantity) > 0),
        closed_at = CASE WHEN held.quantity + excluded.quantity = 0 THEN excluded.opened_at END,
        opened_at = CASE WHEN held.closed_at IS NULL THEN held.opened_at ELSE excluded.opened_at END,
        stop_loss = CASE WHEN held.closed_at IS NULL AND held.quantity * (held.quantity + excluded.quantity) >= 0
                         THEN held.stop_loss ELSE excluded.stop_loss END,
        take_profit = CASE WHEN held.closed_at IS NULL AND held.quantity * (held.quantity + excluded.quantity) >= 0
                           THEN held.take_profit ELSE excluded.take_profit END
)""".replace("{columns}", ", ".join(_GIVEN)).replace("{values}", ", ".join(f"%(fill_{name})s" for name in _GIVEN))  # nosec B608
HOLD: LiteralString = """
UPDATE broker_positions SET
    quantity = held.quantity, price_open = held.price_open, closed_at = held.closed_at,
    stop_loss = CASE WHEN held.is_turned THEN held.stop_loss ELSE broker_positions.stop_loss END,
    take_profit = CASE WHEN held.is_turned THEN held.take_profit ELSE broker_positions.take_profit END
FROM unnest(%(held_ids)s::bigint[], %(held_quantities)s::numeric[], %(held_prices)s::numeric[],
            %(held_closed)s::timestamptz[], %(held_turned)s::boolean[], %(held_stops)s::numeric[],
            %(held_targets)s::numeric[])
     AS held (id, quantity, price_open, closed_at, is_turned, stop_loss, take_profit)
WHERE broker_positions.id = held.id
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What a position is after a fill, with new stops where it `is_turned` to the other side: those of the order, or
    none that we know of. Units: signed lots, negative when short.
    """

    position_id: int
    quantity: Decimal
    price_open: Decimal
    closed_at: datetime | None
    is_turned: bool = False
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Booked:
    """A fill that is new, and what its position is after it: for the caller to write."""

    fill: Fill
    held: Held


class Only(NamedTuple):
    """The one fill of an order, to be booked with its move; `stops_unseen` as in `BrokerPosition`."""

    fill: Fill
    stops_unseen: bool


def row_of(account_id: int, report: FillReport, *, order: TradeLedger | None, slippage: Decimal | None) -> Fill:
    """Return the fill as it is to be booked."""
    return statements.drafted(
        Fill, account_id=account_id, order_id=order.pk if order else None, venue_fill_id=report.venue_fill_id,
        venue_order_id=report.venue_order_id, venue_position_id=report.venue_position_id, symbol=report.symbol,
        side=report.side, quantity=report.quantity, price=report.price, commission=report.commission,
        swap=report.swap, fee=report.fee, profit=report.profit, kind=report.kind, reverses=report.reverses,
        slippage=None if slippage is None else money.half_even_to(slippage, PRICE_STEP), filled_at=report.filled_at,
        venue_time_ms=report.venue_time_ms, venue_offset_s=report.venue_offset_s, is_nameless=report.is_nameless,
    )  # fmt: skip


def book(account_id: int, report: FillReport, *, order: TradeLedger | None, slippage: Decimal | None) -> Booked | None:
    """Insert one fill and lock its position, which it makes when it is new. None when the fill is known."""
    assert connection.in_atomic_block
    row = row_of(account_id, report, order=order, slippage=slippage)
    row.pk, row.booked_at, position_id, quantity, price_open = statements.fetch_only(
        BOOK,
        [
            account_id, row.order_id, row.venue_fill_id, row.venue_order_id, row.venue_position_id, row.symbol,
            report.side.value, row.quantity, row.price, row.commission, row.swap, row.fee, row.profit,
            report.kind.value, row.reverses, row.slippage, row.filled_at, order.stop_loss if order else None,
            order.take_profit if order else None, row.venue_time_ms, row.venue_offset_s, row.is_nameless,
        ],
    )  # fmt: skip
    if row.pk is None:
        return None
    signed = report.quantity * report.side.direction
    after = rules.apply_fill(Holding(quantity, price_open), signed_quantity=signed, price=report.price)
    closed_at = report.filled_at if after.quantity == 0 else None
    count(row)
    held = Held(position_id, after.quantity, money.half_even_to(after.price, PRICE_STEP), closed_at)
    if quantity * after.quantity < 0:
        stops = (order.stop_loss, order.take_profit) if order else (None, None)
        held = replace(held, is_turned=True, stop_loss=stops[0], take_profit=stops[1])
    return Booked(row, held)


def count(fill: Fill) -> None:
    """Count a fill for those who watch; one whose transaction fails afterwards is counted all the same."""
    metrics.FILLS.labels(str(fill.kind)).inc()
    if fill.slippage is not None:
        metrics.SLIPPAGE.observe(float(fill.slippage))


def hold(held: Iterable[Held]) -> None:
    """Write what positions are now. The caller holds their locks."""
    statements.fetch(HOLD, _arrays(held))


def beside(
    *, held: Iterable[Held], event: Mapping[str, Any], closing: Mapping[str, Any], only: Only | None = None
) -> Beside:
    """Return what `TradeLedger.move` writes in its own statement, and only when the order moves.

    Takes: `event` as `trail.event` returns it; `closing` as `records.closing` does, or nothing where the order goes on;
    `only`: the one fill of an order that nobody has locked, which is booked with its move or not at all.
    """
    held = list(held)
    parts = [("holding", HOLD)] if held else []
    parts += [("closing", records.CLOSE)] if closing else []
    return Beside(
        (ONLY if only else "")
        + "".join(f", {name} AS ({query} AND EXISTS (SELECT FROM moved))" for name, query in parts),  # nosec B608
        f", {trail.APPEND}",
        {**(_values(only) if only else {}), **(_arrays(held) if held else {}), **event, **closing},
    )


def _values(only: Only) -> Mapping[str, Any]:
    """Return the columns of a fill, by name, its quantity with its sign, and whether its stops are still to be seen."""
    fill = only.fill
    row = {f"fill_{name}": value for name, value in statements.inserted(Fill, fill).items() if name not in _OWN}
    return row | {"fill_signed": fill.quantity * Side(fill.side).direction, "stops_unseen": only.stops_unseen}


def _arrays(held: Iterable[Held]) -> Mapping[str, Any]:
    rows = list(held)
    return {
        "held_ids": [row.position_id for row in rows],
        "held_quantities": [row.quantity for row in rows],
        "held_prices": [row.price_open for row in rows],
        "held_closed": [row.closed_at for row in rows],
        "held_turned": [row.is_turned for row in rows],
        "held_stops": [row.stop_loss for row in rows],
        "held_targets": [row.take_profit for row in rows],
    }
