"""Every read of trading worth a name."""

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from django.db.models import QuerySet

from accounts.states import Role
from accounts.types import Principal
from nexus.core import statements
from nexus.core.errors import FieldError, Invalid, NotFound
from nexus.core.statements import Part, Row
from trading.models import BrokerPosition, Fill, OrderQuerySet, TradableInstrument, TradeLedger, TradingAccount
from trading.states import Delivery, FillKind, RejectedBy
from trading.types import AccountSnapshot, FillReport, VenuePosition

LOOK_ALIKE_WITHIN = timedelta(seconds=60)
EXPORTED = 500  # orders at a time
SIFTED = 20_000  # orders that one page looks through for what no index tells
READS_ALL = frozenset({Role.OPERATOR, Role.COMPLIANCE})

# What of an order in doubt is needed to count it, as the table has it: not its checks, which are most of the row.
_COUNTED = {
    "id", "public_id", "account_id", "user_id", "client_order_id", "symbol", "side", "quantity", "filled_quantity",
    "risk", "restopped", "limit_price", "stop_price", "stop_loss", "reserved", "value", "status", "delivery", "sent_at",
    "venue_position_id",
}  # fmt: skip
DOUBTED = tuple(field.attname for field in TradeLedger._meta.concrete_fields if field.attname in _COUNTED)
IN_DOUBT = Part(
    """
    SELECT {columns} FROM (SELECT whole.* FROM (
        SELECT id FROM trade_ledger WHERE user_id = %(user)s AND reserved > 0
        UNION
        SELECT id FROM trade_ledger WHERE user_id = %(user)s AND delivery IN ('SENDING', 'UNKNOWN')
        UNION
        SELECT fill.order_id FROM fill JOIN trading_account ON trading_account.id = fill.account_id
        WHERE trading_account.user_id = %(user)s AND fill.booked_at >= %(since)s AND fill.booked_at < 'infinity'
          AND fill.order_id IS NOT NULL
    ) few CROSS JOIN LATERAL (
        SELECT * FROM trade_ledger WHERE id = few.id AND user_id = %(user)s LIMIT 1
    ) whole ORDER BY id) doubted
    """.replace("{columns}", ", ".join(f"array_agg({name})" for name in DOUBTED)),  # nosec B608  # names of our own columns
    width=len(DOUBTED),
)
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
HELD: LiteralString = """
    SELECT {columns} FROM broker_positions JOIN trading_account ON trading_account.id = broker_positions.account_id
    WHERE broker_positions.closed_at IS NULL
"""
OF_USER: LiteralString = " AND trading_account.user_id = %(user)s"
ON_PAPER: LiteralString = " AND NOT trading_account.is_live"
# What changes of stops add; and the changes that nobody has answered, of the position that an order would be netted
# with, and of orders that would be netted with it too: any of them may bring a stop that nobody has counted for it. And
# what was set in the seconds before, which a list may not show yet: position by position, the newest last.
CHANGING = Part(
    """
    SELECT coalesce(sum(extra_risk) FILTER (WHERE NOT is_told), 0), concat_ws(', ', string_agg(change_id, ', ') FILTER (
        WHERE is_open AND mode = 'NETTING' AND account_id = %(account)s AND symbol = %(symbol)s
    ), (
        SELECT string_agg(change_id, ', ') FROM change_request
        JOIN trade_ledger ON trade_ledger.id = change_request.order_id
        JOIN trading_account ON trading_account.id = trade_ledger.account_id
        WHERE change_request.state IN ('SENDING', 'UNKNOWN') AND change_request.kind = 'TERMS'
        AND trade_ledger.account_id = %(account)s AND trade_ledger.symbol = %(symbol)s AND mode = 'NETTING'
    )), array_agg(
        ARRAY[account_id::text, venue_position_id, after ->> 'stop_loss', extra_risk::text] ORDER BY fresh.id
    ) FILTER (WHERE is_told) FROM (
        SELECT id, position_id, extra_risk, change_id, after, true AS is_open, false AS is_told FROM change_request
        WHERE state IN ('SENDING', 'UNKNOWN')
        UNION ALL
        SELECT id, position_id, extra_risk, change_id, after, false, settled_at < %(since)s FROM change_request
        WHERE state = 'DONE' AND settled_at >= %(listed_since)s AND settled_at < 'infinity'
    ) fresh
    JOIN broker_positions ON broker_positions.id = fresh.position_id
    JOIN trading_account ON trading_account.id = broker_positions.account_id
    WHERE trading_account.user_id = %(user)s
    """,
    width=3,
)


