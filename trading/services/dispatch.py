"""Sending what was accepted and is not sent yet: a worker takes it, or what a dead process left of it.

Source: execution reference §2 moves 3 and 4, §3 step 2. The row is the queue; a message only says where to look first.
"""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from accounts import selectors as people
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import statements
from nexus.core.errors import Invalid, OutsideError, Unavailable
from nexus.idempotency.services import records
from risk.rules import gate
from risk.rules.limits import at_least, at_most, is_tighter
from risk.services import control, limits
from risk.services.control import StopState
from risk.states import LimitKind, StopLevel
from risk.types import Check, Limit
from trading import rules
from trading.models import TradableInstrument, TradeLedger
from trading.rules import ZERO
from trading.services import accounts, arming, facts, headroom, instruments, orders
from trading.states import QUEUED, REJECTED, SENDING, Delivery, OrderType, RejectedBy, Side
from trading.types import Quote

BATCH = 50
DISPATCHER = Actor.system("dispatcher")
Limits = Mapping[LimitKind, Limit]
KINDS = frozenset(LimitKind)
OF_ONE_ORDER = {  # what each order has to itself, and the reason that is its own
    LimitKind.ORDER_QUANTITY_MAX: "",
    LimitKind.TRADE_VALUE_MIN: "TRADE_VALUE_BELOW_MINIMUM",
    LimitKind.TRADE_VALUE_MAX: "",
    LimitKind.PRICE_COLLAR: "PRICE_OUTSIDE_COLLAR",
}
BY_THE_CLOCK = frozenset({LimitKind.ORDERS_PER_DAY, LimitKind.ORDERS_PER_HOUR})  # which of them count is not kept


class _Lowered(Exception):
    """A limit is lower than what the order was judged by. Nothing was written: judge by these, and try again."""

    def __init__(self, in_force: Limits) -> None:
        super().__init__()
        self.in_force = in_force


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
    judged_by = {LimitKind(each["name"]): Decimal(each["limit"]) for each in waiting.checks if _has_limit(each)}
    held: Check | None = None
    while True:
        marked_s = time.monotonic()
        try:
            order = _claim(order_id=order_id, fault=fault, held=held, judged_by=judged_by, at=at)
        except _Lowered as lowered:
            judged_at = at + timedelta(seconds=time.monotonic() - began)
            try:
                held = _held_by(waiting, lowered.in_force, judged_by=judged_by, at=judged_at)
            except Unavailable:
                fault = None
            judged_by = judged_by | {kind: limit.value for kind, limit in lowered.in_force.items()}
            continue
        if order is None or order.delivery != Delivery.SENDING:
            return order
        return orders.send(order, marked_s=marked_s)


def _has_limit(check: Mapping[str, object]) -> bool:
    """Tell whether a check was one of a limit of ours. How fast was asked is over: that limit holds nothing here."""
    return check["name"] in KINDS and check["name"] != orders.PACE and check["limit"] is not None


def _lower(in_force: Limits, *, than: Mapping[LimitKind, Decimal]) -> list[LimitKind]:
    """Return the kinds of which a tighter limit is in force now, or one where there was none, as the gate goes through
    them.
    """
    asked = {kind: limit.value for kind, limit in in_force.items() if kind != orders.PACE}
    lower = [kind for kind, value in asked.items() if kind not in than or is_tighter(kind, value, than=than[kind])]
    return sorted(lower, key=lambda kind: gate.LIMITS.index(kind.value))


def _held_by(
    order: TradeLedger, in_force: Limits, *, judged_by: Mapping[LimitKind, Decimal], at: datetime
) -> Check | None:
    """Return the first check that an order fails by limits that were lowered since it was judged, or None.

    It is counted already in what stands: its reservation and its count. What waits since later leaves it its place, and
    counts it in its own turn: of two that have no room together the first is sent. Raises: Unavailable when nobody
    knows that.
    """
    lower = _lower(in_force, than=judged_by)
    then, later = _asked(order), _later(order)
    stands = _stands(order, at=at) if set(lower) - set(OF_ONE_ORDER) else {}
    if stands and later != [each for each in _later(order) if each in later]:
        raise Unavailable("what waits has changed meanwhile")  # nobody knows whether it stood in what was read
    for kind in lower:
        if kind.value not in then:  # whoever has admitted it did not know of such limits: its age decides
            raise Unavailable(kind.value)
        asked = then[kind.value]
        if kind is LimitKind.TRADE_VALUE_MIN:
            check = at_least(in_force, kind, asked=asked, reason=OF_ONE_ORDER[kind])
        elif kind in OF_ONE_ORDER:
            check = at_most(in_force, kind, used=None, asked=asked)
            check = check._replace(reason=OF_ONE_ORDER[kind] or check.reason)
        elif kind.value in stands:
            behind = sum((_asked(each).get(kind.value, ZERO) for each in _beside(order, later, kind)), start=ZERO)
            check = at_most(in_force, kind, used=stands[kind.value] - asked - behind, asked=asked)
        else:
            raise Unavailable(kind.value)
        if not check.passed:
            return check
    return None


