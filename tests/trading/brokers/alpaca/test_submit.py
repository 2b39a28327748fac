"""Sending to Alpaca: once, in exact text, and told as it is."""

import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from tests.trading.brokers.alpaca import world
from tests.trading.brokers.alpaca.emulator import Fault
from tests.trading.brokers.alpaca.world import buy
from trading.brokers.alpaca.adapter import AlpacaBroker
from trading.brokers.base import OrderType, Side, TimeInForce, VenueState


def report_of(broker, order):
    return broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=datetime.now(UTC))


@pytest.mark.parametrize("quantity", ["0.37", "12", "0.10000001", "3.00000001", "99.99999999"])
def test_sends_the_very_digits_and_books_them(broker, emulator, quantity):
    report = broker.submit(buy(quantity=Decimal(quantity)))

    assert emulator.books.orders[0]["qty"] == quantity
    assert (report.state, sum(fill.quantity for fill in report.fills)) == (VenueState.FILLED, Decimal(quantity))
    assert emulator.books.cash == Decimal(10000) - Decimal(quantity) * Decimal("100.01")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_the_library_never_sends_again_by_itself(broker, emulator, status):
    emulator.faults.plan(Fault("refuse", {"status": status, "executed": True}, times=5))

    with pytest.raises((Refused, OutcomeUnknown)):
        broker.submit(buy())

    assert emulator.sends() == len(emulator.books.orders) == 1


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [({"Retry-After": "7", "X-RateLimit-Reset": "1"}, 7), ({}, 60), ({"Retry-After": "soon"}, 60),
     ({"Retry-After": "0"}, 1), ({"Retry-After": "9999"}, 60)],
)  # fmt: skip
def test_too_many_requests_name_the_pause_that_the_venue_wants(broker, emulator, headers, pause_s):
    emulator.faults.plan(Fault("refuse", {"status": 429, "code": 42910000, "headers": headers}))
    assert broker.snapshot(symbols=[]).pause_s == 0

    with pytest.raises(Refused) as refused:
        broker.submit(buy())

    assert (refused.value.code, refused.value.retry_s, refused.value.halts) == ("42910000", pause_s, False)
    assert 0 < broker.snapshot(symbols=[]).pause_s <= pause_s


def test_a_cancel_that_came_too_fast_may_be_sent_again(broker, emulator):
    emulator.faults.plan(Fault("refuse", {"status": 429, "headers": {"Retry-After": "3"}}, method="DELETE"))
    order = buy(order_type=OrderType.LIMIT, limit_price=Decimal(90), time_in_force=TimeInForce.DAY)
    with pytest.raises(Refused) as refused:
        broker.cancel(cancel_id="c-1", venue_order_id=broker.submit(order).venue_order_id)

    assert refused.value.retry_s == 3


def test_another_process_that_sends_the_same_order_finds_the_first(broker, emulator):
    order = buy()
    first = broker.submit(order)
    other = AlpacaBroker(world.link(emulator))

    assert other.submit(order) == first
    other.close()
    assert (emulator.sends(), len(emulator.books.orders)) == (2, 1)


def test_an_id_that_named_another_order_is_refused(broker, emulator):
    order = buy()
    broker.submit(order)
    other = AlpacaBroker(world.link(emulator))

    for changed in (replace(order, quantity=Decimal(2)), replace(order, symbol="MSFT", reference_price=Decimal(400))):
        for either in (broker, other):
            with pytest.raises(Refused) as refused:
                either.submit(changed)
            assert refused.value.code == "ID_IN_USE"
    other.close()
    assert len(emulator.books.orders) == 1


def test_an_order_that_was_lost_is_asked_for_and_never_sent_again(broker, emulator):
    order = buy()
    emulator.faults.plan(Fault("drop"))

    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            broker.submit(order)

    assert (emulator.sends(), emulator.books.orders) == (1, [])


def test_an_order_that_could_not_leave_us_may_be_sent_when_it_can(broker, emulator):
    order = buy()
    broker.snapshot(symbols=[])
    emulator.faults.plan(Fault("drop", method="GET"))
    with pytest.raises(Unreachable):
        broker.submit(order)

    assert emulator.sends() == 0
    assert broker.submit(order).state is VenueState.FILLED


def test_nobody_listening_is_unreachable_and_not_unknown(emulator):
    broker = AlpacaBroker(world.link(emulator))
    broker.snapshot(symbols=[])
    order = buy(
        order_type=OrderType.LIMIT, limit_price=Decimal(90), time_in_force=TimeInForce.DAY
    )  # asks nothing first
    emulator.stop()
    broker._session.client._session.close()  # the connections that were open are gone too

    with pytest.raises(Unreachable):
        broker.submit(order)
    broker.close()


