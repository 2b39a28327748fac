"""Looking at every account between orders: what it has and may lose, and fills that nobody here asked for."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import structlog
from django.db import connection, connections, transaction

from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import statements
from nexus.core.errors import OutsideError
from risk.services import sights, stats
from trading import selectors
from trading.models import CashMovement, Fill, TradingAccount
from trading.services import (
    accounts,
    facts,
    figures,
    fills,
    identifiers,
    instruments,
    moved,
    readings,
    resolution,
    sweeps,
    triggers,
)  # fmt: skip
from trading.services.news import Reader
from trading.states import PAID
from trading.types import AccountSnapshot, CashReport, FillReport

log = structlog.get_logger(__name__)
reader = Reader()
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_busy: set[int] = set()  # the accounts that this process is at, or will be when one of its threads is free
_slow: set[int] = set()  # those whose last look here took long, or was somebody else's

WATCHED = timedelta(hours=24)
CASH_WINDOW = timedelta(hours=26)  # a day and what a server's clock may be off
LONGEST_DAY = timedelta(hours=25)  # on which clocks are set back
LOOKS = 3  # at one account, until no money has moved meanwhile
NEVER = datetime.min.replace(tzinfo=UTC)
OVERLAP = timedelta(hours=1)  # history may list a fill late; booking it twice is impossible
LOOK_LOCK = 0x4C4F4F4B  # the space of advisory locks whose second number is an account
SLOW_S = 2.0
ASIDE_THREADS = 16
NEWEST = 100  # of the fills that were booked last, one is as new as any: what is told late stands among them alone

# Orders that were closed without a word of their broker. The reason is written out, so that the index of these orders
# (`order_absent`) is found by a plan for any value.
ABSENT = """
SELECT sent_at FROM trade_ledger
WHERE account_id = %(account)s AND reason = 'NOT_AT_BROKER' AND closed_at >= %(since)s AND sent_at IS NOT NULL
UNION ALL
SELECT sent_at FROM order_decision JOIN trade_ledger ON trade_ledger.id = order_decision.order_id
WHERE account_id = %(account)s AND order_decision.state = 'APPLIED' AND decided_at >= %(since)s AND sent_at IS NOT NULL
"""


def watched() -> list[int]:
    """Return the accounts to look at."""
    return list(TradingAccount.objects.filter(is_active=True).order_by("pk").values_list("pk", flat=True))


def take_turn(*, account_id: int, at: datetime) -> None:
    """Look at one account, unless somebody is at it; what fails is kept, and told when it lasts.

    One whose last look took long has a thread beside the worker's: a broker that hangs makes nobody else's look late.
    """
    global _pool  # noqa: PLW0603 - made in the process that uses it: threads do not survive a fork
    with _lock:
        if account_id in _busy:
            return
        _busy.add(account_id)
        is_slow = account_id in _slow
        if is_slow and _pool is None:
            _pool = ThreadPoolExecutor(max_workers=ASIDE_THREADS, thread_name_prefix="watch")
    if is_slow and _pool is not None:
        _pool.submit(_turn_aside, account_id, at, time.monotonic())
    else:
        _turn(account_id, at=at)


def _turn_aside(account_id: int, at: datetime, asked: float) -> None:
    try:
        _turn(account_id, at=at + timedelta(seconds=time.monotonic() - asked))
    except Exception:
        log.exception("trading.account.look_failed", account_id=account_id)
    finally:
        connections.close_all()


def _turn(account_id: int, *, at: datetime) -> None:
    began, is_mine = time.monotonic(), True
    try:
        with statements.alone(LOOK_LOCK, account_id) as is_mine:
            if is_mine and (new_fills := _look_or_tell(account_id, at=at)):
                log.info("trading.account.fills_booked", account_id=account_id, new_fills=new_fills)
    finally:
        with _lock:
            _busy.discard(account_id)
            is_slow = not is_mine or time.monotonic() - began > SLOW_S
            (_slow.add if is_slow else _slow.discard)(account_id)


def _look_or_tell(account_id: int, *, at: datetime) -> int:
    try:
        return look(account_id=account_id, at=at)
    except Exception as exc:  # an error of ours: nobody sees what the account loses, as if it could not be read
        connection.close_if_unusable_or_obsolete()
        account, fault = TradingAccount.objects.get(pk=account_id), f"{type(exc).__name__}: {exc}"
        figures.note_failure(account, fault=fault, clock=facts.database_clock(), at=at)
        raise


def look(*, account_id: int, at: datetime) -> int:
    """Read one account, keep its figures, book its new fills, stop what they ask for; return how many fills were new.

    Of its history only what is new since the last look of this process is read, and once a minute all of a day. Where
    money has moved meanwhile it is looked at again: what is lost is a difference of the equity and of what was paid in,
    and both have to be of one moment. A broker that cannot be asked changes nothing but what is known of it: the next
    look sees what this one missed. Where the history alone fails, what needs none of it is done: margin, equity, and
    the sweep of what stands again. What our own books say of trouble is looked at all the same. A look compares
    nothing, so it is no sight: only a complete reconciliation says that the account is known.
    """
    account = TradingAccount.objects.get(pk=account_id)
    clock = facts.database_clock()
    triggers.examine(account, at=at, clock=clock)
    # What an order of ours booked meanwhile says nothing about the deals that nobody asked for before it.
    known = Fill.objects.filter(account=account, booked_at__lte=sights.seen_at(account_id=account.pk) or NEVER)
    newest = max(known.order_by("-booked_at").values_list("filled_at", flat=True)[:NEWEST], default=None)
    since = min([newest or account.created_at, *_watch_list(account, at=at)]) - OVERLAP
    new_fills = 0
    snapshot: AccountSnapshot | None = None
    unbooked: Exception | None = None
    try:
        broker = accounts.broker_of(account)
        for _ in range(LOOKS):
            starts = stats.equity_at_start(account_ids=[account.pk], trading_date=at.date())
            snapshot = broker.snapshot(symbols=figures.symbols_of(account))
            news = reader.read(broker, symbols=[], since=min(since, at - CASH_WINDOW), clock=clock)
            _outrun(snapshot, news.fills, at=at)
            has_moved = _book_cash(account, _since_we_began(account, news.cash), at=at)
            try:
                new_fills, unbooked = new_fills + _book_fills(account, news.fills, at=at), None
            except Exception as exc:  # noqa: BLE001 - raised below: what is lost is known without them
                connection.close_if_unusable_or_obsolete()
                unbooked = exc
            if selectors.are_booked(account, (each for each in news.fills if each.filled_at >= begins_at(account))):
                reader.keep(broker, news, clock=clock)
            # An equity from before a deposit, held against a day that has it, would be a loss of its size.
            if not has_moved and starts == stats.equity_at_start(account_ids=[account.pk], trading_date=at.date()):
                break
    except Exception as exc:
        connection.close_if_unusable_or_obsolete()
        if snapshot is not None:  # its history cannot be read, or not be booked: the rest of it is shown
            figures.judge_shown(account, snapshot, at=at)
            sweeps.renew(account, snapshot, read_at=clock, at=at)
        if not isinstance(exc, OutsideError):
            raise
        log.warning("trading.account.not_read", account_id=account_id, error=str(exc))
        figures.note_failure(account, fault=str(exc), clock=clock, at=at)
        return new_fills
    assert snapshot is not None
    _open_day(account, snapshot, read_at=clock, at=at)
    resolution.note_resting(account, snapshot, clock=clock)
    sweeps.renew(account, snapshot, read_at=clock, at=at)
    row = figures.note(account, snapshot, starts=starts, read_at=clock, at=at)
    lost, limit = figures.judge(account, row, at=at)
    moved.note(account, snapshot, read_at=clock, at=at)
    if unbooked is not None:
        raise unbooked
    figures.note_whole(row, at=at)
    # Last of all: nothing that protects waits for a chart, or for the terms by which the next look values what is held.
    readings.keep(row, lost=lost, limit=limit, at=at)
    met = {held.symbol for held in snapshot.positions} | {order.symbol for order in snapshot.orders}
    instruments.renew(account, broker, symbols=met, at=at)
    return new_fills


def begins_at(account: TradingAccount) -> datetime:
    """Return the moment from which on the account's deals are ours to book: what stood before is its opening."""
    return account.created_at - OVERLAP


