"""What is always true of orders, fills, positions and stops, whatever has happened to them.

Source: execution reference §11. Each function asserts one promise over everything stored now.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Protocol

from django.db.models import Max, QuerySet

from nexus.audit.models import Event
from nexus.idempotency.models import IdempotencyRecord
from risk.states import LimitKind, StopLevel
from trading import rules
from trading.brokers import ids
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BookCorrection, BrokerPosition, Fill, OrderEvent, TradeLedger
from trading.states import QUEUED, SENDING, TRANSITIONS, CancelState, Delivery, FillKind, OrderStatus, Side, State

ORDERS = (mt5.TRADE_ACTION_DEAL, mt5.TRADE_ACTION_PENDING)
CLOSED_BY_US = {"DECIDED_BY_OPERATORS"}


class Books(Protocol):
    """Whoever can show a broker's real books of one account."""

    def truth(self) -> dict[str, Any]:
        """Return them."""
        ...


def newest_event() -> int:
    """Return where the black box stands. It is never emptied, so a test only looks at what came after."""
    return Event.objects.aggregate(newest=Max("id"))["newest"] or 0


def assert_always_true(
    broker: Books | None, *, since: int = 0, is_invented: bool = False, account_id: int | None = None
) -> None:
    """Assert every invariant. Takes: `since`, the newest event before it all began; `is_invented` when the test itself
    has spoken for the broker: then the broker's books say nothing about ours; `account_id` when only one is meant.
    """
    orders = list(_of(TradeLedger.objects.order_by("pk"), account_id))
    fills = list(_of(Fill.objects.select_related("order").order_by("pk"), account_id))
    positions = list(_of(BrokerPosition.objects.order_by("pk"), account_id))
    assert_reservations(orders)
    assert_fills_and_positions(orders, fills, positions)
    assert_histories(orders)
    assert_keys(orders)
    assert_limits(orders)
    assert_stops(orders, since=since)
    if broker is not None:
        truth = broker.truth()
        assert_sent_once(orders, truth)
        if not is_invented:
            assert_books(orders, fills, truth)


def _of(rows: QuerySet[Any], account_id: int | None) -> QuerySet[Any]:
    return rows if account_id is None else rows.filter(account_id=account_id)


def assert_reservations(orders: Iterable[TradeLedger]) -> None:
    """Invariant 2: a closed order reserves nothing, an open one exactly the worst of what is not filled."""
    for order in orders:
        leaves = max(Decimal(0), order.quantity - order.filled_quantity)
        is_closed = order.delivery == Delivery.DONE
        wanted = Decimal(0) if is_closed else rules.reserved_for(order.risk, leaves=leaves, quantity=order.quantity)
        assert order.reserved == wanted, f"{order} ({order.state}) reserves {order.reserved}, not {wanted}"
        assert is_closed == (order.status not in (OrderStatus.PENDING, OrderStatus.PARTIALLY_FILLED)), order.state
        assert is_closed == (order.closed_at is not None), f"{order} ({order.state}) closed at {order.closed_at}"


def assert_fills_and_positions(
    orders: Iterable[TradeLedger], fills: Iterable[Fill], positions: Iterable[BrokerPosition]
) -> None:
    """Invariant 4, our side: what is filled is the sum of the stored fills; positions add the corrections."""
    taken_back = {(fill.account_id, fill.reverses) for fill in fills if fill.reverses}
    filled: dict[int | None, Decimal] = defaultdict(Decimal)
    held: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for fill in fills:
        held[fill.account_id, fill.venue_position_id] += fill.quantity * Side(fill.side).direction
        is_other_half = fill.order is not None and fill.venue_position_id == (fill.order.other_position_id or None)
        if is_other_half:
            continue
        if fill.kind == FillKind.ORDER and (fill.account_id, fill.venue_fill_id) not in taken_back:
            filled[fill.order_id] += fill.quantity
    for order in orders:
        assert order.filled_quantity == filled[order.pk], f"{order}: {order.filled_quantity}, not {filled[order.pk]}"
        over = max(Decimal(0), order.filled_quantity - order.quantity)
        assert order.overfill_quantity == over, f"{order} is overfilled by {order.overfill_quantity}, not {over}"
        if order.status == OrderStatus.FILLED and order.reason not in CLOSED_BY_US:
            assert order.filled_quantity >= order.quantity, f"{order} is FILLED with {order.filled_quantity}"
    corrections = BookCorrection.objects.exclude(venue_position_id="")
    for entry in corrections.filter(account__in={each.account_id for each in positions}):
        held[entry.account_id, entry.venue_position_id] += entry.quantity
    ours = {(each.account_id, each.venue_position_id): each.quantity for each in positions}
    assert ours == held, f"positions {ours} are not the sum of their fills {dict(held)}"
    for position in positions:
        assert (position.closed_at is None) == (position.quantity != 0), position


