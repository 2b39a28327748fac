"""Orders and positions as JSON, written straight: DRF's serializers cost more than everything else of a read.

The serializers in `forms` stay the published shape; a test holds both to the same answer, field by field.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.http import HttpResponse

from nexus.core.money import as_text
from trading.models import Fill, TradeLedger
from trading.selectors import PositionView


def answer(document: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    """Return the document as the answer of a view. Moments and ids in it are written here, which is soonest done."""
    body = orjson.dumps(document, option=orjson.OPT_UTC_Z)
    return HttpResponse(body, status=status, content_type="application/json", headers=headers)


def order(row: TradeLedger) -> dict[str, Any]:
    """Write an order as `forms.OrderView` does."""
    return {
        "id": row.public_id,
        "account": row.account.public_id,
        "client_order_id": row.client_order_id,
        "venue_order_id": row.venue_order_id,
        "symbol": row.symbol,
        "action": str(row.side),
        "type": str(row.order_type),
        "quantity": as_text(row.quantity),
        "entry_price": _amount(row.entry_price),
        "limit_price": _amount(row.limit_price),
        "stop_price": _amount(row.stop_price),
        "time_in_force": str(row.time_in_force),
        "expires_at": row.expires_at,
        "closes_position": row.venue_position_id,
        "stop_loss": _amount(row.stop_loss),
        "take_profit": _amount(row.take_profit),
        "status": str(row.public_status),
        "delivery": str(row.delivery),
        "cancel": str(row.cancel),
        "rejected_by": str(row.rejected_by),
        "reason": row.reason,
        "reason_detail": row.reason_detail,
        "filled_quantity": as_text(Decimal(row.filled_quantity)),
        "average_price": _amount(row.average_price),
        "risk": as_text(Decimal(row.risk)),
        "reserved": as_text(Decimal(row.reserved)),
        "value": as_text(Decimal(row.value)),
        "reference_bid": _amount(row.reference_bid),
        "reference_ask": _amount(row.reference_ask),
        "created_at": row.created_at,
        "sent_at": row.sent_at,
        "closed_at": row.closed_at,
        "fills": [_fill(each) for each in _fills(row)],
        "checks": _checks(row),
    }


def one(row: TradeLedger, *, alike: Iterable[Fill] | None) -> dict[str, Any]:
    """Write an order as `forms.OneOrderView` does. Takes: its look-alikes, None for whoever is not shown any."""
    return order(row) | ({} if alike is None else {"look_alikes": [_fill(each) for each in alike]})


def ledger(rows: Iterable[TradeLedger], *, following: UUID | None) -> dict[str, Any]:
    """Write a page of orders as `forms.LedgerView` does."""
    return {"results": [order(row) for row in rows], "next": None if following is None else str(following)}


def positions(views: Iterable[PositionView]) -> dict[str, Any]:
    """Write positions as `forms.PositionList` does."""
    return {"results": [_position(view) for view in views]}


def _checks(row: TradeLedger) -> Any:
    """Write the checks as they are stored: a page has read them as text, which goes out unread."""
    text: str | None = getattr(row, "checks_text", None)
    return row.checks if text is None else orjson.Fragment(text)


def _fills(row: TradeLedger) -> Iterable[Fill]:
    """Return the fills that were read with the order, or read them now: a relation's manager takes long to make."""
    known: Iterable[Fill] | None = getattr(row, "_prefetched_objects_cache", {}).get("fills")
    return row.fills.all() if known is None else known


def _fill(row: Fill) -> dict[str, Any]:
    return {
        "id": row.venue_fill_id,
        "side": str(row.side),
        "quantity": as_text(row.quantity),
        "price": as_text(row.price),
        "commission": as_text(row.commission),
        "swap": as_text(row.swap),
        "fee": as_text(row.fee),
        "profit": as_text(row.profit),
        "slippage": _amount(row.slippage),
        "position": row.venue_position_id,
        "reverses": row.reverses,
        "filled_at": row.filled_at,
    }


def _position(view: PositionView) -> dict[str, Any]:
    row, live = view.position, view.live
    return {
        "id": row.public_id,
        "venue_position_id": row.venue_position_id,
        "account": row.account.public_id,
        "symbol": row.symbol,
        "side": str(row.side),
        "quantity": as_text(abs(row.quantity)),
        "price_open": as_text(row.price_open),
        "stop_loss": _amount(row.stop_loss),
        "take_profit": _amount(row.take_profit),
        "price_current": None if live is None else as_text(live.price_current),
        "profit": None if live is None else as_text(live.profit),
        "currency": row.account.currency,
        "is_live": live is not None,
        "opened_at": row.opened_at,
    }


def _amount(value: Decimal | None) -> str | None:
    return None if value is None else as_text(value)
