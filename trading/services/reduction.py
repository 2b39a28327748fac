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
from trading.services.resolution import FIRST_ABSENCE
from trading.states import OPEN_DELIVERIES, Delivery, OrderType, PositionMode, Side
from trading.types import AccountSnapshot, OrderIntent, VenuePosition


def read(
    *, account: TradingAccount, intent: OrderIntent, facts: Facts | Missing, is_sweep: bool = False
) -> Reduction | None:
    """Return the position that the order names and what is pending against it, or None when it names none.

    What an earlier close has filled since the facts were read is still in the position that they show: it is pending
    too. One statement finds both what works and what filled, so that a close that settles meanwhile is seen as one or
    the other, and never as neither. The caller holds the user's day: no other close is admitted meanwhile. Takes:
    `is_sweep` as `on_its_way`.
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
    pending += on_its_way(
        account, shown, symbol=intent.symbol, side=intent.side, asked_at=facts.asked_at, is_sweep=is_sweep
    )
    return Reduction(
        min(_left(account, position, facts=facts) for position in found), pending,
        fault="CLOSE_ALREADY_UNKNOWN" if lost else "",
    )  # fmt: skip


def on_its_way(
    account: TradingAccount, shown: AccountSnapshot, *, symbol: str, side: Side, asked_at: datetime, is_sweep: bool
) -> Decimal:
    """Return how many lots orders of a side may take from a netted position, or may have taken, that a list asked for
    then does not show: their fills since, and what may fill of those that are open.

    Takes: `is_sweep` for the sweep of a stop. It is in a hurry, and looks again until everything is flat: it counts
    what was sent in the last seconds. What was sent before that and has been done is listed by now.
    """
    if account.mode == PositionMode.HEDGING:
        return ZERO
    same = {"account": account, "symbol": symbol, "side": side}
    fills = Fill.objects.filter(**same, booked_at__gte=asked_at, order__venue_position_id="")
    unseen: Decimal = fills.aggregate(lots=Sum("quantity"))["lots"] or ZERO
    orders = TradeLedger.objects.open().filter(**same, venue_position_id="").exclude(delivery=Delivery.QUEUED)
    since = asked_at - LISTED_WITHIN if is_sweep else None
    return sum((order.leaves for order in orders if _may_fill(order, shown, since=since)), start=unseen)


def _may_fill(order: TradeLedger, shown: AccountSnapshot, *, since: datetime | None) -> bool:
    """Tell whether an open order may have filled unseen, or may yet before long.

    One that is not listed may, until a complete search a minute after it was sent shows no trace of it: what was
    answered a moment ago is listed late. That it never will fill takes minutes more to prove, and no close waits for
    that.
    """
    is_listed = any(each.client_order_id == order.client_order_id for each in shown.orders)
    if order.order_type != OrderType.MARKET and (is_listed or order.delivery != Delivery.ACKED):
        quote = shown.quotes.get(order.symbol)  # it waits there, or will once it arrives
        if quote is None or not rules.entry_fault(order.intent, quote=quote, distance_min=ZERO):
            return False
    if is_listed or order.delivery == Delivery.SENDING or order.sent_at is None:
        return True
    if since is not None:
        return order.sent_at >= since
    return order.absent_at is None or order.absent_at - order.sent_at < FIRST_ABSENCE


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
