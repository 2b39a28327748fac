"""Orders and what was booked for them."""

import uuid
from collections.abc import Iterable
from datetime import timedelta

from django.db.models import Q, QuerySet

from accounts.types import Principal
from nexus.core import statements
from nexus.core.errors import NotFound
from trading.models import BookCorrection, ChangeRequest, Fill, OrderQuerySet, TradeLedger, TradingAccount
from trading.selectors.accounts import READS_ALL, accounts_of
from trading.states import Delivery, FillKind
from trading.types import FillReport

LOOK_ALIKE_WITHIN = timedelta(seconds=60)


def orders_of(user: Principal) -> OrderQuerySet:
    """Return the orders a person may see, the newest first."""
    rows = TradeLedger.objects.select_related("account").prefetch_related("fills").order_by("-pk")
    rows = rows if user.role in READS_ALL else rows.filter(user_id=user.pk)
    return rows.filter(account__is_live=False) if user.is_paper_only else rows


def order_of(user: Principal, *, public_id: uuid.UUID) -> TradeLedger:
    """Return one order the person may see. Raises: NotFound, the same for absent and for somebody else's."""
    order = orders_of(user).filter(public_id=public_id).first()
    if order is None:
        raise no_such_order()
    return order


def no_such_order() -> NotFound:
    """Return what is raised for an order that is absent, and for somebody else's."""
    return NotFound("You have no such order.")


def change_of(user: Principal, *, public_id: uuid.UUID) -> ChangeRequest:
    """Return one change of an order or a position the person may see. Raises: NotFound, the same for absent and for
    somebody else's.
    """
    rows = ChangeRequest.objects.filter(Q(order__in=orders_of(user)) | Q(position__account__in=accounts_of(user)))
    change = rows.filter(public_id=public_id).first()
    if change is None:
        raise NotFound("You have no such change.")
    return change


def with_public_status(orders: OrderQuerySet, status: str) -> OrderQuerySet:
    """Narrow to a status as people see it: UNKNOWN is a state of delivery and hides the others."""
    if status == Delivery.UNKNOWN:
        return orders.filter(delivery=Delivery.UNKNOWN)
    return orders.filter(status=status).exclude(delivery=Delivery.UNKNOWN)


def newest_orders(account: TradingAccount, *, limit: int) -> list[TradeLedger]:
    """Return an account's newest orders, by the index of its owner's."""
    return list(TradeLedger.objects.filter(user_id=account.user_id, account=account).order_by("-pk")[:limit])


def unknown_orders() -> list[TradeLedger]:
    """Return every order that nobody can find, the oldest first, with its proposals."""
    rows = TradeLedger.objects.unfound().select_related("account", "user")
    rows = rows.prefetch_related("decisions").order_by("sent_at")
    return list(rows)


def fills_of(order: TradeLedger) -> list[Fill]:
    """Return everything that was booked for the order, busts too."""
    return statements.objects(Fill, "SELECT {columns} FROM fill WHERE order_id = %s ORDER BY id", [order.pk])


def standing(order: TradeLedger, fills: list[Fill]) -> list[Fill]:
    """Leave out the busts and what they have taken back: the only source of how much of an order is done."""
    taken_back = {fill.reverses for fill in fills if fill.kind == FillKind.BUST}
    if order.other_position_id:  # the other position's half is the same closing, seen from its side
        fills = [fill for fill in fills if fill.venue_position_id != order.other_position_id]
    return [fill for fill in fills if fill.kind != FillKind.BUST and fill.venue_fill_id not in taken_back]


def are_booked(account: TradingAccount, reports: Iterable[FillReport]) -> bool:
    """Tell whether every one of these fills stands in our books."""
    wanted = {each.venue_fill_id for each in reports}
    return not wanted or Fill.objects.filter(account=account, venue_fill_id__in=wanted).count() == len(wanted)


def unexplained_fills(order: TradeLedger) -> QuerySet[Fill]:
    """Return fills on the order's instrument and account since it was sent that no order of ours explains."""
    return Fill.objects.filter(
        account_id=order.account_id, symbol=order.symbol, order=None, kind=FillKind.ORDER, filled_at__gte=order.sent_at
    )


def unexplained_moves(order: TradeLedger) -> QuerySet[BookCorrection]:
    """Return what our books were moved by without a deal, on the order's instrument and account since it was sent."""
    rows = BookCorrection.objects.filter(
        account_id=order.account_id, symbol=order.symbol, created_at__gte=order.sent_at
    )
    return rows.exclude(quantity=0)


def look_alikes(orders: Iterable[TradeLedger]) -> dict[int, list[Fill]]:
    """Return by order the fills that may be the order itself, having lost its mark: the same instrument, side and
    quantity, within a minute of its sending, and nobody's name on them.

    They are evidence for a person, never more (MetaTrader reference §10). One statement for all.
    """
    sent = [(order, order.sent_at) for order in orders if order.sent_at is not None]
    if not sent:
        return {}
    times = [at for _, at in sent]
    nameless = list(
        Fill.objects.filter(
            account_id__in={order.account_id for order, _ in sent}, symbol__in={order.symbol for order, _ in sent},
            order=None, kind=FillKind.ORDER, is_nameless=True,
            filled_at__gte=min(times) - LOOK_ALIKE_WITHIN, filled_at__lte=max(times) + LOOK_ALIKE_WITHIN,
        ).order_by("filled_at", "pk")
    )  # fmt: skip
    found = {
        order.pk: [
            fill for fill in nameless
            if (fill.account_id, fill.symbol, fill.side, fill.quantity)
            == (order.account_id, order.symbol, order.side, order.quantity)
            and abs(fill.filled_at - at) <= LOOK_ALIKE_WITHIN
        ]
        for order, at in sent
    }  # fmt: skip
    return {key: fills for key, fills in found.items() if fills}