@dataclass(frozen=True, slots=True)
class PositionView:
    """A position of ours beside the broker's own, or without it when the broker could not be asked."""

    position: BrokerPosition
    live: VenuePosition | None
    digits: int | None = None  # behind the point of its prices, where somebody asked


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account beside its live figures, or without them when its broker could not be asked."""

    account: TradingAccount
    live: AccountSnapshot | None


def accounts_of(user: Principal) -> QuerySet[TradingAccount]:
    """Return the accounts a person may see: operators and compliance all, everybody else their own."""
    rows = TradingAccount.objects.select_related("user").order_by("pk")
    rows = rows if user.role in READS_ALL else rows.filter(user_id=user.pk)
    return rows.filter(is_live=False) if user.is_paper_only else rows


def active_accounts() -> QuerySet[TradingAccount]:
    """Return every account that is looked at."""
    return TradingAccount.objects.filter(is_active=True).order_by("pk")


def account_for(user: Principal, *, public_id: uuid.UUID | None) -> TradingAccount:
    """Return the user's account by its id; the id may be left out by a user who has just one.

    Raises: NotFound, or Invalid when it has to be named.
    """
    own = TradingAccount.objects.filter(user_id=user.pk, is_active=True).order_by("pk")
    own = own.filter(is_live=False) if user.is_paper_only else own
    return account_among(own if public_id is None else own.filter(public_id=public_id), public_id=public_id)


def account_among(own: Iterable[TradingAccount], *, public_id: uuid.UUID | None) -> TradingAccount:
    """Return the account that `account_for` would, from the user's active ones. Raises: as it."""
    if public_id is not None:
        named = next((account for account in own if account.public_id == public_id), None)
        if named is None:
            raise NotFound("You have no such account.", errors=[FieldError("/account", "not_found", "no such account")])
        return named
    rows = list(own)
    if not rows:
        raise NotFound("You have no trading account yet. Ask an operator to link one.")
    if len(rows) > 1:
        detail = "Name the account: you have more than one."
        raise Invalid(detail, errors=[FieldError("/account", "required", detail)])
    return rows[0]


def account_named(name: str) -> TradingAccount:
    """Return the account that goes by an id or by a number at its broker. Raises: NotFound, Invalid when several do."""
    found = list(TradingAccount.objects.filter(venue_account=name))
    if not found:
        with contextlib.suppress(ValueError):
            found = list(TradingAccount.objects.filter(public_id=uuid.UUID(name)))
    if len(found) > 1:
        raise Invalid(f"{len(found)} accounts have the number {name}. Name one by its id.")
    if not found:
        raise NotFound(f"There is no account {name}.")
    return found[0]


def orders_of(user: Principal) -> OrderQuerySet:
    """Return the orders a person may see, the newest first."""
    rows = TradeLedger.objects.select_related("account").prefetch_related("fills").order_by("-pk")
    rows = rows if user.role in READS_ALL else rows.filter(user_id=user.pk)
    return rows.filter(account__is_live=False) if user.is_paper_only else rows


def order_of(user: Principal, *, public_id: uuid.UUID) -> TradeLedger:
    """Return one order the person may see. Raises: NotFound, the same for absent and for somebody else's."""
    order = orders_of(user).filter(public_id=public_id).first()
    if order is None:
        raise _no_such_order()
    return order


def _no_such_order() -> NotFound:
    return NotFound("You have no such order.")


def are_booked(account: TradingAccount, reports: Iterable[FillReport]) -> bool:
    """Tell whether every one of these fills stands in our books."""
    wanted = {each.venue_fill_id for each in reports}
    return not wanted or Fill.objects.filter(account=account, venue_fill_id__in=wanted).count() == len(wanted)


