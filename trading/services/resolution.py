"""Finding out what became of orders whose answer was lost. Ask, never resend.

Source: execution reference §3. Only evidence resolves an order: what the broker shows, the gateway's promise that the
request never left and never will, or complete searches without a trace, from one to another far enough apart, with no
gap between them in which the link could have been down unseen. Time alone never does.
"""

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.core.errors import OutsideError, Unreachable
from nexus.core.logs import correlated
from trading import rules, selectors
from trading.brokers.base import Broker
from trading.models import AccountFigures, Fill, TradeLedger, TradingAccount
from trading.services import accounts, comparison, facts, fills, triggers
from trading.states import CancelState, Delivery, VenueState
from trading.types import AccountSnapshot, OrderReport, VenueOrder

log = structlog.get_logger(__name__)

BATCH = 50
FIRST_ABSENCE = timedelta(seconds=60)  # the earliest search that counts, after sending
LAST_ABSENCE = timedelta(seconds=180)  # the earliest search that proves
ABSENCE_GAP = timedelta(seconds=60)  # of searches that succeed, between the first that counts and the one that proves
UNSEEN_MAX = timedelta(seconds=30)  # between two searches of one row: what the link did in between nobody saw
ALERT_AFTER = timedelta(seconds=60)
SILENT_FOR = timedelta(seconds=10)  # two looks that failed: the account's broker does not answer
STILL_WORKS = "ORDER_STILL_WORKS"
ENDED_BEFORE = timedelta(seconds=60)  # what has ended since may be listed a moment longer
ROUND_S, TURNS = 5, 3  # of questions: a broker that does not answer is asked in one of so many; looks find it answering
LISTED_FOR = timedelta(seconds=6)  # a listing speaks for a resting order until the next look at its account


def due() -> list[int]:
    """Return orders to ask about: lost, or acknowledged and not closed, or marked by a process that is gone.

    What a listing has just shown to rest as we have it (`note_resting`) need not be asked about one by one. Of an
    account whose broker does not answer it is one order, in its turn: each would wait for as long, before all others.
    """
    clock = facts.database_clock()
    abandoned = clock - timedelta(seconds=settings.SENDING_LEASE_S)
    is_listed = Q(delivery=Delivery.ACKED, asked_at__gt=clock)
    wanted = Q(delivery__in=[Delivery.UNKNOWN, Delivery.ACKED]) | Q(delivery=Delivery.SENDING, sent_at__lt=abandoned)
    wanted &= ~is_listed
    at_silent = Q(account__in=silent(clock))
    orders = TradeLedger.objects.filter(wanted)
    longest_unasked = (F("asked_at").asc(nulls_first=True), "pk")
    answering = orders.exclude(at_silent).order_by(*longest_unasked).values_list("pk", flat=True)
    ones = orders.filter(at_silent).order_by("account", *longest_unasked).distinct("account")
    in_turn = [pk for pk, account_id in ones.values_list("pk", "account_id") if has_turn(account_id, clock=clock)]
    hanging = TradeLedger.objects.filter(pk__in=in_turn).order_by(*longest_unasked).values_list("pk", flat=True)
    return [*answering[:BATCH], *hanging[:BATCH]]


def has_turn(account_id: int, *, clock: datetime) -> bool:
    """Tell whether an account whose broker does not answer is asked in this round. Whatever is asked there keeps a
    worker for its whole deadline; a few such accounts would leave no worker to those that answer.
    """
    return int(clock.timestamp() / ROUND_S) % TURNS == account_id % TURNS


def silent(clock: datetime) -> QuerySet[AccountFigures, int]:
    """Return the accounts whose broker does not answer: whatever is asked there waits for its whole deadline."""
    rows = AccountFigures.objects.filter(failing_since__isnull=False, read_at__lt=clock - SILENT_FOR)
    return rows.values_list("account_id", flat=True)