def book(
    account: TradingAccount,
    snapshot: AccountSnapshot,
    *,
    reports: Sequence[FillReport],
    moved: Sequence[CashReport],
    read_at: datetime,
    at: datetime,
) -> int:
    """Book what was read of an account, each thing once, and return how many fills were new.

    Takes: `read_at`, the database's clock before the broker was asked.
    """
    _outrun(snapshot, reports, at=at)
    _book_cash(account, _since_we_began(account, moved), at=at)
    _open_day(
        account, snapshot, read_at=read_at, at=at
    )  # its first equity has what was booked before it, and counts it no more
    return _book_fills(account, reports, at=at)


def _outrun(snapshot: AccountSnapshot, reports: Sequence[FillReport], *, at: datetime) -> None:
    names = {order.client_order_id for order in snapshot.orders} | {held.client_order_id for held in snapshot.positions}
    identifiers.outrun(names | {fill.client_order_id for fill in reports}, at=at)


def _since_we_began(account: TradingAccount, moved: Sequence[CashReport]) -> list[CashReport]:
    begins = begins_at(account)
    return [each for each in moved if each.moved_at + _or_later(each) >= begins]


def _or_later(report: CashReport) -> timedelta:
    """Return how much later than it says money may have moved."""
    return LONGEST_DAY if report.is_dated_by_day else timedelta(0)


