"""Closing, resting, changing and canceling: each once for its own id, and every answer one of the three."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import pytest

from nexus.core.errors import Refused, Unreachable
from tests.trading.brokers.mt5.fake_terminal import SERVER_OFFSET_S
from tests.trading.brokers.mt5.gateway_in_thread import LIMITS, gateway
from trading.brokers.base import OrderChange, OrderType, Side, StopsChange, TimeInForce, VenueState
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.session import Session

_names = count(1)


def change(venue_order_id, **changes):
    usual = OrderChange(
        change_id=f"change-{next(_names)}", venue_order_id=venue_order_id, limit_price=Decimal("1.08"), stop_price=None,
        stop_loss=Decimal("1.07"), take_profit=None, time_in_force=TimeInForce.DAY,
    )  # fmt: skip
    return replace(usual, **changes)


def stops(position_id, **changes):
    usual = StopsChange(f"stops-{next(_names)}", position_id, "EURUSD", Decimal("1.09"), None)
    return replace(usual, **changes)


def test_closes_a_part_and_the_rest_by_the_ticket_that_the_position_has_now(broker, terminal, opened, closing):
    position_id = opened()
    terminal.positions[0] = terminal.positions[0]._replace(ticket=4711)  # as after a reversal or a rollover

    first = broker.submit(closing(position_id, quantity=Decimal("0.04")))
    second = broker.submit(closing(position_id, quantity=Decimal("0.06")))

    assert [(report.state, len(report.fills)) for report in (first, second)] == [(VenueState.FILLED, 1)] * 2
    assert [request["position"] for request in terminal.sent[1:]] == [4711, 4711]
    assert {fill.venue_position_id for report in (first, second) for fill in report.fills} == {position_id}
    assert terminal.positions == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quantity": Decimal("0.11")}, "QUANTITY_EXCEEDS_POSITION"),
        ({"side": Side.BUY}, "POSITION_DOES_NOT_MATCH"),
        ({"venue_position_id": "1"}, "POSITION_NOT_OPEN"),
    ],
)
def test_never_opens_anything_with_a_close(broker, terminal, opened, closing, changes, code):
    position_id = opened()

    with pytest.raises(Refused) as refused:
        broker.submit(closing(**({"position_id": position_id} | _named(changes))))
    assert refused.value.code == code
    assert len(terminal.sent) == 1


def test_a_position_that_is_not_listed_right_after_a_start_is_not_said_to_be_closed(
    broker, terminal, opened, closing, monkeypatch
):
    """A terminal that was just started lists its positions when its server has told it: it knows of none until then."""
    position_id = opened()
    monkeypatch.setattr(Desk, "must_reconcile", property(lambda _: True))
    listed = terminal.positions[:]
    terminal.positions.clear()

    with pytest.raises(Unreachable, match="does not list"):
        broker.submit(closing(position_id=position_id))

    terminal.positions.extend(listed)
    assert broker.submit(closing(position_id=position_id)).state is VenueState.FILLED


def _named(changes):
    return {"position_id" if name == "venue_position_id" else name: value for name, value in changes.items()}


@pytest.mark.parametrize(
    ("meanwhile", "code"),
    [
        ({"volume": 0.05}, "QUANTITY_EXCEEDS_POSITION"),
        ({"type": 1}, "POSITION_DOES_NOT_MATCH"),
        ({"ticket": 5}, "POSITION_NOT_OPEN"),
        ({"symbol": "USDJPY"}, "POSITION_DOES_NOT_MATCH"),
    ],
)
def test_the_gateway_looks_again_at_the_last_moment(broker, terminal, opened, closing, meanwhile, code):
    position_id = opened()

    def change_meanwhile():
        """Let the position change between our reading and the send."""
        terminal.positions[0] = terminal.positions[0]._replace(**meanwhile)
        return type(terminal).account_info(terminal)

    send = broker._session.send

    def late(*args):
        change_meanwhile()
        return send(*args)

    broker._session.send = late
    with pytest.raises(Refused) as refused:
        broker.submit(closing(position_id))
    assert refused.value.code == code
    assert len(terminal.sent) == 1


def test_closes_although_the_kill_file_stands_and_the_minute_is_full(
    terminal, tmp_path, connect, order, closing, resting
):
    kill_file = tmp_path / "STOP"
    limits = replace(LIMITS, kill_file=kill_file, orders_per_minute=2)
    with gateway(terminal, tmp_path / "journal.db", limits=limits) as running:
        broker = connect(running)
        position_id = broker.submit(order()).fills[0].venue_position_id
        ticket = broker.submit(resting()).venue_order_id
        with pytest.raises(Refused) as refused:
            broker.submit(order())
        assert refused.value.code == "RATE_EXCEEDS_LIMIT"
        kill_file.touch()
        for attempt in (
            lambda: broker.submit(resting()),
            lambda: broker.change_order(change(ticket)),
        ):
            with pytest.raises(Refused) as refused:
                attempt()
            assert refused.value.code == "KILL_FILE_PRESENT"

        broker.change_stops(stops(position_id))
        broker.cancel(cancel_id="c-1", venue_order_id=ticket)
        assert broker.submit(closing(position_id)).state is VenueState.FILLED

    assert [request["action"] for request in terminal.sent] == [1, 5, 6, 8, 1]


def test_cancels_and_closes_take_no_place_of_orders_in_the_minute(terminal, tmp_path, connect, order, resting):
    with gateway(terminal, tmp_path / "journal.db", limits=replace(LIMITS, orders_per_minute=2)) as running:
        broker = connect(running)
        ticket = broker.submit(resting()).venue_order_id
        broker.cancel(cancel_id="c-1", venue_order_id=ticket)

        assert broker.submit(order()).state is VenueState.FILLED


def test_a_resting_order_works_until_it_is_filled(broker, terminal, resting, sent_at):
    wanted = resting()

    report = broker.submit(wanted)

    assert (report.state, report.fills) == (VenueState.WORKING, ())
    assert report.venue_order_id == str(terminal.working[0].ticket)
    assert broker.order_report(client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=sent_at) == report
    (listed,) = broker.snapshot(symbols=[]).orders
    assert (listed.client_order_id, listed.venue_order_id) == (wanted.client_order_id, report.venue_order_id)
    assert (listed.side, listed.order_type, listed.time_in_force) == (Side.BUY, OrderType.LIMIT, TimeInForce.GTC)
    assert (listed.quantity, listed.quantity_left, listed.price) == (Decimal("0.1"), Decimal("0.1"), Decimal("1.09"))


@pytest.mark.usefixtures("steady_clocks")
def test_an_order_that_ends_at_a_time_says_so_by_the_server_s_clock(broker, terminal, resting):
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)

    broker.submit(resting(time_in_force=TimeInForce.GTD, expires_at=ends))

    assert terminal.sent[0]["expiration"] == int(ends.timestamp()) + SERVER_OFFSET_S
    assert broker.snapshot(symbols=[]).orders[0].expires_at == ends


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2026-10-20T12:00", "2026-10-28T12:00"),  # Europe's autumn
        ("2026-03-06T20:00", "2026-03-09T08:00"),  # America's spring
        ("2026-06-01T12:00", "2026-12-01T12:00"),
    ],
)
def test_refuses_an_end_beyond_the_day_on_which_the_server_s_clock_may_change(running, now, ends):
    at = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (now, ends)]
    asked = Session(running.link())
    asked.clock.adopt(SERVER_OFFSET_S)

    with pytest.raises(Refused) as refused:
        asked.server_s(at[1], symbol="EURUSD", now_s=at[0].timestamp())

    assert refused.value.code == "EXPIRY_BEYOND_CLOCK_CHANGE"
    soon = at[0] + timedelta(minutes=5)
    assert asked.server_s(soon, symbol="EURUSD", now_s=at[0].timestamp()) == soon.timestamp() + SERVER_OFFSET_S


@pytest.mark.usefixtures("steady_clocks")
def test_sends_no_end_by_a_clock_that_it_does_not_know(broker, terminal, resting):
    still = terminal.symbol_select("EURUSD") and terminal.symbol_info_tick("EURUSD")
    terminal.symbol_info_tick = lambda _: still

    with pytest.raises(Unreachable):
        broker.submit(resting(time_in_force=TimeInForce.GTD, expires_at=datetime.now(UTC) + timedelta(hours=2)))
    assert terminal.sent == []


def test_lists_orders_of_others_as_nobody_s(broker, terminal, resting):
    broker.submit(resting())
    (ours,) = terminal.working
    terminal.working += [
        ours._replace(ticket=1, magic=0, type=7, price_stoplimit=1.07),
        ours._replace(ticket=2, magic=0, type=8),
        ours._replace(ticket=3, magic=0, type=1),
    ]

    orders = {order.venue_order_id: order for order in broker.snapshot(symbols=[]).orders}

    assert set(orders) == {str(ours.ticket), "1", "3"}
    assert (orders["1"].client_order_id, orders["1"].order_type) == ("", OrderType.STOP_LIMIT)
    assert (orders["1"].side, orders["1"].limit_price) == (Side.SELL, Decimal("1.07"))
    assert orders["3"].order_type is OrderType.MARKET


def test_a_canceled_order_is_proven_so_by_its_report_and_keeps_its_fills(broker, terminal, resting, sent_at):
    wanted = resting()
    ticket = broker.submit(wanted).venue_order_id

    broker.cancel(cancel_id="c-1", venue_order_id=ticket)
    broker.cancel(cancel_id="c-1", venue_order_id=ticket)

    report = broker.order_report(client_order_id=wanted.client_order_id, symbol=wanted.symbol, sent_at=sent_at)
    assert (report.state, report.fills) == (VenueState.CANCELED, ())
    assert [request for request in terminal.sent if request["action"] == 8] == [{"action": 8, "order": int(ticket)}]


@pytest.mark.usefixtures("steady_clocks")
def test_changes_a_resting_order_to_all_its_new_terms(broker, terminal, resting):
    ticket = broker.submit(resting()).venue_order_id
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

    broker.change_order(change(ticket, time_in_force=TimeInForce.GTD, expires_at=ends))

    (listed,) = broker.snapshot(symbols=[]).orders
    assert (listed.price, listed.stop_loss, listed.take_profit) == (Decimal("1.08"), Decimal("1.07"), None)
    assert (listed.time_in_force, listed.expires_at) == (TimeInForce.GTD, ends)
    assert terminal.sent[1]["action"] == 7


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"venue_order_id": "77"}, "ORDER_NOT_WORKING"),
        ({"venue_order_id": "x"}, "VENUE_ID_NOT_VALID"),
        ({"limit_price": None}, "PRICES_DO_NOT_FIT_TYPE"),
        ({"stop_price": Decimal(1)}, "PRICES_DO_NOT_FIT_TYPE"),
        ({"limit_price": Decimal(0)}, "PRICE_NOT_VALID"),
        ({"time_in_force": TimeInForce.FOK}, "TIME_IN_FORCE_NOT_OFFERED"),
        ({"time_in_force": TimeInForce.GTD}, "EXPIRY_NOT_VALID"),
        ({"change_id": "a b"}, "CHANGE_ID_NOT_VALID"),
    ],
)
def test_refuses_a_change_that_cannot_be_and_sends_nothing(broker, terminal, resting, changes, code):
    ticket = broker.submit(resting()).venue_order_id

    with pytest.raises(Refused) as refused:
        broker.change_order(change(**({"venue_order_id": ticket} | changes)))
    assert refused.value.code == code
    assert len(terminal.sent) == 1


def test_sets_both_stops_of_a_position(broker, terminal, opened):
    position_id = opened()

    broker.change_stops(stops(position_id))

    (position,) = broker.snapshot(symbols=[]).positions
    assert (position.stop_loss, position.take_profit) == (Decimal("1.09"), None)
    assert terminal.sent[1] == {
        "action": 6, "position": terminal.positions[0].ticket, "symbol": "EURUSD", "sl": 1.09, "tp": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"venue_position_id": "77"}, "POSITION_NOT_OPEN"),
        ({"symbol": "USDJPY"}, "POSITION_DOES_NOT_MATCH"),
        ({"symbol": "NONE"}, "SYMBOL_UNKNOWN"),
        ({"stop_loss": Decimal(-1)}, "PRICE_NOT_VALID"),
    ],
)
def test_refuses_stops_for_what_is_not_there(broker, terminal, opened, changes, code):
    position_id = opened()

    with pytest.raises(Refused) as refused:
        broker.change_stops(replace(stops(position_id), **changes))
    assert refused.value.code == code
    assert len(terminal.sent) == 1


def test_closes_two_opposite_positions_by_each_other(broker, terminal, order, opened):
    long, short = opened(), opened(side=Side.SELL, quantity=Decimal("0.04"), stop_loss=None, take_profit=None)
    wanted = order()

    report = broker.close_by(client_order_id=wanted.client_order_id, venue_position_id=long, other_position_id=short)

    assert report.state is VenueState.FILLED
    assert {fill.venue_position_id: (fill.side, fill.quantity) for fill in report.fills} == {
        long: (Side.SELL, Decimal("0.04")),
        short: (Side.BUY, Decimal("0.04")),
    }
    (left,) = broker.snapshot(symbols=[]).positions
    assert (left.venue_position_id, left.quantity) == (long, Decimal("0.06"))


def test_refuses_to_close_by_what_is_not_opposite_or_not_offered(broker, terminal, order, opened):
    first, second = opened(), opened()
    for pair, order_mode, code in (
        ((first, second), 127, "POSITION_DOES_NOT_MATCH"),
        ((first, "77"), 127, "POSITION_NOT_OPEN"),
        ((first, opened(side=Side.SELL, stop_loss=None, take_profit=None)), 63, "CLOSE_BY_NOT_OFFERED"),
    ):
        sent = len(terminal.sent)
        terminal.symbols["EURUSD"]["order_mode"] = order_mode
        with pytest.raises(Refused) as refused:
            broker.close_by(
                client_order_id=order().client_order_id, venue_position_id=pair[0], other_position_id=pair[1]
            )
        assert refused.value.code == code
        assert len(terminal.sent) == sent
