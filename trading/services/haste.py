"""How often what stands may be changed in a second: as often as orders may be placed."""

from django.db.models import Q

from nexus.core.http import TooManyRequests
from risk.services import limits
from risk.states import LimitKind
from trading.models import ChangeRequest, TradingAccount
from trading.services import facts
from trading.services.orders import SECOND
from trading.states import IN_FLIGHT, ChangeKind


def refuse(account: TradingAccount, *, symbol: str, protects: bool = False) -> None:
    """Answer who changes too often, and send nothing: as many changes in a second as there may be orders. Nobody counts
    cancels, and what only `protects` is counted by itself. The caller holds the user's day. Raises: TooManyRequests.
    """
    since = facts.database_clock() - SECOND
    recent = ChangeRequest.objects.filter(
        Q(settled_at__gte=since) | Q(state__in=IN_FLIGHT), Q(order__account=account) | Q(position__account=account),
        sent_at__gt=since,
    ).exclude(kind=ChangeKind.CANCEL)  # fmt: skip
    count = recent.count()
    if protects:
        told = recent.filter(kind=ChangeKind.STOPS, extra_risk=0).values_list("before__stop_loss", "after__stop_loss")
        count = sum(before != after for before, after in told)
    in_force = limits.in_force(user_id=account.user_id, account_id=account.pk, symbol=symbol)
    limit = in_force.get(LimitKind.ORDERS_PER_SECOND)
    if limit is not None and count >= limit.value:
        detail = f"An account asks for at most {limit.value:f} changes in a second."
        raise TooManyRequests.until(detail, policy="changes", most=int(limit.value), window=SECOND, wait=SECOND)