def due_of(account_id: int) -> list[int]:
    """Return the account's orders that the broker has something to tell of, the longest unasked first."""
    abandoned = facts.database_clock() - timedelta(seconds=settings.SENDING_LEASE_S)
    orders = TradeLedger.objects.unresolved().filter(account_id=account_id)
    being_sent = Q(delivery=Delivery.SENDING, sent_at__gte=abandoned)
    return list(
        orders.exclude(being_sent).order_by(F("asked_at").asc(nulls_first=True), "pk").values_list("pk", flat=True)
    )


def note_resting(account: TradingAccount, snapshot: AccountSnapshot, *, clock: datetime) -> int:
    """Count every order that a listing shows as we have it, whole and waiting, as asked about; return how many are.

    One that is not listed, or was nowhere before, or has traded, or somebody wants to cancel, is still asked about by
    its own name.
    Takes: the database's `clock` before the listing was read.
    """
    left = {each.client_order_id: each.quantity_left for each in snapshot.orders if each.client_order_id}
    waiting = TradeLedger.objects.filter(
        account=account, delivery=Delivery.ACKED, filled_quantity=0, cancel=CancelState.NONE, absent_since=None,
        client_order_id__in=left,
    )  # fmt: skip
    rows = waiting.values_list("pk", "client_order_id", "quantity")
    same = [key for key, name, quantity in rows if left[name] == quantity]
    return TradeLedger.objects.filter(pk__in=same, delivery=Delivery.ACKED).update(asked_at=clock + LISTED_FOR)


@transaction.atomic(durable=True)
def tell_of_living(account: TradingAccount, snapshot: AccountSnapshot, *, read_at: datetime, at: datetime) -> None:
    """Tell people of orders that are over in our books and work at the broker, until it shows them no more.

    Takes: a complete look, and the database's clock before it.
    """
    listed = [each.client_order_id for each in snapshot.orders if each.client_order_id]
    rows = TradeLedger.objects.filter(account=account, client_order_id__in=listed, delivery=Delivery.DONE)
    living = {str(order.public_id): order for order in rows.filter(closed_at__lt=read_at - ENDED_BEFORE)}
    for name, order in living.items():
        alerts.open_alert(
            severity=Severity.CRITICAL,
            kind=STILL_WORKS,
            dedupe_key=_living_key(name),
            text=f"{account}: order {order} works at the broker, and is {order.status} in our books. Nothing here"
            " cancels it but a sweep.",
            object_type="order",
            object_id=name,
            at=at,
        )
    told = TradeLedger.objects.filter(account=account, public_id__in=alerts.open_about(kind=STILL_WORKS))
    gone = {str(name) for name in told.values_list("public_id", flat=True)} - living.keys()
    if gone:
        alerts.close_alerts(dedupe_keys=[_living_key(name) for name in gone], at=at)


def told_aside() -> list[str]:
    """Return by what key people were told of such orders on accounts that are put aside: nobody looks there again."""
    told = TradeLedger.objects.filter(account__is_active=False, public_id__in=alerts.open_about(kind=STILL_WORKS))
    return [_living_key(str(name)) for name in told.values_list("public_id", flat=True)]


def _living_key(name: str) -> str:
    return f"still-works:{name}"


def resolve(*, order_id: int, at: datetime) -> TradeLedger:
    """Ask the broker about one order and book the answer. Safe to repeat, and to run beside the sender itself."""
    order = TradeLedger.objects.select_related("account").get(pk=order_id)
    with correlated(request_id=order.correlation_id):
        return _resolve(order, at=at)


def _resolve(order: TradeLedger, *, at: datetime) -> TradeLedger:
    order_id = order.pk
    if order.delivery == Delivery.SENDING:
        order = fills.lose(order_id=order_id, detail="The process that sent it is gone.", at=at)
    if order.delivery not in (Delivery.UNKNOWN, Delivery.ACKED):
        return order
    assert order.sent_at is not None
    asked_at = facts.database_clock()
    TradeLedger.objects.filter(pk=order_id).update(asked_at=asked_at)
    try:
        return _ask(order, asked_at=asked_at, at=at)
    except OutsideError as exc:
        log.warning("trading.order.not_resolved", order_id=str(order.public_id), error=str(exc))
        return _keep_asking(order_id=order_id, asked_at=asked_at, at=at)
    except Exception:  # an error of ours: nobody finds the order, as if the broker could not be asked
        connection.close_if_unusable_or_obsolete()
        _keep_asking(order_id=order_id, asked_at=asked_at, at=at)
        raise


