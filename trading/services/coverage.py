"""What a stop covers: accounts, orders and changes that stand or are on their way."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from risk.services import control
from risk.services.control import Switch
from risk.states import ControlScope, StopLevel, Sweep
from trading.models import BrokerPosition, ChangeRequest, OrderQuerySet, TradableInstrument, TradeLedger, TradingAccount
from trading.services import accounts
from trading.states import IN_FLIGHT, ChangeKind, Delivery
from trading.types import AccountSnapshot, VenueOrder, VenuePosition

# What may still reach the broker, or may have: an order that waits is sent no more once its stop stands, and is shown.
ON_THE_WAY = (Delivery.QUEUED, Delivery.SENDING, Delivery.UNKNOWN)
# A cancel whose order has ended is answered by that, whatever became of the request itself.
UNANSWERED = Q(state__in=IN_FLIGHT) & ~Q(kind=ChangeKind.CANCEL, order__delivery=Delivery.DONE)
LISTED_MAX = 1000


def accounts_under(scope: ControlScope, key: str) -> QuerySet[TradingAccount]:
    """Return the active accounts that a stop covers; an instrument may be held on any of them."""
    rows = TradingAccount.objects.filter(is_active=True).select_related("user").order_by("pk")
    return rows.filter(_accounts_of(scope, key))


def armed_under(scope: ControlScope, key: str) -> QuerySet[TradingAccount]:
    """Return the armed accounts that a stop covers. One of an instrument covers orders, and no account as such."""
    rows = TradingAccount.objects.filter(armed_until__isnull=False).order_by("pk")
    return rows.none() if scope is ControlScope.INSTRUMENT else rows.filter(_accounts_of(scope, key))


def accounts_to_sweep(scope: ControlScope, key: str) -> QuerySet[TradingAccount]:
    """Return the accounts that a stop's sweep is about: those that it covers, and such as were put aside while our
    books say that something stands there. One that is named is swept whatever is known of it.
    """
    rows = TradingAccount.objects.select_related("user").order_by("pk").filter(_accounts_of(scope, key))
    if scope is ControlScope.ACCOUNT:
        return rows
    held = BrokerPosition.objects.filter(account=OuterRef("pk"), closed_at__isnull=True)
    working = TradeLedger.objects.open().filter(account=OuterRef("pk"))
    return rows.filter(Q(is_active=True) | Exists(held) | Exists(working))


def _accounts_of(scope: ControlScope, key: str) -> Q:
    match scope:
        case ControlScope.SYSTEM | ControlScope.INSTRUMENT:
            return Q()
        case ControlScope.BROKER:
            return Q(venue=key)
        case ControlScope.ACCOUNT:
            return Q(pk=int(key))
        case ControlScope.USER:
            return Q(user_id=int(key))
    return Q(pk__in=[])  # orders carry no strategy yet


def left(snapshot: AccountSnapshot, *, kind: Sweep, symbol: str) -> tuple[list[VenueOrder], list[VenuePosition]]:
    """Return what works and, for a sweep that flattens, what is held: ours, and whoever else's. No symbol is any."""
    working = [order for order in snapshot.orders if symbol in ("", order.symbol)]
    if kind is not Sweep.FLATTEN:
        return working, []
    return working, [position for position in snapshot.positions if symbol in ("", position.symbol)]


def to_release(row: Switch, *, level: StopLevel) -> list[TradingAccount]:
    """Return the accounts that would trade again if the stop were eased to `level`.

    Those that another stop holds back more than that stay as they are, and hold nobody up. Of an instrument, those
    that have ever met it.
    """
    covered = accounts_under(ControlScope(row.scope), row.key)
    if row.scope == ControlScope.INSTRUMENT:
        met = TradableInstrument.objects.filter(symbol=row.key).values_list("account_id", flat=True)
        covered = covered.filter(pk__in=met)
    others = {(each.scope, each.key): each.level for each in control.stops() if each.pk != row.pk}
    return [account for account in covered if _level(account, others) <= level]


def _level(account: TradingAccount, others: dict[tuple[str, str], int]) -> int:
    scopes = [(ControlScope.SYSTEM, ""), *accounts.control_scopes(account, symbol="")]
    return max(others.get((scope.value, key), 0) for scope, key in scopes)


def orders_under(scope: ControlScope, key: str) -> OrderQuerySet:
    """Return the open orders that a stop covers, the oldest first."""
    return TradeLedger.objects.open().filter(_of(scope, key)).order_by("pk")


def changes_under(scope: ControlScope, key: str) -> QuerySet[ChangeRequest]:
    """Return the changes of what stands whose answer nobody knows."""
    of_order, of_position = _of(scope, key, "order__"), _of(scope, key, "position__")
    rows = ChangeRequest.objects.filter(UNANSWERED).filter(
        Q(order__isnull=False) & of_order | Q(position__isnull=False) & of_position
    )
    return rows.select_related("order__account", "position__account").order_by("pk")


def in_flight(scope: ControlScope, key: str) -> list[dict[str, Any]]:
    """List the orders and changes that may still reach the broker, or may have, in words that can be stored."""
    found = orders_under(scope, key).filter(delivery__in=ON_THE_WAY).select_related("account")
    asked = changes_under(scope, key)
    return [*map(_order, found[:LISTED_MAX]), *map(_change, asked[:LISTED_MAX])]


def unanswered(of: Iterable[TradingAccount], *, symbol: str = "") -> tuple[OrderQuerySet, QuerySet[ChangeRequest]]:
    """Return the orders and the changes of some accounts of which nobody knows whether they arrived."""
    ids = [account.pk for account in of]
    orders = TradeLedger.objects.filter(account__in=ids, delivery__in=(Delivery.SENDING, Delivery.UNKNOWN))
    asked = ChangeRequest.objects.filter(UNANSWERED).filter(Q(order__account__in=ids) | Q(position__account__in=ids))
    if symbol:
        orders, asked = orders.filter(symbol=symbol), asked.filter(Q(order__symbol=symbol) | Q(position__symbol=symbol))
    return orders.order_by("pk"), asked.order_by("pk")


def _of(scope: ControlScope, key: str, prefix: str = "") -> Q:
    match scope:
        case ControlScope.SYSTEM:
            return Q()
        case ControlScope.BROKER:
            return Q(**{f"{prefix}account__venue": key})
        case ControlScope.ACCOUNT:
            return Q(**{f"{prefix}account_id": int(key)})
        case ControlScope.USER:
            return Q(**{f"{prefix}account__user_id": int(key)})
        case ControlScope.INSTRUMENT:
            return Q(**{f"{prefix}symbol": key})
    return Q(pk__in=[])


def _order(order: TradeLedger) -> dict[str, Any]:
    return {
        "order": str(order.public_id),
        "delivery": order.delivery,
        "account": str(order.account.public_id),
        "what": str(order),
        "sent_at": order.sent_at.isoformat() if order.sent_at else None,
    }


def _change(change: ChangeRequest) -> dict[str, Any]:
    of = change.order or change.position
    assert of is not None
    return {
        "change": str(change.public_id),
        "delivery": change.state,
        "account": str(of.account.public_id),
        "what": f"{change.kind} of {of}",
        "sent_at": change.sent_at.isoformat(),
    }
