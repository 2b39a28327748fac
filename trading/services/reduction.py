"""The position that an order says it reduces, read live, and what other orders already take from it.

Source: execution reference §4 (reduce-only). A verified reduction risks nothing, so the gate holds none of it back for
loss, volume, value or size, and a stop of level REDUCE_ONLY lets it pass.
"""

from decimal import Decimal

from django.db.models import Q

from risk.types import Reduction
from trading.models import Fill, TradeLedger, TradingAccount
from trading.rules import ZERO
from trading.services.facts import Facts, Missing
from trading.states import OPEN_DELIVERIES
from trading.types import OrderIntent, VenuePosition


def closing(account: TradingAccount, *, intent: OrderIntent, facts: Facts | Missing) -> list[TradeLedger]:
    """Return the orders that take from the same positions and that the facts may not show: open ones, and those that
    filled since the broker was read.

    One statement, so that a close that settles meanwhile is seen as open or as filled, never as neither.
    """
    named = [each for each in (intent.venue_position_id, intent.other_position_id) if each]
    takes = Q(venue_position_id__in=named) | Q(other_position_id__in=named)
    unseen = Q(delivery__in=OPEN_DELIVERIES)
    if isinstance(facts, Facts):
        filled = Fill.objects.filter(account=account, booked_at__gte=facts.read_at, order__isnull=False)
        unseen |= Q(pk__in=filled.values("order_id"))
    return list(TradeLedger.objects.filter(takes, unseen, account=account))


def find(
    account: TradingAccount, *, intent: OrderIntent, facts: Facts | Missing, pending: list[TradeLedger]
) -> Reduction:
    """Return what there is to reduce: nothing, when the broker does not show it on the other side."""
    taken = sum((order.leaves + order.filled_quantity for order in pending), start=ZERO)
    if isinstance(facts, Missing):
        return Reduction(volume=ZERO, pending=taken)
    mine = next(each for each in facts.accounts if each.account.pk == account.pk)
    held = {each.venue_position_id: each for each in mine.snapshot.positions if each.symbol == intent.symbol}
    volume = _volume(held.get(intent.venue_position_id), intent=intent, is_other=False)
    if intent.other_position_id:
        volume = min(volume, _volume(held.get(intent.other_position_id), intent=intent, is_other=True))
    return Reduction(volume=volume, pending=taken)


def _volume(position: VenuePosition | None, *, intent: OrderIntent, is_other: bool) -> Decimal:
    if position is None or (position.side is intent.side) is not is_other:
        return ZERO
    return position.quantity