def _ask(order: TradeLedger, *, asked_at: datetime, at: datetime) -> TradeLedger:
    """Search the broker for the order, and book what that shows. Raises: OutsideError when it shows nothing."""
    assert order.sent_at is not None
    broker, journal = accounts.broker_of(order.account), accounts.journal_known(order.account)
    report = broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=order.sent_at)
    if report.state is VenueState.NO_TRACE:
        _require_history(broker, order)
        is_moved = _is_moved(broker, order, clock=asked_at)
        return _note_absence(order_id=order.pk, asked_at=asked_at, is_moved=is_moved, at=at)
    if report.state is VenueState.NEVER_SENT and not rules.still_remembers(report.remembers, journal):
        accounts.forgotten(order.account, at=at)
        return _keep_asking(order_id=order.pk, asked_at=asked_at, at=at)
    settled = fills.record(order_id=order.pk, report=report, at=at)
    triggers.account_refused(order.account, said=report, at=at)
    if settled.delivery == Delivery.UNKNOWN:  # it tells of another order's ticket, and nothing of this one
        return _keep_asking(order_id=order.pk, asked_at=asked_at, at=at)
    is_news = not report.is_shown or order.delivery == Delivery.UNKNOWN or settled.absent_since is not None
    if settled.delivery == Delivery.ACKED and is_news:
        _note_taken(order_id=order.pk, is_shown=report.is_shown, asked_at=asked_at, at=at)
    return settled


@transaction.atomic(durable=True)
def _note_taken(*, order_id: int, is_shown: bool, asked_at: datetime, at: datetime) -> None:
    """Keep whether an order that the broker has taken is to be seen there: people are told while it is not."""
    order = TradeLedger.objects.locked().get(pk=order_id)
    if order.delivery != Delivery.ACKED:
        return
    if is_shown:
        TradeLedger.objects.filter(pk=order_id).update(absent_since=None, absent_at=None)
        alerts.close_alert(dedupe_key=_alert_key(order), at=at)
    else:
        _count_absence(order, asked_at=asked_at, at=at)


def _require_history(broker: Broker, order: TradeLedger) -> None:
    """Make sure that the broker lists what we have booked: a history that it is still loading shows no trace either.

    An order that closed a position leaves its trace there alone. Raises: Unreachable.
    """
    known = Fill.objects.filter(account_id=order.account_id).order_by("-booked_at").first()
    if known is None:
        return
    listed = {each.venue_fill_id for each in broker.fills_since(known.filled_at)}
    if known.venue_fill_id not in listed:
        raise Unreachable(f"the broker does not list the fill {known.venue_fill_id} that is booked: no search is whole")


def _is_moved(broker: Broker, order: TradeLedger, *, clock: datetime) -> bool:
    """Tell whether the broker holds something else of the instrument than our books: its deal is listed late, then,
    and may be the order's; or whether an order rests there that may be this one, having lost its mark.

    Raises: Unreachable where its list is not whole.
    """
    shown = broker.snapshot(symbols=[])
    if shown.hides_something:
        raise Unreachable(facts.HIDES)
    if any(_is_alike(each, order) for each in shown.orders):
        return True
    found = comparison.differences(order.account, shown.positions, quiet_since=clock)
    return any(each.symbol == order.symbol and each.missing for each in found)


def _is_alike(shown: VenueOrder, order: TradeLedger) -> bool:
    """Tell whether an order that is none of ours is for the same, and was placed since this one was sent."""
    same = (shown.symbol, shown.side, shown.quantity) == (order.symbol, order.side, order.quantity)
    assert order.sent_at is not None
    return same and not shown.client_order_id and shown.placed_at >= order.sent_at - selectors.LOOK_ALIKE_WITHIN


