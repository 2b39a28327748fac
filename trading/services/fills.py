"""What brokers report: fills are booked once each, orders follow their fills, positions follow both.

Limits gate intentions, never facts: whatever a broker has done is booked, however late it is told.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Q, QuerySet

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit.services import trail
from nexus.audit.types import Target
from nexus.core import metrics, money, statements
from nexus.core.jobs import enqueue
from risk.services import adjustments
from risk.states import AdjustmentKind
from trading import rules, selectors
from trading.models import BrokerPosition, Fill, IllegalTransition, TradeLedger, TradingAccount
from trading.services import busts, settling, transitions
from trading.services.settling import Booked, Held
from trading.states import (
    FILLED,
    REJECTED,
    SENDING,
    UNKNOWN,
    ChangeKind,
    ChangeState,
    Delivery,
    FillKind,
    Side,
    VenueState,
)
from trading.types import FillReport, OrderReport

log = structlog.get_logger(__name__)

BARE = "made a position that stands without the stops it asked for: set them or close it"


@transaction.atomic(durable=True)
def record(*, order_id: int, report: OrderReport, at: datetime) -> TradeLedger:
    """Book what a broker says of one of our orders. Safe to repeat: a report that tells nothing new changes nothing."""
    (order,) = statements.objects(
        TradeLedger,
        "SELECT {columns} FROM trade_ledger WHERE id = %s FOR NO KEY UPDATE",
        [order_id],
        without=frozenset({"checks"}),  # most of the row, and nothing here depends on it
    )
    return follow(order, report=report, at=at)


def settle(order: TradeLedger, *, report: OrderReport, at: datetime) -> TradeLedger:
    """Book what the broker answered to an order that this process has just sent, as `record` does.

    The usual answers, a fill of the whole at a good price or a plain refusal, are one statement that commits by itself;
    whatever it cannot be sure of is left to `record`, and so is an order that somebody else has moved meanwhile. What
    cannot be booked leaves it unknown: a ticket that is another order's acknowledges nothing (move 5).
    """
    try:
        settled = _settle_plain(order, report=report, at=at) or record(order_id=order.pk, report=report, at=at)
        detail = "The broker's answer tells of another order's ticket."
    except IntegrityError as exc:
        log.exception("trading.order.not_booked", order_id=str(order.public_id))
        detail = f"The broker's answer cannot be booked: {exc}"
    else:
        if settled.delivery != Delivery.SENDING:
            return settled
    return lose(order_id=order.pk, detail=detail, at=at)


def _settle_plain(order: TradeLedger, *, report: OrderReport, at: datetime) -> TradeLedger | None:
    """Book a usual answer in one statement; None, and nothing is changed, where it is none."""
    fills = [_row(order, fill) for fill in report.fills]
    filled = sum((fill.quantity for fill in fills), start=rules.ZERO)
    to = rules.next_state(
        order.state, reported=report.state, filled=filled, quantity=order.quantity, is_new_fill=bool(fills)
    )
    if to not in (FILLED, REJECTED) or not _is_plain(order, report=report, fills=fills):
        return None
    only = settling.Only(fills[0], report.stops_unseen and _wants_stops(order)) if fills else None
    try:
        transitions.follow(order, to, report=report, standing=fills, at=at, only=only)
    except (IllegalTransition, IntegrityError):
        return None
    for fill in fills:
        settling.count(fill)
    order._prefetched_objects_cache = {"fills": fills}  # type: ignore[attr-defined]  # whoever shows it reads no more
    return order


def _is_plain(order: TradeLedger, *, report: OrderReport, fills: list[Fill]) -> bool:
    """Tell whether an answer asks for nothing but the move: no other fill, no warning, no adjustment."""
    slipped = any(fill.slippage is not None and fill.slippage > settings.SLIPPAGE_THRESHOLD for fill in fills)
    whole = (FillKind.ORDER, order.side, order.quantity)
    is_own = all((fill.kind, fill.side, fill.quantity) == whole for fill in fills)
    is_told = slipped or report.stops_missing or report.halts or report.is_defect
    return (
        order.state == SENDING and not order.other_position_id and len(fills) <= 1 and is_own and not is_told
        and not connection.in_atomic_block
    )  # fmt: skip


@transaction.atomic(durable=True)
def lose(*, order_id: int, detail: str, at: datetime) -> TradeLedger:
    """Say that an order may or may not have arrived (move 7). Its reservation stays; somebody will ask."""
    order = TradeLedger.objects.locked().get(pk=order_id)
    if order.delivery == Delivery.SENDING:
        transitions.move(order, UNKNOWN, reason="OUTCOME_UNKNOWN", evidence={"detail": detail}, at=at)
    return order


@transaction.atomic(durable=True)
def ingest(*, account: TradingAccount, reports: Iterable[FillReport], at: datetime) -> int:
    """Book fills read from an account's history, ours or not, and return how many were new."""
    ours: dict[str, list[FillReport]] = defaultdict(list)
    others: list[FillReport] = []
    unknown = busts.last(_unknown(account, reports))
    owners = busts.owners(account, unknown)
    for fill in unknown:
        name = owners.get(fill.venue_fill_id, fill.client_order_id)
        is_ours = bool(name) and fill.kind in (FillKind.ORDER, FillKind.BUST)
        (ours[name] if is_ours else others).append(fill)
    orders = TradeLedger.objects.locked().filter(account=account, client_order_id__in=list(ours))
    for order in orders:
        fills = tuple(ours.pop(order.client_order_id))
        report = OrderReport(order.client_order_id, VenueState.WORKING, fills=fills, stops_unseen=True)
        follow(order, report=report, at=at)
    for fill in busts.last([*others, *(fill for stray in ours.values() for fill in stray)]):
        _book_other(account, fill, at=at)
    return _booked(account, unknown).count() if unknown else 0