def unexplained_fills(order: TradeLedger) -> QuerySet[Fill]:
    """Return fills on the order's instrument and account since it was sent that no order of ours explains."""
    return Fill.objects.filter(
        account_id=order.account_id, symbol=order.symbol, order=None, kind=FillKind.ORDER, filled_at__gte=order.sent_at
    )


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


def unknown_orders() -> list[TradeLedger]:
    """Return every order that nobody can find, the oldest first, with its proposals."""
    rows = TradeLedger.objects.open().filter(delivery=Delivery.UNKNOWN).select_related("account", "user")
    rows = rows.prefetch_related("decisions").order_by("sent_at")
    return list(rows)


def position_of(user: Principal, *, public_id: uuid.UUID) -> BrokerPosition:
    """Return one position the person may act on. Raises: NotFound, the same for absent and for somebody else's."""
    rows = BrokerPosition.objects.select_related("account").filter(account__user_id=user.pk, public_id=public_id)
    position = rows.first()
    if position is None:
        raise NotFound("You have no such position.")
    return position


def with_public_status(orders: OrderQuerySet, status: str) -> OrderQuerySet:
    """Narrow to a status as people see it: UNKNOWN is a state of delivery and hides the others."""
    if status == Delivery.UNKNOWN:
        return orders.filter(delivery=Delivery.UNKNOWN)
    return orders.filter(status=status).exclude(delivery=Delivery.UNKNOWN)


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
            raise _no_such_order()
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


def in_doubt(*, user_id: int, since: datetime) -> list[TradeLedger]:
    """Return the user's orders that a broker read begun at `since` may or may not show: working ones, and those that
    filled after it. A closing reserves nothing, and is in doubt all the same while nobody knows its outcome.

    One statement, so that an order that settles meanwhile is seen as reserving or as filled, never as neither.
    """
    return as_orders(statements.fetch_only(IN_DOUBT.query, {"user": user_id, "since": since}))


def as_orders(row: Row) -> list[TradeLedger]:
    """Return the orders of a row of `IN_DOUBT`. What they do not carry is read when somebody asks for it."""
    return [statements.made(TradeLedger, DOUBTED, each) for each in zip(*(c or () for c in row), strict=True)]


def open_positions(accounts: Iterable[TradingAccount]) -> QuerySet[BrokerPosition]:
    """Return the open positions of some accounts, the oldest first."""
    return (
        BrokerPosition.objects.filter(account__in=list(accounts), closed_at__isnull=True)
        .select_related("account")
        .order_by("pk")
    )


def positions_held(user: Principal) -> list[BrokerPosition]:
    """Return the open positions that a person may see, with their accounts, the oldest first. One statement."""
    seen: LiteralString = HELD + ("" if user.role in READS_ALL else OF_USER) + (ON_PAPER if user.is_paper_only else "")
    rows = statements.pairs(BrokerPosition, TradingAccount, seen + " ORDER BY broker_positions.id", {"user": user.pk})
    known: dict[int, TradingAccount] = {}
    held = []
    for position, account, _ in rows:
        assert account is not None
        position.account = known.setdefault(account.pk, account)
        held.append(position)
    return held


def positions_found(
    user: Principal,
    *,
    account: TradingAccount | None,
    symbol: str,
    is_open: bool | None,
    limit: int,
    before: int | None,
) -> tuple[list[BrokerPosition], int | None]:
    """Return a page of the positions that a person may see, the newest first, and where the next one goes on.

    Takes: "" and None for what does not matter.
    """
    rows = BrokerPosition.objects.select_related("account__user").order_by("-pk")
    rows = rows if user.role in READS_ALL else rows.filter(account__user_id=user.pk)
    rows = rows if account is None else rows.filter(account=account)
    rows = rows.filter(symbol=symbol) if symbol else rows
    rows = rows if is_open is None else rows.filter(closed_at__isnull=is_open)
    page = list((rows if before is None else rows.filter(pk__lt=before))[: limit + 1])
    return page[:limit], page[limit - 1].pk if len(page) > limit else None