def assert_histories(orders: list[TradeLedger]) -> None:
    """Invariant 9: every move is one the table knows, follows the one before, and has its own audit event."""
    events: dict[int, list[OrderEvent]] = defaultdict(list)
    for event in OrderEvent.objects.filter(order__in=[order.pk for order in orders]).order_by("pk"):
        events[event.order_id].append(event)
    told: dict[str, Counter[str]] = defaultdict(Counter)
    names = [str(order.public_id) for order in orders]
    for canonical in Event.objects.filter(object_type="order", object_id__in=names).values_list("canonical", flat=True):
        document = json.loads(canonical)
        told[document["object_id"]][str(document["detail"].get("after", document["action"]))] += 1
    for order in orders:
        path = [event.to for event in events[order.pk]]
        assert [event.came_from for event in events[order.pk]] == ["", *path][:-1], f"{order} jumped: {path}"
        assert path[-1] == str(order.state), f"{order} is {order.state}, its history ends in {path[-1]}"
        for before, after in pairwise(path):
            assert _state(after) in TRANSITIONS[_state(before)], f"{order}: no move leads from {before} to {after}"
        is_ended = order.delivery == Delivery.DONE and order.status != OrderStatus.FILLED
        assert order.cancel != CancelState.DONE or is_ended, (order, order.state, order.cancel)
        _assert_told(order, path, told[str(order.public_id)])


def _state(text: str) -> State:
    status, _, delivery = text.partition("/")
    return State(OrderStatus(status), Delivery(delivery))


def _assert_told(order: TradeLedger, path: list[str], told: Counter[str]) -> None:
    """The first moves are one event, `order.admitted` or `order.rejected`; each later one tells where it led."""
    assert told["order.admitted"] + told["order.rejected"] == 1, f"{order}: {told}"
    first = 2 if path[:2] == [str(QUEUED), str(SENDING)] and not told[str(SENDING)] else 1
    moves = Counter(path[first:])
    missing = {after: count for after, count in moves.items() if told[after] < count}
    assert not missing, f"{order} moved to {missing} and the black box does not know: {told}"


def assert_keys(orders: Iterable[TradeLedger]) -> None:
    """A key never expires while its order is open, and expires in time afterwards; no key made two orders."""
    expires = dict(IdempotencyRecord.objects.filter(object_type="order").values_list("object_id", "expires_at"))
    for order in orders:
        name = str(order.public_id)
        if name in expires and order.delivery != Delivery.DONE and order.attempts and not order.filled_quantity:
            assert expires[name] is None, f"the key of {order} expires while it is {order.state}"
        if name in expires and order.delivery == Delivery.DONE:
            assert expires[name] is not None, f"the key of {order} never expires, and it is {order.state}"


def assert_limits(orders: Iterable[TradeLedger]) -> None:
    """Invariant 1: whatever was admitted had passed every check, by the figures stored beside it."""
    for order in orders:
        if order.rejected_by == "LOCAL" and not order.attempts and not _was_queued(order):
            continue
        for check in order.checks:
            assert check["passed"], f"{order} was admitted against {check}"
            if check["limit"] is None or check["asked"] is None:
                continue
            limit, asked = Decimal(check["limit"]), Decimal(check["asked"])
            if check["name"] == LimitKind.TRADE_VALUE_MIN:
                assert asked >= limit, check
            elif check["used"] is not None:
                assert Decimal(check["used"]) + asked <= limit, f"{order} was admitted above {check}"