def test_an_answer_told_ever_so_slowly_does_not_outlast_the_deadline():
    gave_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                try:
                    for _ in range(999):  # fifty seconds
                        connection.sendall(b" ")
                        time.sleep(0.05)
                except OSError:
                    gave_up.set()

        thread = threading.Thread(target=drip)
        thread.start()
        with world.brokers() as (_, emulator):
            address = f"127.0.0.1:{server.getsockname()[1]}"
            broker = AlpacaBroker(world.link(emulator, server=address))
            with pytest.raises(Unreachable):
                broker.snapshot(symbols=[])
            broker.close()
        thread.join()
    assert gave_up.is_set()


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": "BTC/USD"}, {"symbol": "../account"}, {"symbol": "ABCDEF.GH"}, {"symbol": "AAPL240119C00100000"},
        {"quantity": Decimal("NaN")}, {"quantity": Decimal("0.000000001")}, {"quantity": Decimal(2_000_000)},
        {"stop_loss": Decimal(90)}, {"take_profit": Decimal(110)},
        {"time_in_force": TimeInForce.GTC}, {"time_in_force": TimeInForce.GTD},
        {"expires_at": datetime(2026, 11, 20, tzinfo=UTC)},
        {"quantity": Decimal("0.5"), "time_in_force": TimeInForce.IOC},
        {"order_type": OrderType.LIMIT, "limit_price": Decimal(90)},
        {"order_type": OrderType.LIMIT, "time_in_force": TimeInForce.DAY},
        {"order_type": OrderType.STOP, "stop_price": Decimal(110), "time_in_force": TimeInForce.IOC},
        {"limit_price": Decimal(90)}, {"reference_price": Decimal(0)}, {"deviation": Decimal(-1)},
        {"reference_price": Decimal(90)}, {"client_order_id": "N1NOTONEOFOURS"},
    ],
    ids=str,
)  # fmt: skip
def test_what_alpaca_cannot_take_as_it_is_meant_is_not_sent(broker, emulator, changes):
    with pytest.raises(Refused):
        broker.submit(buy(**changes))
    assert emulator.sends() == 0


@pytest.mark.parametrize("fault", ["closed", "gap"])
def test_a_market_that_is_not_there_is_not_sent_to(broker, emulator, fault):
    emulator.faults.plan(Fault(fault))
    if fault == "gap":
        emulator.books.move("AAPL", "0", "0")

    with pytest.raises(Refused) as refused:
        broker.submit(buy())
    assert (refused.value.code, emulator.sends()) == ({"closed": "MARKET_CLOSED", "gap": "NO_QUOTE"}[fault], 0)


def test_a_blocked_account_halts_and_an_order_it_cannot_pay_does_not(broker, emulator):
    with pytest.raises(Refused) as refused:
        broker.submit(buy(quantity=Decimal(1000)))
    assert not refused.value.halts
    emulator.faults.plan(Fault("blocked"))
    with pytest.raises(Refused) as refused:
        broker.submit(buy())
    assert refused.value.halts


def test_a_part_that_fills_at_once_is_told_while_the_rest_waits(broker, emulator):
    order = buy(quantity=Decimal(10))
    emulator.faults.plan(Fault("partial", {"share": "4"}))

    report = broker.submit(order)

    assert (report.state, [fill.quantity for fill in report.fills]) == (VenueState.WORKING, [4])
    (working,) = broker.snapshot(symbols=[]).orders
    assert (working.order_type, working.quantity, working.quantity_left) == (OrderType.MARKET, 10, 6)
    assert working.price == Decimal("100.01")  # it has none of its own: the market values it


@pytest.mark.parametrize("time_in_force", [TimeInForce.IOC, TimeInForce.FOK])
def test_what_cannot_be_filled_at_once_is_canceled(broker, emulator, time_in_force):
    order = buy(quantity=Decimal(10), time_in_force=time_in_force)
    emulator.faults.plan(Fault("partial", {"share": "4"}))

    report = broker.submit(order)

    filled = Decimal(4) if time_in_force is TimeInForce.IOC else Decimal(0)
    assert (report.state, sum(fill.quantity for fill in report.fills)) == (VenueState.CANCELED, filled)


def test_the_fills_of_an_order_come_to_its_quantity_though_our_books_hold_a_place_less(broker, emulator):
    order = buy(quantity=Decimal("0.37"))
    emulator.books.fills_in_parts = [Decimal("0.123456789")]

    report = broker.submit(order)

    assert [fill.quantity for fill in report.fills] == [Decimal("0.12345678"), Decimal("0.24654322")]
    assert report.state is VenueState.FILLED
    assert broker.snapshot(symbols=[]).positions[0].quantity == Decimal("0.37")


@pytest.mark.parametrize("side", list(Side))
def test_closing_all_of_a_position_leaves_nothing_below_what_our_books_can_hold(broker, emulator, side):
    opened = {"client_order_id": "theirs", "symbol": "AAPL", "side": side.lower(), "type": "market",
              "time_in_force": "day", "qty": "3.123456789" if side is Side.BUY else "3"}  # fmt: skip
    emulator.books.place(opened)
    held = broker.snapshot(symbols=[]).positions[0]
    other = Side.SELL if side is Side.BUY else Side.BUY

    report = broker.submit(buy(side=other, quantity=held.quantity, venue_position_id="AAPL"))

    assert report.state is VenueState.FILLED
    assert sum(fill.quantity for fill in report.fills) == held.quantity
    assert emulator.books.positions == {}


@pytest.mark.parametrize("changes", [{"side": Side.BUY}, {"quantity": Decimal(4)}, {"venue_position_id": "MSFT"}])
def test_a_close_never_opens(broker, emulator, changes):
    broker.submit(buy(quantity=Decimal(3)))
    close = buy(side=Side.SELL, quantity=Decimal(3), venue_position_id="AAPL")

    with pytest.raises(Refused):
        broker.submit(replace(close, **changes))
    assert emulator.sends() == 1


def test_a_refusal_is_remembered_with_its_words(broker, emulator):
    order = buy(quantity=Decimal(1000))
    with pytest.raises(Refused):
        broker.submit(order)

    report = report_of(broker, order)

    assert (report.state, report.code, report.reason) == (VenueState.REJECTED, "40310000", "insufficient buying power")
    assert emulator.sends() == 1