def accounts_found(
    user: Principal, *, owner: int | None, text: str, is_live: bool | None, limit: int, before: int | None
) -> tuple[list[TradingAccount], int | None]:
    """Return a page of the accounts that a person may see, with owner and figures, and where the next one goes on.

    Takes: `text` as the beginning of a number at a broker; "" and None for what does not matter.
    """
    rows = accounts_of(user).select_related("user", "figures").order_by("-pk")
    rows = rows if owner is None else rows.filter(user_id=owner)
    rows = rows.filter(venue_account__startswith=text) if text else rows
    rows = rows if is_live is None else rows.filter(is_live=is_live)
    page = list((rows if before is None else rows.filter(pk__lt=before))[: limit + 1])
    return page[:limit], page[limit - 1].pk if len(page) > limit else None


def beside(positions: Iterable[BrokerPosition], *, snapshots: dict[int, AccountSnapshot]) -> list[PositionView]:
    """Put each position beside the broker's own view of it."""
    live = {
        (account_id, position.venue_position_id): position
        for account_id, snapshot in snapshots.items()
        for position in snapshot.positions
    }
    return [PositionView(row, live.get((row.account_id, row.venue_position_id))) for row in positions]


def with_figures(owned: Iterable[TradingAccount], *, snapshots: dict[int, AccountSnapshot]) -> list[AccountView]:
    """Put each account beside its live figures."""
    return [AccountView(account, snapshots.get(account.pk)) for account in owned]


def fills_of(order: TradeLedger) -> list[Fill]:
    """Return everything that was booked for the order, busts too."""
    return statements.objects(Fill, "SELECT {columns} FROM fill WHERE order_id = %s ORDER BY id", [order.pk])


def standing(order: TradeLedger, fills: list[Fill]) -> list[Fill]:
    """Leave out the busts and what they have taken back: the only source of how much of an order is done."""
    taken_back = {fill.reverses for fill in fills if fill.kind == FillKind.BUST}
    if order.other_position_id:  # the other position's half is the same closing, seen from its side
        fills = [fill for fill in fills if fill.venue_position_id != order.other_position_id]
    return [fill for fill in fills if fill.kind != FillKind.BUST and fill.venue_fill_id not in taken_back]


def instruments_met(owned: Iterable[TradingAccount]) -> dict[int, list[TradableInstrument]]:
    """Return the instruments that were met on some accounts, by the account's key and then by name."""
    found: dict[int, list[TradableInstrument]] = {}
    for row in TradableInstrument.objects.filter(account__in=list(owned)).order_by("symbol"):
        found.setdefault(row.account_id, []).append(row)
    return found


def seen_account(user: Principal, *, public_id: uuid.UUID) -> TradingAccount:
    """Return an account the person may see, with its owner. Raises: NotFound, also when it is somebody else's."""
    account = accounts_of(user).select_related("user", "figures").filter(public_id=public_id).first()
    if account is None:
        raise NotFound("You have no such account.")
    return account


def account_after(user: Principal, account: TradingAccount) -> TradingAccount | None:
    """Return the next account that a person may see, in the order of the list: the newest first."""
    return accounts_of(user).filter(pk__lt=account.pk).order_by("-pk").first()


def newest_orders(account: TradingAccount, *, limit: int) -> list[TradeLedger]:
    """Return an account's newest orders, by the index of its owner's."""
    return list(TradeLedger.objects.filter(user_id=account.user_id, account=account).order_by("-pk")[:limit])


def own_accounts(user: Principal) -> list[TradingAccount]:
    """Return the accounts that a person can trade: the own ones that were not put aside."""
    return list(TradingAccount.objects.filter(user_id=user.pk, is_active=True).order_by("pk"))


def symbols_met(user: Principal) -> list[str]:
    """Return the names of the instruments that were met on a person's own accounts."""
    rows = TradableInstrument.objects.filter(account__user_id=user.pk)
    return list(rows.order_by("symbol").values_list("symbol", flat=True).distinct())