def _unknown(account: TradingAccount, reports: Iterable[FillReport]) -> list[FillReport]:
    """Drop what is booked already, so that a look at a busy hour locks nothing but what is new."""
    by_id = {fill.venue_fill_id: fill for fill in reports}
    for known in _booked(account, by_id.values()).values_list("venue_fill_id", flat=True):
        del by_id[known]
    return list(by_id.values())


def _booked(account: TradingAccount, reports: Iterable[FillReport]) -> QuerySet[Fill]:
    return Fill.objects.filter(account=account, venue_fill_id__in=[fill.venue_fill_id for fill in reports])


def follow(order: TradeLedger, *, report: OrderReport, at: datetime) -> TradeLedger:
    """Book the report's fills and move the order to where they put it. The caller holds the order's lock."""
    assert connection.in_atomic_block
    others = _others(order, report.fills)
    own = [fill for fill in report.fills if _belongs(order, fill) and fill.venue_order_id not in others]
    own += [fill for fill in report.fills if fill.kind is FillKind.BUST and busts.belongs(order, fill, own=own)]
    new, held = _book_own(order, own, alone=len(report.fills) == 1, at=at)
    booked = [fill for fill in own if any(row.venue_fill_id == fill.venue_fill_id for row in new)]
    for stray in busts.last(fill for fill in report.fills if fill not in own):
        _book_other(order.account, stray, at=at)  # it carries our mark and another ticket: a fact all the same
    if others and not own:
        return order  # it says nothing of this one
    if others:
        report = replace(report, fills=tuple(own))  # no ticket of theirs is this one's
    # Whatever is booked for an order moves it: one that is being sent has none but these.
    fills = new if order.delivery == Delivery.SENDING else selectors.fills_of(order)
    order._prefetched_objects_cache = {"fills": fills}  # type: ignore[attr-defined]  # whoever shows it reads no more
    standing = selectors.standing(order, fills)
    filled = sum((fill.quantity for fill in standing), start=rules.ZERO)
    is_all = report.state is VenueState.FILLED and bool(order.other_position_id and filled)
    ends = VenueState.CANCELED if is_all else report.state  # it is one deal of each position: what is left of it stays
    to = rules.next_state(order.state, reported=ends, filled=filled, quantity=order.quantity, is_new_fill=bool(booked))
    if to is None:
        if held:
            settling.hold(held)
        log.debug("trading.order.nothing_new", order_id=str(order.public_id), reported=report.state.value)
        return order
    before = order.reserved
    gone = {fill.reverses for fill in fills}
    has_new = any(fill.kind is FillKind.ORDER and fill.venue_fill_id not in gone for fill in booked)
    why = busts.KIND if any(fill.kind is FillKind.BUST for fill in booked) else ""
    transitions.follow(order, to, report=report, standing=standing, at=at, is_late=has_new, why=why, held=held)
    if report.stops_unseen and _wants_stops(order):
        _await_stops(order, booked)
    _adjust(order, fills=fills, booked=booked, before=before, at=at)
    _warn(order, report=report, fills=fills, has_new=has_new, at=at)
    return order