def _was_queued(order: TradeLedger) -> bool:
    return OrderEvent.objects.filter(order=order, to=str(QUEUED)).exists()


def assert_stops(orders: Iterable[TradeLedger], *, since: int) -> None:
    """Invariant 5: no order was marked as sent after a stop that covers the whole system had committed."""
    halted_at: datetime | None = None
    spans: list[tuple[datetime, datetime | None]] = []
    actions = ("control.level_set", "control.level_eased")
    settings = Event.objects.filter(action__in=actions, object_id="SYSTEM:", id__gt=since)
    for event in settings.order_by("pk"):
        is_halt = json.loads(event.canonical)["detail"]["after"] == StopLevel.HALTED.name
        if is_halt and halted_at is None:
            halted_at = event.recorded_at
        elif not is_halt and halted_at is not None:
            spans.append((halted_at, event.recorded_at))
            halted_at = None
    if halted_at is not None:
        spans.append((halted_at, None))
    allowed = _allowed_by_stops(since)
    for order in (order for order in orders if str(order.public_id) not in allowed):
        for stopped, eased in spans:
            sent = order.sent_at
            is_inside = sent is not None and sent > stopped and (eased is None or sent < eased)
            assert not is_inside, f"{order} was sent at {sent}, after the stop of {stopped}"


def _allowed_by_stops(since: int) -> set[str]:
    """Return the orders that a stop's own sweep closes with, and those that a stop without the lock has listed."""
    events = Event.objects.filter(id__gt=since)
    closing = set(events.filter(action="order.admitted", actor_id="sweep").values_list("object_id", flat=True))
    for canonical in events.filter(action="control.in_flight_listed").values_list("canonical", flat=True):
        detail = json.loads(canonical)["detail"]
        if not detail["has_lock"]:
            closing |= {each["order"] for each in detail["in_flight"] if "order" in each}
    return closing


def assert_sent_once(orders: Iterable[TradeLedger], truth: dict[str, Any]) -> None:
    """Invariant 3: nothing of ours was asked of the broker twice, and nothing that we say was never sent."""
    # What was accepted to be executed later is on record twice, the first time marked as such.
    requests = (json.loads(row[1]) for row in truth["requests"] if "late" not in json.loads(row[2]))
    sent = Counter(request["magic"] for request in requests if request["action"] in ORDERS and request["magic"])
    assert not [magic for magic, count in sent.items() if count > 1], f"sent more than once: {sent}"
    for order in orders:
        count = sent[ids.magic(order.client_order_id)]
        assert count <= order.attempts, f"{order} has {order.attempts} attempts and was sent {count} times"


def assert_books(orders: Iterable[TradeLedger], fills: Iterable[Fill], truth: dict[str, Any]) -> None:
    """Invariant 4, both sides: our fills are the broker's deals; a closed order has all of its own."""
    deals = {str(deal["ticket"]): deal for deal in truth["deals"]}
    canceled = {str(ticket) for ticket in truth["canceled"]}
    for fill in fills:
        if fill.kind == FillKind.BUST:
            assert fill.reverses in canceled, f"{fill} takes back {fill.reverses}, and the broker has not"
            continue
        deal = deals.get(fill.venue_fill_id)
        assert deal is not None, f"{fill} is booked and no deal of the broker's"
        booked = (int(fill.quantity.scaleb(8)), fill.side)
        wanted = (deal["volume"], Side.BUY if deal["type"] == mt5.DEAL_TYPE_BUY else Side.SELL)
        assert booked == wanted, f"deal {fill.venue_fill_id} is booked as {booked}, not {wanted}"
    executed: Counter[int] = Counter()
    for ticket, deal in deals.items():
        if deal["reason"] == mt5.DEAL_REASON_EXPERT and ticket not in canceled:
            executed[deal["magic"]] += deal["volume"]
    for order in orders:
        volume = executed[ids.magic(order.client_order_id)]
        volume //= 2 if order.other_position_id else 1  # both halves of a closing carry its mark
        if order.delivery == Delivery.DONE:
            ours = int(order.filled_quantity.scaleb(8))
            assert ours == volume, f"{order} is closed with {ours}; the broker executed {volume}"
