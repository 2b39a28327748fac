"""What an order that only reduces takes from: the position as read live, less what already closes it.

Source: execution reference §4 (reduce-only). The gate judges it like any other order; once it is verified to reduce, it
risks nothing, and limits on exposure do not hold it back (`holds_reducing` in `risk/rules/gate.py`).
"""

from django.db.models import Q, Sum

from risk.types import Reduction
from trading.models import TradeLedger, TradingAccount
from trading.rules import ZERO
from trading.services.facts import Facts, Missing
from trading.states import OPEN_DELIVERIES, Delivery
from trading.types import OrderIntent, VenuePosition


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
    position = _position(account, intent=intent, facts=facts)
    if position is None:
        return Reduction(ZERO, ZERO, fault="POSITION_NOT_FOUND")
    closing = (
        TradeLedger.objects.filter(account=account, venue_position_id=intent.venue_position_id)
        .annotate(unseen=Sum("fills__quantity", filter=Q(fills__booked_at__gte=facts.read_at)))
        .filter(Q(delivery__in=OPEN_DELIVERIES) | Q(unseen__gt=0))
        .values_list("delivery", "quantity", "filled_quantity", "unseen")
    )
    pending, lost = ZERO, False
    for delivery, quantity, filled, unseen in closing:
        works = delivery in OPEN_DELIVERIES
        pending += (max(ZERO, quantity - filled) if works else ZERO) + (unseen or ZERO)
        lost = lost or delivery == Delivery.UNKNOWN
    return Reduction(position.quantity, pending, fault="CLOSE_ALREADY_UNKNOWN" if lost else "")


def _position(account: TradingAccount, *, intent: OrderIntent, facts: Facts) -> VenuePosition | None:
    """Find the position that the order is to reduce: the one it names, on its own instrument, on the other side."""
    held = [each.snapshot.positions for each in facts.accounts if each.account.pk == account.pk]
    for position in (position for positions in held for position in positions):
        is_named = position.venue_position_id == intent.venue_position_id
        if is_named and position.symbol == intent.symbol and position.side is not intent.side:
            return position
    return None