def _others(order: TradeLedger, reports: Iterable[FillReport]) -> set[str]:
    """Return the tickets of fills that are other orders' of ours: an order without one yet is not given theirs."""
    if order.venue_order_id:
        return set()
    tickets = {fill.venue_order_id for fill in reports} - {""}
    bound = TradeLedger.objects.filter(account=order.account_id, venue_order_id__in=tickets) if tickets else None
    return set() if bound is None else {*bound.values_list("venue_order_id", flat=True)}


def _belongs(order: TradeLedger, fill: FillReport) -> bool:
    """Tell whether a fill is of this order itself: the exit of its position carries the same mark, and is not.

    Whoever closes a position by its number trades the other way, and may be told before the order's ticket is known.
    """
    same_ticket = not order.venue_order_id or not fill.venue_order_id or order.venue_order_id == fill.venue_order_id
    same_way = fill.side == order.side or bool(order.other_position_id)
    return fill.kind is FillKind.ORDER and same_ticket and same_way


def _book_own(order: TradeLedger, own: list[FillReport], *, alone: bool, at: datetime) -> tuple[list[Fill], list[Held]]:
    """Book fills of an order; return those that are new, and the position that is still to be written.

    A report's only fill leaves its position to the order's move; several may meet in one, and are written one by one.
    """
    new: list[Fill] = []
    held: list[Held] = []
    for report in own:
        booked = _book(order.account_id, report, order=order, at=at)
        if booked is not None:
            new.append(booked.fill)
            held.append(_after(booked))
            if not alone:
                settling.hold([held.pop()])
    return new, held


def _book(account_id: int, report: FillReport, *, order: TradeLedger | None, at: datetime) -> Booked | None:
    """Book one fill and say what its position is now. Returns None, and changes nothing, when it is known."""
    if report.kind is FillKind.BUST:
        return busts.book(account_id, report, order=order, at=at)
    return settling.book(account_id, report, order=order, slippage=_slippage(order, report))


def _after(booked: Booked) -> Held:
    """Return what a position is after what was booked, which may be told after what came later."""
    return booked.held if booked.fill.kind == FillKind.BUST else busts.in_order(booked)


def _row(order: TradeLedger, report: FillReport) -> Fill:
    return settling.row_of(order.account_id, report, order=order, slippage=_slippage(order, report))


def _slippage(order: TradeLedger | None, report: FillReport) -> Decimal | None:
    reference = _reference(order) if order is not None and report.kind is FillKind.ORDER else None
    return rules.slippage(side=report.side, price=report.price, reference=reference) if reference else None


def _reference(order: TradeLedger) -> Decimal | None:
    """Return the price that slippage is measured from: where a pending order waited, else the market at sending.

    None when there is nothing to measure.
    """
    if order.other_position_id:
        return None  # nothing was traded: both sides close at the price at which one of them was opened
    resting = order.intent.resting_price
    if resting is not None:
        return resting if order.delivery == Delivery.SENDING else _worst_asked(order, resting)
    reference: Decimal | None = order.reference_ask if order.side == Side.BUY else order.reference_bid
    return reference


def _worst_asked(order: TradeLedger, resting: Decimal) -> Decimal:
    """Return the worse of where an order waits and where a change asked for whose answer nobody knows."""
    lost = order.changes.filter(kind=ChangeKind.TERMS, state__in=(ChangeState.SENDING, ChangeState.UNKNOWN))
    name = "stop_price" if order.intent.resting_price == order.stop_price else "limit_price"
    asked = [Decimal(each.after[name]) for each in lost if each.after[name] is not None]
    return (max if order.side == Side.BUY else min)([resting, *asked])


def _book_other(account: TradingAccount, report: FillReport, *, at: datetime) -> None:
    """Book a fill that no order of ours asked for: a stop that was hit, or somebody else's trade."""
    booked = _book(account.pk, report, order=None, at=at)
    if booked is None:
        return
    settling.hold([_after(booked)])
    trail.record(
        action="fill.booked_external" if report.kind is FillKind.ORDER else "fill.booked_by_broker",
        actor=transitions.BROKER,
        target=Target("trading_account", str(account.public_id)),
        detail={
            "venue_fill_id": report.venue_fill_id,
            "kind": report.kind.value,
            "symbol": report.symbol,
            "side": report.side.value,
            "quantity": report.quantity,
            "price": report.price,
            "profit": report.profit,
        },
        occurred_at=at,
    )
    if report.kind is FillKind.ORDER:
        alerts.open_alert(
            severity=Severity.WARNING,
            kind="EXTERNAL_FILL",
            dedupe_key=f"external:{account.pk}:{report.venue_fill_id}",
            text=f"{account}: somebody else traded {report.side} {money.as_text(report.quantity)} {report.symbol}.",
            object_type="trading_account",
            object_id=str(account.public_id),
            at=at,
        )


