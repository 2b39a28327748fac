"""Sending what was accepted and is not sent yet: a worker takes it, or what a dead process left of it.

Source: execution reference §2 moves 3 and 4, §3 step 2. The row is the queue; a message only says where to look first.
"""

import time
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from accounts import selectors as people
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Invalid, OutsideError, Unavailable
from nexus.idempotency.services import records
from risk.services import control
from risk.states import StopLevel
from trading import rules
from trading.models import TradableInstrument, TradeLedger
from trading.services import accounts, arming, facts, instruments, orders
from trading.states import QUEUED, REJECTED, SENDING, Delivery, OrderType, RejectedBy, Side
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
    began = time.monotonic()
    try:
        broker = accounts.broker_of(waiting.account)
        instrument = instruments.get(account=waiting.account, broker=broker, symbol=waiting.symbol, at=at)
        shown = broker.snapshot(symbols=[waiting.symbol])
    except (OutsideError, Invalid, Unavailable):
        fault = None  # the order waits; its age decides
    else:
        read_at = at + timedelta(seconds=time.monotonic() - began)
        fault = _fault(waiting, shown.quotes.get(waiting.symbol), instrument=instrument, at=read_at)
        if shown.pause_s:
            fault = None  # the broker has asked for fewer requests: the order waits for the end of the pause too
    marked_s = time.monotonic()
    order = _claim(order_id=order_id, fault=fault, at=at)
    if order is None or order.delivery != Delivery.SENDING:
        return order
    return orders.send(order, marked_s=marked_s)


def _fault(order: TradeLedger, quote: Quote | None, *, instrument: TradableInstrument, at: datetime) -> str:
    """Return why the market of now is not the one that the order was judged by, or an empty text.

    Its reference stays that of its judgement: its collar and its worst case are measured from there.
    """
    fault = instruments.quote_fault(quote, instrument=instrument, at=at)
    if not fault and quote is not None and not order.venue_position_id:
        fault = instruments.implausible(quote)
    if fault or quote is None or order.order_type != OrderType.MARKET:
        return fault
    side = Side(order.side)
    judged_by = order.reference_ask if side is Side.BUY else order.reference_bid
    assert judged_by is not None
    worse_by = side.direction * (rules.reference_price(quote, side) - judged_by)
    return "PRICE_OUTSIDE_COLLAR" if worse_by > order.deviation else ""


def _is_blocked(order: TradeLedger, *, clock: datetime) -> bool:
    """Tell whether nobody knows any more where another order of the user on the instrument is: it was judged before."""
    lost = Q(delivery=Delivery.UNKNOWN) | Q(
        delivery=Delivery.SENDING, sent_at__lt=clock - timedelta(seconds=settings.SENDING_LEASE_S)
    )
    return TradeLedger.objects.filter(lost, user_id=order.user_id, symbol=order.symbol).exists()


@transaction.atomic(durable=True)
def _claim(*, order_id: int, fault: str | None, at: datetime) -> TradeLedger | None:
    """Mark the order as about to be sent (move 3), or reject it (move 4). Locks: the order, then the stop lock.

    Takes: `fault`: what is wrong with the market, nothing, or None when nobody could be asked.
    """
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
    elif not order.venue_position_id and not people.is_active(user_id=order.user_id):
        reason = "USER_NOT_ACTIVE"
    elif not order.venue_position_id and not order.account.is_active:
        reason = "ACCOUNT_NOT_USABLE"
    elif not order.venue_position_id and not arming.is_armed(order.account):
        reason = "LIVE_NOT_ARMED"
    elif not order.venue_position_id and _is_blocked(order, clock=now):
        reason = "UNKNOWN_ORDER_ON_INSTRUMENT"
    elif now - order.created_at > timedelta(seconds=ttl_s):
        reason = "INTENT_TOO_OLD"
    elif fault is None:
        return None
    else:
        reason = fault
    if reason:
        order.move(REJECTED, at=at, reason=reason, facts={"rejected_by": RejectedBy.LOCAL, "reason": reason})
        records.close(object_id=str(order.public_id), at=at)
    else:
        order.move(SENDING, at=at, facts={"attempts": 1, "sent_at": now})
    trail.record(
        action="order.rejected" if reason else "order.sending",
        actor=DISPATCHER,
        target=Target("order", str(order.public_id)),
        detail={"before": str(QUEUED), "after": str(order.state), "reason": reason},
        occurred_at=at,
    )
    return order
