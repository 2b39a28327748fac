"""Lost answers: asked for, never sent again, and resolved by evidence alone."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import F
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from tests.fakes.paper import Paper
from tests.trading.conftest import brief
from trading import tasks
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import BrokerPosition, Fill, TradeLedger
from trading.services import closes, facts, fills, resolution
from trading.states import Delivery, OrderStatus, RejectedBy, VenueState
from trading.types import OrderReport, OrderRequest


def age(order: TradeLedger, seconds: int) -> None:
    """Let so much time have passed since the order was sent, and since it was first not found."""
    span = timedelta(seconds=seconds)
    TradeLedger.objects.filter(pk=order.pk).update(sent_at=F("sent_at") - span, absent_since=F("absent_since") - span)
    order.refresh_from_db()


def key(position: BrokerPosition) -> RequestKey:
    """Return a key of the position's owner for one act."""
    mark = records.fingerprint(method="POST", path="/trading/execute", body={})
    return RequestKey(str(position.account.user.public_id), str(position.account.public_id), "k" * 32, mark)


def tick(paper: Paper) -> None:
    """Let the broker show a price newer than whatever was sent."""
    paper.quote("EURUSD", "1.08490", "1.08500")


def resolve(order: TradeLedger) -> TradeLedger:
    resolution.resolve(order_id=order.pk, at=now())
    order.refresh_from_db()
    return order


def test_an_answer_lost_after_the_broker_accepted_is_found_filled(execute, paper):
    paper.control.inject("timeout_after_accept")

    order = execute()

    assert (order.public_status, order.delivery) == ("UNKNOWN", Delivery.UNKNOWN)
    assert order.reserved == order.risk > 0
    assert resolution.due() == [order.pk]
    resolve(order)
    assert (order.status, order.delivery, order.reserved) == (OrderStatus.FILLED, Delivery.DONE, 0)
    assert order.average_price == Decimal("1.08500")
    assert len(paper.deals()) == 1
    assert resolution.due() == []


def test_what_is_found_is_dated_by_the_one_clock_that_days_are_counted_by(execute, paper, ahead):
    """By that of a worker which is behind, what fills just after midnight would count for neither day."""
    paper.control.inject("timeout_after_accept")
    order = execute()

    tasks.resolve_order(order_id=order.pk)

    order.refresh_from_db()
    assert order.status == OrderStatus.FILLED
    assert order.closed_at <= facts.database_clock()


def test_an_error_of_ours_while_it_is_sent_leaves_it_unknown_at_once(execute, paper, monkeypatch):
    """Nobody knows on which side of the wire: not after a lease has run out, and the caller is told what we know."""
    submit = Mt5Broker.submit

    def break_behind(broker: Mt5Broker, order: OrderRequest) -> None:
        submit(broker, order)
        raise ZeroDivisionError("a defect of ours")

    monkeypatch.setattr(Mt5Broker, "submit", break_behind)

    order = execute()

    assert (order.delivery, order.reserved) == (Delivery.UNKNOWN, order.risk)
    assert resolve(order).status == OrderStatus.FILLED
    assert len(paper.deals()) == 1


def test_an_order_the_broker_never_saw_stays_unknown_until_two_late_searches_agree(execute, paper):
    paper.control.inject("timeout_before_accept")
    order = execute()
    tick(paper)

    assert resolve(order).delivery == Delivery.UNKNOWN
    assert order.absent_since is None  # too early to count
    age(order, 61)
    assert resolve(order).delivery == Delivery.UNKNOWN
    first = TradeLedger.objects.get().absent_since
    assert first is not None
    assert Alert.objects.get().kind == "ORDER_UNKNOWN"
    assert resolve(order).delivery == Delivery.UNKNOWN  # twice without a trace, but not 180 s after sending
    age(order, 120)
    resolve(order)
    assert (order.status, order.rejected_by, order.reason) == (
        OrderStatus.REJECTED,
        RejectedBy.BROKER,
        "NOT_AT_BROKER",
    )
    assert order.reserved == 0
    assert Alert.objects.get().closed_at is not None
    assert paper.deals() == []


def test_two_searches_just_after_an_outage_prove_nothing(execute, paper):
    paper.control.inject("timeout_before_accept")
    order = execute()
    tick(paper)
    age(order, 1_000)  # nobody could be asked for all this time

    resolve(order)
    age(order, 5)
    resolve(order)
    age(order, 54)
    resolve(order)

    assert (order.delivery, order.reserved) == (Delivery.UNKNOWN, order.risk)
    age(order, 2)
    assert resolve(order).reason == "NOT_AT_BROKER"


def test_searches_behind_a_price_as_old_as_the_order_prove_nothing(execute, paper):
    paper.control.inject("timeout_before_accept")
    order = execute()

    for _ in range(3):
        age(order, 100)
        resolve(order)

    assert (order.delivery, order.absent_since) == (Delivery.UNKNOWN, None)