def _wants_stops(order: TradeLedger) -> bool:
    return order.stop_loss is not None or order.take_profit is not None


def _await_stops(order: TradeLedger, booked: list[FillReport]) -> None:
    """Let the first list of a position that these fills have made tell whether it has its stops (`moved.py`)."""
    names = {fill.venue_position_id for fill in booked if fill.kind is FillKind.ORDER}
    made = BrokerPosition.objects.filter(account=order.account_id, venue_position_id__in=names, closed_at__isnull=True)
    same_way = Q(quantity__gt=0) if order.side == Side.BUY else Q(quantity__lt=0)
    made.filter(same_way).update(stops_unseen=True)


def _adjust(order: TradeLedger, *, fills: list[Fill], booked: list[FillReport], before: Decimal, at: datetime) -> None:
    """Keep how fills changed what the order risks: a part of it filled, or was taken back, or it filled worse than it
    was judged by.
    """
    account_id, order_id = order.account_id, order.pk
    is_partial = rules.ZERO < order.filled_quantity < order.quantity  # its rest may have ended with the same report
    is_taken_back = not order.filled_quantity and order.delivery != Delivery.DONE
    if booked and (is_partial or is_taken_back) and before != order.reserved:
        adjustments.record(
            kind=AdjustmentKind.PARTIAL_FILL, account_id=account_id, order_id=order_id, before=before,
            after=order.reserved, reason=f"{money.as_text(order.filled_quantity)} lots are filled", at=at,
        )  # fmt: skip
    new = {fill.venue_fill_id for fill in booked}
    slipped = (fill for fill in fills if fill.slippage is not None and fill.slippage > settings.SLIPPAGE_THRESHOLD)
    for fill in (fill for fill in slipped if fill.venue_fill_id in new):
        cost = (fill.slippage or rules.ZERO) * order.value * fill.quantity / order.quantity
        adjustments.record(
            kind=AdjustmentKind.SLIPPAGE, account_id=account_id, order_id=order_id, before=order.risk,
            after=money.ceil_to(order.risk + cost, money.CENT),
            reason=f"filled at {money.as_text(fill.price)}, {fill.slippage} away from its reference", at=at,
        )  # fmt: skip


def _warn(order: TradeLedger, *, report: OrderReport, fills: list[Fill], has_new: bool, at: datetime) -> None:
    """Alert people to what should not have happened, and to what only a person can mend."""
    worst = max((fill.slippage for fill in fills if fill.slippage is not None), default=rules.ZERO)
    conditions = {
        "LATE_FILL": (Severity.CRITICAL, has_new and order.late_fill, "filled after it was closed"),
        "STOPS_MISSING": (Severity.CRITICAL, report.stops_missing, BARE),
        "ACCOUNT_REFUSED": (
            Severity.CRITICAL,
            report.halts,
            f"was refused for good: nothing on this account will be accepted until somebody acts. {report.reason}",
        ),
        "REQUEST_NOT_VALID": (
            Severity.WARNING,
            report.is_defect,
            f"was not valid as it was sent, says the broker: {report.reason} ({report.code})",
        ),
        "OVERFILL": (Severity.CRITICAL, order.overfill_quantity > 0, "filled for more than it asked"),
        "HIGH_SLIPPAGE": (
            Severity.WARNING,
            has_new and worst > settings.SLIPPAGE_THRESHOLD,
            f"filled {worst} away from its reference",
        ),
    }
    if conditions["HIGH_SLIPPAGE"][1]:  # its account is judged by what it has cost now, not by the next look
        enqueue("trading.watch_account", account_id=order.account_id)
    for kind, (severity, holds, words) in conditions.items():
        if holds:
            tell(order, kind=kind, severity=severity, words=words, at=at)


def tell(order: TradeLedger, *, kind: str, severity: Severity, words: str, at: datetime) -> None:
    """Open the alert of this kind about an order, and count it. Safe to repeat."""
    metrics.ORDER_TROUBLE.labels(kind).inc()
    alerts.open_alert(
        severity=severity,
        kind=kind,
        dedupe_key=f"{kind.lower()}:{order.public_id}",
        text=f"Order {order} {words}.",
        object_type="order",
        object_id=str(order.public_id),
        at=at,
    )
