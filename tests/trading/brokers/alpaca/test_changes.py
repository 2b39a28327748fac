"""Canceling and changing at Alpaca, where a change is a new order with a new id."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from nexus.core.errors import OutcomeUnknown, Refused
from tests.trading.brokers.alpaca.emulator import Fault
from tests.trading.brokers.alpaca.world import buy
from trading.brokers.base import OrderChange, OrderType, TimeInForce, VenueState

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
WELL_BEFORE = timedelta(minutes=1)


def resting(**changes):
    usual = {
        "order_type": OrderType.LIMIT, "limit_price": Decimal(90), "time_in_force": TimeInForce.GTC,
        "quantity": Decimal(10),
    }  # fmt: skip
    return buy(**(usual | changes))


def change(venue_order_id, price="91.00", **changes):
    usual = OrderChange(
        change_id="N100W000000019-T", venue_order_id=venue_order_id, limit_price=Decimal(price), stop_price=None,
        stop_loss=None, take_profit=None, time_in_force=TimeInForce.GTC,
    )  # fmt: skip
    return replace(usual, **changes)


def report_of(broker, order):
    return broker.order_report(
        client_order_id=order.client_order_id, symbol=order.symbol, sent_at=datetime.now(UTC) - WELL_BEFORE
    )


def fills_of(broker, order):
    since = datetime.now(UTC) - WELL_BEFORE
    return [fill for fill in broker.fills_since(since) if fill.client_order_id == order.client_order_id]


@pytest.mark.parametrize("carries", [False, True], ids=["tells its own fills", "tells all fills before it too"])
def test_an_order_keeps_its_name_and_its_fills_through_changes(broker, emulator, carries):
    emulator.books.carries_fills = carries
    order = resting()
    ticket = broker.submit(order).venue_order_id
    emulator.books.trade(emulator.books.orders[0], Decimal(4), Decimal(90))

    broker.change_order(change(ticket))
    broker.change_order(change(ticket, "92.00", change_id="N100W00000002A-T"))

    assert len(emulator.books.orders) == 3
    report = report_of(broker, order)
    assert (report.state, report.venue_order_id) == (VenueState.WORKING, ticket)
    assert [fill.quantity for fill in report.fills] == [4]
    (working,) = broker.snapshot(symbols=[]).orders
    assert (working.venue_order_id, working.client_order_id) == (ticket, order.client_order_id)
    assert (working.price, working.quantity_left) == (92, 6)

    emulator.books.move("AAPL", "91.00", "91.50")

    report = report_of(broker, order)
    assert (report.state, [fill.quantity for fill in report.fills]) == (VenueState.FILLED, [4, 6])
    assert {fill.venue_order_id for fill in report.fills} == {ticket}
    assert fills_of(broker, order) == list(report.fills)


@pytest.mark.parametrize("carries", [False, True])
def test_what_was_filled_before_a_change_is_waited_for_when_the_order_ends(broker, emulator, carries):
    emulator.books.carries_fills = carries
    order = resting()
    ticket = broker.submit(order).venue_order_id
    emulator.books.trade(emulator.books.orders[0], Decimal(4), Decimal(90))
    broker.change_order(change(ticket))
    broker.cancel(cancel_id="cancel-1", venue_order_id=ticket)
    emulator.faults.plan(Fault("fills_late", {"seconds": 60}))

    assert report_of(broker, order).state is VenueState.WORKING  # it ended, and its executions are not told yet

    emulator.faults.heal()
    report = report_of(broker, order)
    assert (report.state, [fill.quantity for fill in report.fills]) == (VenueState.CANCELED, [4])


def test_a_change_whose_answer_is_lost_is_made_once(broker, emulator):
    order = resting()
    ticket = broker.submit(order).venue_order_id
    emulator.faults.plan(Fault("drop", {"executed": True}, method="PATCH"))

    with pytest.raises(OutcomeUnknown):
        broker.change_order(change(ticket))
    broker.change_order(change(ticket))

    assert len(emulator.books.orders) == 2
    assert broker.snapshot(symbols=[]).orders[0].price == 91


def test_a_change_that_the_venue_refuses_leaves_the_order_as_it_is(broker, emulator):
    order = resting()
    ticket = broker.submit(order).venue_order_id

    with pytest.raises(Refused):
        broker.change_order(change(ticket, "91.001"))
    with pytest.raises(Refused):
        broker.change_order(change(ticket, "9999.00"))

    assert broker.snapshot(symbols=[]).orders[0].price == 90
    assert report_of(broker, order).state is VenueState.WORKING


def test_a_replacement_that_is_refused_afterwards_gives_the_order_back(broker, emulator):
    order = resting()
    ticket = broker.submit(order).venue_order_id
    broker.change_order(change(ticket))
    old, new = emulator.books.orders
    new["status"], old["status"] = "rejected", "new"

    assert report_of(broker, order).state is VenueState.WORKING
    with pytest.raises(Refused):
        broker.change_order(change(ticket))
    broker.cancel(cancel_id="cancel-1", venue_order_id=ticket)
    assert old["status"] == "canceled"


@pytest.mark.parametrize(
    "changes",
    [
        {"stop_loss": Decimal(80)}, {"stop_price": Decimal(110)}, {"limit_price": None},
        {"time_in_force": TimeInForce.GTD}, {"expires_at": NOON}, {"change_id": "not a name"},
        {"limit_price": Decimal(0)}, {"venue_order_id": "not-an-order"},
        {"venue_order_id": "3ba958cc-c69a-4dec-ae04-466ba614087f"},
    ],
    ids=str,
)  # fmt: skip
def test_terms_that_an_order_cannot_have_are_refused(broker, emulator, changes):
    ticket = broker.submit(resting()).venue_order_id

    with pytest.raises(Refused):
        broker.change_order(replace(change(ticket), **changes))
    assert len(emulator.books.orders) == 1


def test_a_fill_that_overtakes_a_cancel_wins(broker, emulator):
    order = resting()
    ticket = broker.submit(order).venue_order_id
    emulator.faults.plan(Fault("fill_on_cancel"))

    for _ in range(2):  # what is known of the first try is told again
        with pytest.raises(Refused):
            broker.cancel(cancel_id="cancel-1", venue_order_id=ticket)

    report = report_of(broker, order)
    assert (report.state, sum(fill.quantity for fill in report.fills)) == (VenueState.FILLED, order.quantity)
    assert emulator.requests.count(("DELETE", f"/v2/orders/{ticket}")) == 1


@pytest.mark.parametrize(("executed", "state"), [(True, VenueState.CANCELED), (False, VenueState.WORKING)])
def test_a_cancel_whose_answer_is_lost_proves_nothing_and_the_order_does(broker, emulator, executed, state):
    order = resting()
    ticket = broker.submit(order).venue_order_id
    emulator.faults.plan(Fault("drop", {"executed": executed}, method="DELETE"))

    with pytest.raises(OutcomeUnknown):
        broker.cancel(cancel_id="cancel-1", venue_order_id=ticket)

    assert report_of(broker, order).state is state


def test_a_change_that_is_under_way_shows_one_order(broker, emulator):
    ticket = broker.submit(resting()).venue_order_id
    broker.change_order(change(ticket))
    emulator.books.orders[0]["status"] = "pending_replace"  # both are listed for a moment

    (working,) = broker.snapshot(symbols=[]).orders
    assert (working.venue_order_id, working.price) == (ticket, 91)


@pytest.mark.parametrize(
    "status", ["stopped", "suspended", "calculated", "done_for_day", "pending_review", "of tomorrow"]
)
def test_a_status_from_which_nothing_follows_means_that_it_works(broker, emulator, status):
    order = resting()
    broker.submit(order)
    emulator.books.orders[0]["status"] = status

    assert report_of(broker, order).state is VenueState.WORKING


@pytest.mark.parametrize(
    ("status", "filled", "state"),
    [
        ("expired", 0, VenueState.EXPIRED), ("expired", 4, VenueState.EXPIRED), ("canceled", 4, VenueState.CANCELED),
        ("rejected", 0, VenueState.REJECTED), ("rejected", 4, VenueState.CANCELED), ("filled", 0, VenueState.WORKING),
    ],
)  # fmt: skip
def test_how_an_order_ended(broker, emulator, status, filled, state):
    order = resting()
    broker.submit(order)
    if filled:
        emulator.books.trade(emulator.books.orders[0], Decimal(filled), Decimal(90))
    emulator.books.orders[0]["status"] = status

    assert report_of(broker, order).state is state