def _asked(order: TradeLedger) -> Mapping[str, Decimal]:
    """Return what an order was found to ask of each limit when it was judged."""
    return {each["name"]: Decimal(each["asked"]) for each in order.checks if each["asked"] is not None}


def _later(order: TradeLedger) -> list[TradeLedger]:
    """Return what the user has given to the dispatcher after an order, and waits."""
    return list(
        TradeLedger.objects.filter(
            user_id=order.user_id, delivery=Delivery.QUEUED, venue_position_id="", pk__gt=order.pk
        ).order_by("pk")
    )


def _beside(order: TradeLedger, later: list[TradeLedger], kind: LimitKind) -> list[TradeLedger]:
    """Return those of some orders that use up the same limit."""
    if kind is LimitKind.POSITION_SIZE:
        return [each for each in later if (each.symbol, each.side) == (order.symbol, order.side)]
    return [] if kind in BY_THE_CLOCK else later


def _stands(order: TradeLedger, *, at: datetime) -> Mapping[str, Decimal]:
    """Return what is used of each limit, this order included. Raises: Unavailable when some of it cannot be known."""
    found = headroom.read(user=order.user, account=order.account, symbol=order.symbol, side=Side(order.side), at=at)
    if found.missing:
        raise Unavailable(found.missing)
    return {check.name: check.used for check in found.checks if check.used is not None}


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


def _refused(order: TradeLedger, *, stop: StopState, clock: datetime) -> str:
    """Return why an order is not sent any more, whatever its market and its limits, or an empty text."""
    if stop.level > (StopLevel.REDUCE_ONLY if order.venue_position_id else StopLevel.ACTIVE):
        return f"TRADING_{stop.level.name}"
    if not order.venue_position_id:
        if not people.is_active(user_id=order.user_id):
            return "USER_NOT_ACTIVE"
        if not order.account.is_active:
            return "ACCOUNT_NOT_USABLE"
        if not arming.is_armed(order.account):
            return "LIVE_NOT_ARMED"
        if _is_blocked(order, clock=clock):
            return "UNKNOWN_ORDER_ON_INSTRUMENT"
    ttl_s = settings.MARKET_TTL_S if order.order_type == OrderType.MARKET else settings.PENDING_TTL_S
    return "INTENT_TOO_OLD" if clock - order.created_at > timedelta(seconds=ttl_s) else ""


@transaction.atomic(durable=True)
def _claim(
    *,
    order_id: int,
    fault: str | None,
    held: Check | None,
    judged_by: Mapping[LimitKind, Decimal],
    at: datetime,
) -> TradeLedger | None:
    """Mark the order as about to be sent (move 3), or reject it (move 4). Locks: the order, then the stop lock.

    Takes: `fault`: what is wrong with the market, nothing, or None when nobody could be asked; `held`: the check that
    the order fails by a lowered limit, and the limits that it was `judged_by`. Raises: _Lowered.
    """
    order = TradeLedger.objects.locked().filter(pk=order_id, delivery=Delivery.QUEUED).first()
    if order is None:
        return None
    control.lock_shared()
    now = facts.database_clock()
    scopes = accounts.control_scopes(order.account, symbol=order.symbol)
    given = {"user": order.user_id, "account": order.account_id, "symbol": order.symbol, **control.wanted(scopes)}
    states, rows = statements.fetch_parts((control.STATE, limits.IN_FORCE), given)
    reason = _refused(order, stop=control.as_state(states), clock=now)
    if not reason:
        if fault is None:
            return None
        in_force = limits.as_limits(rows)
        if not (fault or held or order.venue_position_id) and _lower(in_force, than=judged_by):
            raise _Lowered(in_force)
        reason = fault or (held.reason if held else "")
    evidence = held.as_dict() if held and reason == held.reason else {}
    if reason:
        rejected = {"rejected_by": RejectedBy.LOCAL, "reason": reason}
        order.move(REJECTED, at=at, reason=reason, evidence=evidence, facts=rejected)
        records.close(object_id=str(order.public_id), at=at)
    else:
        order.move(SENDING, at=at, facts={"attempts": 1, "sent_at": now})
    trail.record(
        action="order.rejected" if reason else "order.sending",
        actor=DISPATCHER,
        target=Target("order", str(order.public_id)),
        detail={"before": str(QUEUED), "after": str(order.state), "reason": reason, **evidence},
        occurred_at=at,
    )
    return order
