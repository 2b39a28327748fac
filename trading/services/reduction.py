"""What an order that only reduces takes from: the position as read live, less what already closes it.

Source: execution reference §4 (reduce-only). The gate judges it like any other order; once it is verified to reduce, it
risks nothing, and limits on exposure do not hold it back (`holds_reducing` in `risk/rules/gate.py`).
"""

from datetime import datetime
from decimal import Decimal

from django.db.models import Q, Sum

from risk.types import Reduction
from trading import rules
from trading.models import Fill, TradeLedger, TradingAccount
from trading.rules import ZERO
from trading.services import unlisted
from trading.services.facts import LISTED_WITHIN, Facts, Missing
from trading.states import OPEN_DELIVERIES, Delivery, OrderType, PositionMode, Side
from trading.types import AccountSnapshot, OrderIntent, VenuePosition


def read(*, account: TradingAccount, intent: OrderIntent, facts: Facts | Missing) -> Reduction | None:
    """Return the position that the order names and what is pending against it, or None when it names none.

    What an earlier close has filled since the facts were read is still in the position that they show: it is pending
    too. One statement finds both what works and what filled, so that a close that settles meanwhile is seen as one or
    the other, and never as neither. The caller holds the user's day: no other close is admitted meanwhile.
    """
    if not intent.is_reducing:
        return None
    if isinstance(facts, Missing):
        return Reduction(ZERO, ZERO, fault=facts.reason)
    named = [each for each in (intent.venue_position_id, intent.other_position_id) if each]
    found = _positions(account, intent=intent, facts=facts)
    if len(found) != len(named):
        return Reduction(ZERO, ZERO, fault="POSITION_NOT_FOUND")
    closing = (
        TradeLedger.objects.filter(account=account)
        .filter(Q(venue_position_id__in=named) | Q(other_position_id__in=named))
        .annotate(unseen=Sum("fills__quantity", filter=Q(fills__booked_at__gte=facts.asked_at)))
        .filter(Q(delivery__in=OPEN_DELIVERIES) | Q(unseen__gt=0))
        .values_list("delivery", "quantity", "filled_quantity", "unseen")
    )
    pending, lost = ZERO, False
    for delivery, quantity, filled, unseen in closing:
        works = delivery in OPEN_DELIVERIES
        pending += (max(ZERO, quantity - filled) if works else ZERO) + (unseen or ZERO)
        lost = lost or delivery == Delivery.UNKNOWN
    (shown,) = (each.snapshot for each in facts.accounts if each.account.pk == account.pk)
    pending += on_its_way(account, shown, symbol=intent.symbol, side=intent.side, asked_at=facts.asked_at)
    return Reduction(
        min(_left(account, position, facts=facts) for position in found), pending,
        fault="CLOSE_ALREADY_UNKNOWN" if lost else "",
    )  # fmt: skip


def on_its_way(
    account: TradingAccount, shown: AccountSnapshot, *, symbol: str, side: Side, asked_at: datetime
) -> Decimal:
    """Return how many lots orders of a side may have taken from a netted position that a list asked for then does not
    show: their fills since, what was sent to the market in the last seconds and nobody has answered for, and what is
    listed as waiting for nothing but somebody to trade with: at the market, or at a price that it has reached. What was
    sent before that and has been done is listed by now; that it never will be takes minutes to prove, and no close
    waits.
    """
    if account.mode == PositionMode.HEDGING:
        return ZERO
    same = {"account": account, "symbol": symbol, "side": side}
    fills = Fill.objects.filter(**same, booked_at__gte=asked_at, order__venue_position_id="")
    unseen: Decimal = fills.aggregate(lots=Sum("quantity"))["lots"] or ZERO
    orders = TradeLedger.objects.open().filter(**same, venue_position_id="").exclude(delivery=Delivery.QUEUED)
    return sum((order.leaves for order in orders if _may_fill(order, shown, asked_at=asked_at)), start=unseen)


def _may_fill(order: TradeLedger, shown: AccountSnapshot, *, asked_at: datetime) -> bool:
    """Tell whether an open order may have filled in the last seconds, or be about to."""
    is_listed = any(each.client_order_id == order.client_order_id for each in shown.orders)
    if order.order_type == OrderType.MARKET:
        is_new = order.delivery == Delivery.SENDING or (order.sent_at or asked_at) >= asked_at - LISTED_WITHIN
        return is_new or is_listed
    quote = shown.quotes.get(order.symbol)
    return is_listed and quote is not None and bool(rules.entry_fault(order.intent, quote=quote, distance_min=ZERO))


def _left(account: TradingAccount, position: VenuePosition, *, facts: Facts) -> Decimal:
    """Return what is left of a position by our books too, where it is listed as before a close of the last seconds: on
    a netting account a close of more would turn it around.
    """
    (snapshot,) = (each.snapshot for each in facts.accounts if each.account.pk == account.pk)
    late = unlisted.closed_unseen(account, snapshot, asked_at=facts.asked_at, within=LISTED_WITHIN)
    return max(ZERO, position.quantity - late.get(position.venue_position_id, ZERO))


def _positions(account: TradingAccount, *, intent: OrderIntent, facts: Facts) -> list[VenuePosition]:
    """Find what the order is to reduce: the position it names, on its own instrument, on the other side; and the one on
    its own side by which that is closed, where it names one.
    """
    mine = (each.snapshot.positions for each in facts.accounts if each.account.pk == account.pk)
    wanted = {intent.venue_position_id: False, intent.other_position_id: True}
    return [
        position
        for positions in mine
        for position in positions
        if position.venue_position_id in wanted
        and position.symbol == intent.symbol
        and (position.side is intent.side) is wanted[position.venue_position_id]
    ]