@transaction.atomic(durable=True)
def _keep_asking(*, order_id: int, asked_at: datetime, at: datetime) -> TradeLedger:
    """Leave the order as it is: a search that failed proves nothing, and breaks a row of searches without a trace."""
    order = TradeLedger.objects.locked().get(pk=order_id)
    lost = TradeLedger.objects.filter(pk=order_id, delivery=Delivery.UNKNOWN)
    lost.update(absent_since=None, absent_at=None)
    _alert_when_old(order, asked_at=asked_at, at=at)
    return order


@transaction.atomic(durable=True)
def _note_absence(*, order_id: int, asked_at: datetime, is_moved: bool, at: datetime) -> TradeLedger:
    """Count a complete search without a trace; the second one, late enough, proves that the order is not there.

    A search that fails in between starts the count anew, and so does a time in which nobody searched (a dead worker
    sees no link break): so the link was seen to hold all along. Two searches just after an outage are as good as one.
    Anything on the instrument that nobody can explain since then may be the order: then nothing is proven.

    Takes: `is_moved`, whether what is held of the instrument is not what our books say.
    """
    order = TradeLedger.objects.locked().get(pk=order_id)
    assert order.sent_at is not None
    age = asked_at - order.sent_at
    _alert_when_old(order, asked_at=asked_at, at=at)
    if order.delivery not in (Delivery.UNKNOWN, Delivery.ACKED) or age < FIRST_ABSENCE:
        return order
    _count_absence(order, asked_at=asked_at, at=at)
    if order.delivery == Delivery.ACKED:
        return order  # it was taken: that it is not to be seen proves nothing
    assert order.absent_since is not None
    is_too_early = age < LAST_ABSENCE or asked_at - order.absent_since < ABSENCE_GAP
    if is_too_early or is_moved or _is_unexplained(order):
        return order
    words = f"No trace in any search, all complete, from {order.absent_since} to {asked_at}."
    return fills.follow(order, report=OrderReport(order.client_order_id, VenueState.NEVER_SENT, reason=words), at=at)


def _is_unexplained(order: TradeLedger) -> bool:
    """Tell whether the books hold something of its instrument that may be the order: booked, or moved to by hand."""
    unexplained = selectors.unexplained_fills(order).exists() or selectors.unexplained_moves(order).exists()
    return unexplained or bool(selectors.look_alikes([order]))


def _count_absence(order: TradeLedger, *, asked_at: datetime, at: datetime) -> None:
    """Count a complete search without a trace in its row, and tell people where the broker had taken the order.

    The caller holds its lock.
    """
    is_row = order.absent_at is not None and asked_at - order.absent_at <= UNSEEN_MAX
    if not is_row or order.absent_since is None:
        order.absent_since = asked_at
    order.absent_at = asked_at if order.absent_at is None else max(asked_at, order.absent_at)
    TradeLedger.objects.filter(pk=order.pk).update(absent_since=order.absent_since, absent_at=order.absent_at)
    if order.delivery == Delivery.ACKED and order.absent_at - order.absent_since >= ALERT_AFTER:
        text = f"The broker took order {order} and shows neither it nor its end. What it may cost stays reserved."
        _tell(order, text=text, at=at)


def _alert_when_old(order: TradeLedger, *, asked_at: datetime, at: datetime) -> None:
    if order.delivery != Delivery.UNKNOWN or order.sent_at is None or asked_at - order.sent_at < ALERT_AFTER:
        return
    text = f"Nobody knows whether order {order} arrived at the broker. It blocks {order.symbol} until it is found."
    _tell(order, text=text, at=at)


def _tell(order: TradeLedger, *, text: str, at: datetime) -> None:
    alerts.open_alert(
        severity=Severity.CRITICAL,
        kind="ORDER_UNKNOWN",
        dedupe_key=_alert_key(order),
        text=text,
        object_type="order",
        object_id=str(order.public_id),
        at=at,
    )


def _alert_key(order: TradeLedger) -> str:
    return f"order-unknown:{order.public_id}"
