"""Sending what was accepted and is not sent yet: a worker takes it, or what a dead process left of it.

Source: execution reference §2 moves 3 and 4, §3 step 2. The row is the queue; a message only says where to look first.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import OutsideError
from nexus.idempotency.services import records
from risk.services import control
from risk.states import StopLevel
from trading.models import TradeLedger
from trading.services import accounts, facts, orders
from trading.states import QUEUED, REJECTED, SENDING, Delivery, OrderType, RejectedBy
from trading.types import Quote

BATCH = 50
DISPATCHER = Actor.system("dispatcher")


def due() -> list[int]:
    """Return accepted orders that nobody has sent, the oldest first."""
    waiting = TradeLedger.objects.filter(delivery=Delivery.QUEUED).order_by("pk")
    return list(waiting.values_list("pk", flat=True)[:BATCH])


def dispatch(*, order_id: int, at: datetime) -> TradeLedger | None:
    """Send one accepted order, or reject it when a stop or its age no longer allows it.

    Safe to run beside itself: the order is taken under its lock, and only once. Returns None when somebody else has it.
    """
    waiting = TradeLedger.objects.select_related("account").filter(pk=order_id, delivery=Delivery.QUEUED).first()
    if waiting is None:
        return None
    try:
        broker = accounts.broker_of(waiting.account)
        quote = broker.snapshot(symbols=[waiting.symbol]).quotes.get(waiting.symbol)
    except OutsideError:
        quote = None  # the order waits; its age decides
    order = _claim(order_id=order_id, quote=quote, at=at)
    return orders.send(order) if order is not None and order.delivery == Delivery.SENDING else order


@transaction.atomic(durable=True)
def _claim(*, order_id: int, quote: Quote | None, at: datetime) -> TradeLedger | None:
    """Mark the order as about to be sent (move 3), or reject it (move 4). Locks: the order, then the stop lock."""
    order = TradeLedger.objects.locked().filter(pk=order_id, delivery=Delivery.QUEUED).first()
    if order is None:
        return None
    control.lock_shared()
    now = facts.database_clock()
    ttl_s = settings.MARKET_TTL_S if order.order_type == OrderType.MARKET else settings.PENDING_TTL_S
    stop = control.state(scopes=accounts.control_scopes(order.account, symbol=order.symbol))
    most = StopLevel.REDUCE_ONLY if order.venue_position_id else StopLevel.ACTIVE
    reason = ""
    if stop.level > most:
        reason = f"TRADING_{stop.level.name}"
    elif now - order.created_at > timedelta(seconds=ttl_s):
        reason = "INTENT_TOO_OLD"
    elif quote is None:
        return None
    if reason:
        order.move(REJECTED, at=at, reason=reason, facts={"rejected_by": RejectedBy.LOCAL, "reason": reason})
        records.close(object_id=str(order.public_id), at=at)
    else:
        assert quote is not None
        marks = {"attempts": 1, "sent_at": now, "reference_bid": quote.bid, "reference_ask": quote.ask}
        order.move(SENDING, at=at, facts=marks)
    trail.record(
        action="order.rejected" if reason else "order.sending",
        actor=DISPATCHER,
        target=Target("order", str(order.public_id)),
        detail={"before": str(QUEUED), "after": str(order.state), "reason": reason},
        occurred_at=at,
    )
    return order
