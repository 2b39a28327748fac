"""What every broker promises of orders that wait: they are listed, changed and canceled, and end at their time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nexus.core.errors import OutsideError, Refused
from trading.brokers.base import OrderChange, OrderType, Side, TimeInForce, VenueState
from trading.brokers.mt5 import server_clock


def test_a_resting_order_is_listed_until_it_is_canceled(venue, rest):
    order, sent_at = rest(), datetime.now(UTC)

    report = venue.broker.submit(order)

    assert (report.state, report.fills) == (VenueState.WORKING, ())
    (listed,) = venue.broker.snapshot(symbols=[]).orders
    assert (listed.venue_order_id, listed.client_order_id) == (report.venue_order_id, order.client_order_id)
    assert (listed.side, listed.order_type, listed.price) == (Side.BUY, OrderType.LIMIT, order.limit_price)
    assert (listed.quantity, listed.quantity_left) == (order.quantity, order.quantity)

    for _ in range(2):
        venue.broker.cancel(cancel_id="cancel-1", venue_order_id=report.venue_order_id)

    report = venue.broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=sent_at)
    assert (report.state, report.fills) == (VenueState.CANCELED, ())
    assert venue.broker.snapshot(symbols=[]).orders == ()


def test_an_order_that_does_not_work_cannot_be_canceled_or_changed(venue, rest):
    order = rest()
    ticket = venue.broker.submit(order).venue_order_id
    venue.broker.cancel(cancel_id="cancel-1", venue_order_id=ticket)

    with pytest.raises(OutsideError):
        venue.broker.cancel(cancel_id="cancel-2", venue_order_id=ticket)
    with pytest.raises(Refused):
        venue.broker.change_order(_change(order, ticket))


def _change(order, ticket, **changes):
    usual = OrderChange(
        change_id="change-1", venue_order_id=ticket, limit_price=order.limit_price, stop_price=None, stop_loss=None,
        take_profit=None, time_in_force=order.time_in_force,
    )  # fmt: skip
    return replace(usual, **changes)


def test_a_changed_order_has_its_new_terms_and_keeps_its_name(venue, rest):
    order, sent_at = rest(), datetime.now(UTC)
    if not venue.changes:
        return
    ticket = venue.broker.submit(order).venue_order_id
    step = venue.broker.instrument(symbol=venue.symbol).tick_size

    for _ in range(2):
        venue.broker.change_order(_change(order, ticket, limit_price=order.limit_price - 100 * step))

    (listed,) = venue.broker.snapshot(symbols=[]).orders
    assert (listed.venue_order_id, listed.price) == (ticket, order.limit_price - 100 * step)
    assert listed.client_order_id == order.client_order_id
    report = venue.broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=sent_at)
    assert (report.state, report.venue_order_id) == (VenueState.WORKING, ticket)
    venue.broker.cancel(cancel_id="cancel-1", venue_order_id=ticket)
    report = venue.broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=sent_at)
    assert (report.state, report.venue_order_id) == (VenueState.CANCELED, ticket)


@pytest.mark.parametrize("order_type", [OrderType.STOP, OrderType.STOP_LIMIT])
def test_stops_rest_above_the_market(venue, rest, order_type):
    base = rest()
    step = venue.broker.instrument(symbol=venue.symbol).tick_size
    trigger = base.reference_price + 5000 * step
    trigger -= trigger % step
    limit = trigger - 100 * step if order_type is OrderType.STOP_LIMIT else None
    order = replace(base, order_type=order_type, stop_price=trigger, limit_price=limit)

    assert venue.broker.submit(order).state is VenueState.WORKING

    (listed,) = venue.broker.snapshot(symbols=[]).orders
    assert (listed.order_type, listed.price, listed.limit_price) == (order_type, trigger, limit)


def test_an_order_ends_at_its_own_time(venue, rest, monkeypatch):
    monkeypatch.setattr(server_clock, "_change_days", lambda _: [])  # whatever the day on which this is run
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    if TimeInForce.GTD not in venue.resting_times:
        with pytest.raises(Refused):
            venue.broker.submit(rest(time_in_force=TimeInForce.GTD, expires_at=ends))
        return

    venue.broker.submit(rest(time_in_force=TimeInForce.GTD, expires_at=ends))

    (listed,) = venue.broker.snapshot(symbols=[]).orders
    assert (listed.time_in_force, listed.expires_at) == (TimeInForce.GTD, ends)


def test_a_time_or_type_that_is_not_offered_is_refused(venue, buy, rest):
    for order in (
        *(rest(time_in_force=time) for time in set(TimeInForce) - venue.resting_times),
        rest(time_in_force=TimeInForce.GTD, expires_at=datetime.now(UTC) - timedelta(hours=1)),
        rest(order_type=OrderType.STOP),
        buy(time_in_force=TimeInForce.GTC),
    ):
        with pytest.raises(Refused):
            venue.broker.submit(order)
    snapshot = venue.broker.snapshot(symbols=[])
    assert (snapshot.positions, snapshot.orders) == ((), ())