def _book_fills(account: TradingAccount, reports: Sequence[FillReport], *, at: datetime) -> int:
    begins = begins_at(account)
    return fills.ingest(account=account, reports=[each for each in reports if each.filled_at >= begins], at=at)


def _watch_list(account: TradingAccount, *, at: datetime) -> list[datetime]:
    """Return when orders were sent that were closed by absence, or by operators: late deals of theirs are looked for a
    day long.
    """
    given = {"account": account.pk, "since": at - WATCHED}
    return [sent_at for (sent_at,) in statements.fetch(ABSENT, given)]


@transaction.atomic(durable=True)
def _book_cash(account: TradingAccount, reports: Sequence[CashReport], *, at: datetime) -> bool:
    """Book money that moved without a trade, once each, and let the day's loss be measured without it.

    Tells whether some of it was paid in or out, and new.
    """
    has_moved = False
    known = CashMovement.objects.filter(account=account, venue_cash_id__in=[each.venue_cash_id for each in reports])
    booked = set(known.values_list("venue_cash_id", flat=True))
    untold_at = figures.looked_at(account)  # that look was whole, and told of nothing that is not booked
    for report in (each for each in reports if each.venue_cash_id not in booked):
        _, is_new = CashMovement.objects.get_or_create(
            account=account,
            venue_cash_id=report.venue_cash_id,
            defaults={
                "kind": report.kind,
                "amount": report.amount,
                "words": report.words[:100],
                "moved_at": report.moved_at,
                "venue_time_ms": report.venue_time_ms,
                "venue_offset_s": report.venue_offset_s,
                "booked_at": at,
            },
        )
        if is_new and report.kind in PAID:
            has_moved = True
            stats.note_cash_flow(
                account_id=account.pk, amount=report.amount, moved_at=report.moved_at, untold_at=untold_at,
                or_later=_or_later(report),
            )  # fmt: skip
        if is_new:
            trail.record(
                action="cash.booked",
                actor=Actor.system("broker"),
                target=Target("trading_account", str(account.public_id)),
                detail={"venue_cash_id": report.venue_cash_id, "kind": report.kind, "amount": report.amount},
                occurred_at=report.moved_at,
            )
    return has_moved


@transaction.atomic(durable=True)
def _open_day(account: TradingAccount, snapshot: AccountSnapshot, *, read_at: datetime, at: datetime) -> None:
    if not snapshot.equity.is_finite():
        return  # no day begins with that
    stats.open_day(
        account_id=account.pk,
        trading_date=at.date(),
        currency=snapshot.currency,
        equity=snapshot.equity,
        read_at=read_at,
    )