def test_searches_of_a_history_that_is_still_loading_prove_nothing(execute, paper):
    """The terminal was restarted: it is connected and quotes, and lists no deals yet. A close leaves no other trace."""
    execute()
    held = BrokerPosition.objects.get()
    paper.control.inject("timeout_after_accept")
    order = closes.close(user=held.account.user, position=held, quantity=None, key=key(held), at=now()).order
    assert order.delivery == Delivery.UNKNOWN
    (terminal,) = paper.control._broker._terminals.values()
    terminal.history_from_us = 2**61
    tick(paper)

    for _ in range(3):
        age(order, 100)
        resolve(order)
    assert (order.delivery, order.absent_since) == (Delivery.UNKNOWN, None)

    terminal.history_from_us = 0
    assert resolve(order).status == OrderStatus.FILLED


def test_one_failed_search_breaks_the_row_of_absences(execute, paper, settings):
    paper.control.inject("timeout_before_accept")
    order = execute()
    tick(paper)
    age(order, 61)
    assert resolve(order).absent_since is not None
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"

    resolve(order)

    assert (order.delivery, order.absent_since) == (Delivery.UNKNOWN, None)


def test_two_clean_searches_with_a_dead_worker_between_them_prove_nothing(execute, paper):
    paper.control.inject("timeout_before_accept")
    order = execute()
    tick(paper)
    age(order, 61)
    first = resolve(order).absent_since
    unseen = timedelta(seconds=120)
    TradeLedger.objects.update(  # nobody searched for two minutes
        sent_at=F("sent_at") - unseen, absent_since=F("absent_since") - unseen, absent_at=F("absent_at") - unseen
    )

    resolve(order)

    assert order.delivery == Delivery.UNKNOWN
    assert first is not None
    assert order.absent_since is not None
    assert order.absent_since > first  # the row begins anew
    age(order, 61)
    assert resolve(order).reason == "NOT_AT_BROKER"


def test_a_search_that_never_ended_is_no_look_at_the_link(execute, paper, monkeypatch):
    """Its worker dies in the middle: it was asked, and nobody heard an answer."""
    paper.control.inject("timeout_before_accept")
    order = execute()
    tick(paper)
    age(order, 61)
    resolve(order)
    unseen = timedelta(seconds=120)
    TradeLedger.objects.update(
        sent_at=F("sent_at") - unseen, absent_since=F("absent_since") - unseen, absent_at=F("absent_at") - unseen
    )
    with monkeypatch.context() as patched:
        patched.setattr(Mt5Broker, "order_report", _die)
        with pytest.raises(SystemExit):
            resolve(order)

    assert resolve(order).delivery == Delivery.UNKNOWN


def _die(*_args: object, **_what: object) -> None:
    raise SystemExit


def test_time_alone_never_resolves(execute, paper, settings):
    paper.control.inject("timeout_before_accept")
    order = execute()
    age(order, 1_000_000)
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"

    for _ in range(3):
        resolve(order)

    assert order.delivery == Delivery.UNKNOWN
    assert order.reserved > 0


def test_an_unknown_order_blocks_its_instrument_and_no_other(execute, paper):
    paper.control.inject("timeout_before_accept")
    execute(brief(quantity=Decimal("0.01")))

    second = execute(brief(quantity=Decimal("0.01")))

    assert (second.status, second.reason) == (OrderStatus.REJECTED, "UNKNOWN_ORDER_ON_INSTRUMENT")


def test_the_same_report_any_number_of_times_changes_nothing(execute, paper):
    order = execute()
    fill = Fill.objects.get()
    report = OrderReport(order.client_order_id, VenueState.FILLED, venue_order_id=order.venue_order_id)
    before = (TradeLedger.objects.values().get(), order.events.count())

    for state in (VenueState.FILLED, VenueState.WORKING, VenueState.CANCELED, VenueState.REJECTED, VenueState.EXPIRED):
        fills.record(order_id=order.pk, report=OrderReport(report.client_order_id, state), at=now())

    assert (TradeLedger.objects.values().get(), order.events.count()) == before
    assert Fill.objects.get() == fill


def test_a_process_that_died_sending_leaves_its_order_to_the_resolver(execute, paper, monkeypatch):
    """The mark alone says that it may have left: after the lease somebody asks."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fills, "settle", die)
    with pytest.raises(KeyboardInterrupt):
        execute()
    monkeypatch.undo()
    order = TradeLedger.objects.get()
    assert (order.delivery, resolution.due()) == (Delivery.SENDING, [])
    age(order, 21)

    assert resolution.due() == [order.pk]
    resolve(order)

    assert order.status == OrderStatus.FILLED
    assert [event.to for event in order.events.order_by("pk")] == [
        "PENDING/QUEUED",
        "PENDING/SENDING",
        "PENDING/UNKNOWN",
        "FILLED/DONE",
    ]
    assert len(paper.deals()) == 1


def test_history_cannot_be_rewritten(execute):
    execute()

    for table in ("fill", "order_event"):
        with connection.cursor() as cursor, pytest.raises(Exception, match="append-only"):
            cursor.execute(f"UPDATE {table} SET id = id")  # noqa: S608
        with connection.cursor() as cursor, pytest.raises(Exception, match="append-only"):
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608
