"""The pages of a ledger: whole orders with their accounts and fills, the newest first."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, LiteralString

from accounts.types import Principal
from nexus.core import statements
from trading.models import Fill, TradeLedger, TradingAccount
from trading.selectors.accounts import READS_ALL
from trading.selectors.orders import no_such_order, orders_of, with_public_status
from trading.states import RejectedBy

EXPORTED = 500  # orders at a time
SIFTED = 20_000  # orders that one page looks through for what no index tells
NEWEST: LiteralString = "SELECT id FROM trade_ledger WHERE user_id = %s ORDER BY id DESC LIMIT %s"
WHOLE: LiteralString = """
    SELECT {columns}, CASE WHEN rejected_by = %s THEN checks::text ELSE '[]' END
    FROM trade_ledger JOIN trading_account ON trading_account.id = trade_ledger.account_id
    WHERE trade_ledger.id = ANY(%s) ORDER BY trade_ledger.id DESC
"""
# What a page of orders shows of none: it is read when somebody asks for it.
UNSHOWN = frozenset(
    {"checks", "restopped", "deviation", "attempts", "asked_at", "absent_since", "absent_at", "correlation_id"}
)
UNSHOWN_OF_FILLS = frozenset({"venue_time_ms", "venue_offset_s", "is_nameless", "booked_at"})


def ledger_page(
    user: Principal,
    *,
    limit: int,
    status: str | None,
    symbol: str | None,
    created_from: datetime | None,
    created_to: datetime | None,
    before: uuid.UUID | None,
) -> tuple[list[TradeLedger], uuid.UUID | None]:
    """Return a page of orders and the id to go on from, or None on the last page.

    What narrows is looked for among so many orders a page, and no index tells it: a page may be short, even empty, and
    go on.
    """
    narrows = bool(status or symbol or created_from or created_to)
    if not narrows and before is None and user.role not in READS_ALL and not user.is_paper_only:
        # What everybody asks first; the rest is built as it is asked.
        found = [key for (key,) in statements.fetch(NEWEST, [user.pk, limit + 1])]
        return _page(found, limit=limit, edge=None)
    orders = orders_of(user).prefetch_related(None).select_related(None)
    if before:
        last = orders.filter(public_id=before).values_list("pk", flat=True).first()
        if last is None:
            raise no_such_order()
        orders = orders.filter(pk__lt=last)
    edge = None
    if narrows:
        edge = orders.values_list("pk", "public_id")[SIFTED : SIFTED + 1].first()
        orders = orders if edge is None else orders.filter(pk__gte=edge[0])
    if status:
        orders = with_public_status(orders, status)
    if symbol:
        orders = orders.filter(symbol=symbol)
    if created_from:
        orders = orders.filter(created_at__gte=created_from)
    if created_to:
        orders = orders.filter(created_at__lt=created_to)
    return _page(list(orders.values_list("pk", flat=True)[: limit + 1]), limit=limit, edge=edge and edge[1])


def _page(found: list[int], *, limit: int, edge: uuid.UUID | None) -> tuple[list[TradeLedger], uuid.UUID | None]:
    page = _whole(found[:limit])
    return page, page[-1].public_id if len(found) > limit else edge


def ledger_rows(user: Principal, **filters: Any) -> Iterator[TradeLedger]:
    """Yield every order that `ledger_page` would show page by page, without holding them all."""
    before: uuid.UUID | None = None
    while True:
        rows, before = ledger_page(user, limit=EXPORTED, before=before, **filters)
        yield from rows
        if before is None:
            return


def _whole(keys: list[int]) -> list[TradeLedger]:
    """Return these orders with their accounts and fills, the newest first.

    The checks are most of a row: a page has them where they decided, as the text they are stored as; an order that was
    admitted has passed them all, and shows them by itself.
    """
    rows = statements.pairs(TradeLedger, TradingAccount, WHOLE, [RejectedBy.LOCAL.value, keys], without=UNSHOWN)
    for order, account, (checks,) in rows:
        order.account, order.checks_text = account, checks  # type: ignore[assignment, attr-defined]
    orders = [order for order, _, _ in rows]
    _attach_fills(orders)
    return orders


def _attach_fills(orders: list[TradeLedger]) -> None:
    """Give each order its fills, so that whoever shows it reads no more."""
    of: dict[int, list[Fill]] = {order.pk: [] for order in orders}
    query = "SELECT {columns} FROM fill WHERE order_id = ANY(%s) ORDER BY id"
    for fill in statements.objects(Fill, query, [list(of)], without=UNSHOWN_OF_FILLS):
        if fill.order_id is not None:
            of[fill.order_id].append(fill)
    for order in orders:
        order._prefetched_objects_cache = {"fills": of[order.pk]}  # type: ignore[attr-defined]
