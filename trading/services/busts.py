"""Fills that a venue takes back (move 15): a reversal of their own beside them, and nothing is deleted.

What is reversed is the fill as it is booked, whole, whatever the report repeats of it. A reversal of what is not booked
reverses nothing: an adapter tells a fill that was taken back together with its reversal, so that the two make nothing
whenever they are heard of, and people are told of one that comes alone. What is told out of turn otherwise, a trade
after a later one, gives its position its average by the same reckoning (`in_order`).
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.core import metrics, money
from risk.services import stats
from trading import rules
from trading.models import BookCorrection, Fill, TradeLedger, TradingAccount
from trading.services import settling
from trading.services.settling import Booked, Held
from trading.states import FillKind, Side
from trading.types import FillReport, Holding

KIND = "FILL_TAKEN_BACK"
CLOCKS_MAY_DIFFER = timedelta(minutes=1)  # ours and a venue's


def last(reports: Iterable[FillReport]) -> list[FillReport]:
    """Put reversals behind what they may reverse."""
    return sorted(reports, key=lambda report: report.kind is FillKind.BUST)


def owners(account: TradingAccount, reports: Iterable[FillReport]) -> dict[str, str]:
    """Return by its own id the `client_order_id` of whose fill a reversal takes back, '' for nobody's.

    What is booked says it, and not the mark that the report carries. One whose fill is not booked is left out.
    """
    reversals = [report for report in reports if report.kind is FillKind.BUST]
    if not reversals:
        return {}
    rows = Fill.objects.filter(account=account, venue_fill_id__in=[each.reverses for each in reversals])
    booked = dict(rows.values_list("venue_fill_id", "order__client_order_id"))
    return {each.venue_fill_id: booked[each.reverses] or "" for each in reversals if each.reverses in booked}


def belongs(order: TradeLedger, reversal: FillReport, *, own: Iterable[FillReport]) -> bool:
    """Tell whether a reversal takes back a fill of this order. Takes: what the same report tells of the order's own."""
    taken = _taken(order.account_id, reversal)
    if taken is not None:
        return bool(taken.order_id == order.pk)
    return any(each.venue_fill_id == reversal.reverses for each in own)


def book(account_id: int, report: FillReport, *, order: TradeLedger | None, at: datetime) -> Booked | None:
    """Book a reversal and say what its position is now; tell people. None when it is known, or has nothing to reverse.

    Runs in the caller's transaction.
    """
    taken = _taken(account_id, report)
    if taken is None:
        _tell(account_id, report, order, is_booked=False, at=at)
        return None
    if Fill.objects.filter(account_id=account_id, kind=FillKind.BUST, reverses=taken.venue_fill_id).exists():
        return None  # under another name
    whole = replace(
        report, quantity=taken.quantity, price=taken.price, symbol=taken.symbol, side=Side(taken.side).opposite,
        venue_position_id=taken.venue_position_id, venue_order_id=taken.venue_order_id,
    )  # fmt: skip
    booked = settling.book(account_id, whole, order=order, slippage=None)
    if booked is None:
        return None
    if taken.profit > 0:
        # The venue takes it out by a balance operation, as money is paid out; but it was lost, and nobody has it.
        stats.note_cash_flow(account_id=account_id, amount=taken.profit, moved_at=at)
    _tell(account_id, whole, order, is_booked=True, at=at)
    return Booked(booked.fill, _averaged(account_id, whole.venue_position_id, booked.held))


def in_order(booked: Booked) -> Held:
    """Return what a position is after a fill, which others may have overtaken: to reduce keeps an average, and to add
    moves it, so it is a matter of which came first. The venue reckons by when they were executed.
    """
    fill = booked.fill
    later = Fill.objects.filter(
        account_id=fill.account_id, venue_position_id=fill.venue_position_id, filled_at__gt=fill.filled_at,
        booked_at__gt=fill.filled_at - CLOCKS_MAY_DIFFER,
    )  # fmt: skip
    if not later.exists():
        return booked.held
    return _averaged(fill.account_id, fill.venue_position_id, booked.held)


def _taken(account_id: int, report: FillReport) -> Fill | None:
    """Return the fill that a reversal takes back, as it is booked."""
    rows = Fill.objects.filter(account_id=account_id, venue_fill_id=report.reverses)
    return rows.exclude(kind=FillKind.BUST).first()


def _averaged(account_id: int, venue_position_id: str, held: Held) -> Held:
    """Return what a position is when its average is made of the fills that stand, and of corrections, one by one.

    Takes: the position as it is by what was told, in the order in which it was told.
    """
    place = {"account_id": account_id, "venue_position_id": venue_position_id}
    fills = list(Fill.objects.filter(**place).order_by("filled_at", "pk"))
    gone = {fill.reverses for fill in fills if fill.kind == FillKind.BUST}
    steps = [
        (fill.filled_at, fill.quantity * Side(fill.side).direction, fill.price)
        for fill in fills
        if fill.kind != FillKind.BUST and fill.venue_fill_id not in gone
    ]
    steps += [(entry.created_at, entry.quantity, entry.price) for entry in BookCorrection.objects.filter(**place)]
    holding = Holding(rules.ZERO, rules.ZERO)
    for _, quantity, price in sorted(steps, key=lambda step: step[0]):
        if quantity:
            holding = rules.apply_fill(holding, signed_quantity=quantity, price=price)
        else:  # a correction that sets the average alone
            holding = Holding(holding.quantity, price)
    if not held.quantity or holding.quantity != held.quantity:
        return held
    return replace(held, price_open=money.half_even_to(holding.price, settling.PRICE_STEP))


def _tell(account_id: int, reversal: FillReport, order: TradeLedger | None, *, is_booked: bool, at: datetime) -> None:
    account, deal = TradingAccount.objects.get(pk=account_id), reversal.reverses
    what = f"{reversal.side.opposite} {money.as_text(reversal.quantity)} {reversal.symbol}"
    metrics.ORDER_TROUBLE.labels(KIND).inc()
    alerts.open_alert(
        severity=Severity.CRITICAL,
        kind=KIND,
        dedupe_key=f"taken-back:{account_id}:{deal}",
        text=f"{account}: the broker has taken back the deal {deal} ({what})."
        if is_booked
        else f"{account}: the broker has taken back the deal {deal} ({what}), which is not in our books.",
        object_type="trading_account" if order is None else "order",
        object_id=str(account.public_id if order is None else order.public_id),
        at=at,
    )
