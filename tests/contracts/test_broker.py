"""What every broker promises, whatever stands behind it. A new adapter adds one line to `VENUES` and passes all."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest

from nexus.core.errors import OutsideError, Refused, Unreachable
from tests.trading.brokers.mt5.fake_terminal import LOGIN, SERVER, FakeTerminal
from tests.trading.brokers.mt5.gateway_in_thread import TAG, gateway
from trading.brokers import ids
from trading.brokers.base import Broker, FillKind, OrderRequest, Side, VenueState
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.gateway.config import TerminalConfig
from trading.brokers.mt5.gateway.terminal import open_terminal

_numbers = count(1)


@dataclass
class Venue:
    """A broker, a symbol it trades, how our ids are made there, and how to cut it off."""

    broker: Broker
    symbol: str
    new_id: Callable[[], str]
    cut: Callable[[], None]


@contextmanager
def mt5_over_fake(folder: Path) -> Iterator[Venue]:
    with gateway(FakeTerminal(), folder / "journal.db") as running, ExitStack() as stack:
        yield _mt5(running, stack)


@contextmanager
def mt5_over_emulator(folder: Path) -> Iterator[Venue]:
    options = {
        "mode": "wall", "csv": {}, "margin_mode": "hedging", "store": folder / "broker.db", "seed": 11, "speed": 1,
        "start": "", "currency": "USD", "leverage": 100, "balance": "10000", "always_open": True,
        "tick_interval_ms": 50,
    }  # fmt: skip
    terminal = open_terminal(TerminalConfig("emulator", LOGIN, "paper-password", SERVER, options))
    with gateway(None, folder / "journal.db", terminal=terminal) as running, ExitStack() as stack:
        yield _mt5(running, stack)


def _mt5(running, stack):
    running.journal.created_at -= 60
    broker = Mt5Broker(running.link())
    stack.callback(broker.close)
    return Venue(
        broker=broker,
        symbol="EURUSD",
        new_id=lambda: ids.client_order_id(tag=TAG, number=next(_numbers)),
        cut=lambda: running.worker.close(timeout_s=5),
    )


VENUES = {"mt5 over a fake terminal": mt5_over_fake, "mt5 over the emulator": mt5_over_emulator}


@pytest.fixture(params=list(VENUES.values()), ids=list(VENUES))
def venue(request, tmp_path) -> Iterator[Venue]:
    with request.param(tmp_path) as venue:
        yield venue


@pytest.fixture
def buy(venue):
    """Make an order to buy the least that the venue takes at the price of now; `changes` replaces fields."""

    def make(**changes) -> OrderRequest:
        quote = venue.broker.snapshot(symbols=[venue.symbol]).quotes[venue.symbol]
        order = OrderRequest(
            client_order_id=venue.new_id(),
            symbol=venue.symbol,
            side=Side.BUY,
            quantity=venue.broker.instrument(symbol=venue.symbol).quantity_min,
            reference_price=quote.ask,
            deviation=quote.ask / 100,
            stop_loss=None,
            take_profit=None,
        )
        return replace(order, **changes)

    return make


def test_a_filled_order_is_in_its_fills_its_position_and_the_account_s_fills(venue, buy):
    began, order = datetime.now(UTC), buy()

    report = venue.broker.submit(order)

    assert (report.state, report.client_order_id) == (VenueState.FILLED, order.client_order_id)
    assert sum(fill.quantity for fill in report.fills) == order.quantity
    assert {(fill.symbol, fill.side, fill.kind) for fill in report.fills} == {(venue.symbol, Side.BUY, FillKind.ORDER)}
    (position,) = venue.broker.snapshot(symbols=[]).positions
    assert (position.quantity, position.side, position.client_order_id) == (
        order.quantity,
        Side.BUY,
        order.client_order_id,
    )
    assert {fill.venue_position_id for fill in report.fills} == {position.venue_position_id}
    assert set(report.fills) <= set(venue.broker.fills_since(began - timedelta(minutes=1)))


def test_submitting_twice_sends_once(venue, buy):
    order = buy()

    first, second = venue.broker.submit(order), venue.broker.submit(order)

    assert first == second
    assert [position.quantity for position in venue.broker.snapshot(symbols=[]).positions] == [order.quantity]


def test_the_report_of_an_order_is_what_submit_said(venue, buy):
    order, sent_at = buy(), datetime.now(UTC)
    report = venue.broker.submit(order)

    assert venue.broker.order_report(client_order_id=order.client_order_id, sent_at=sent_at) == report


def test_an_order_that_was_never_sent_is_proven_so_and_can_never_be_sent(venue, buy):
    order, sent_at = buy(), datetime.now(UTC)

    report = venue.broker.order_report(client_order_id=order.client_order_id, sent_at=sent_at)

    assert report.state is VenueState.NEVER_SENT
    with pytest.raises(Refused):
        venue.broker.submit(order)
    assert venue.broker.snapshot(symbols=[]).positions == ()


def test_a_price_outside_the_collar_is_refused_and_nothing_is_sent(venue, buy):
    order = buy(deviation=Decimal(0))
    order = replace(order, reference_price=order.reference_price / 2)

    with pytest.raises(Refused):
        venue.broker.submit(order)
    assert venue.broker.snapshot(symbols=[]).positions == ()


@pytest.mark.parametrize("quantity", [Decimal("1e-6"), Decimal("1e9"), Decimal(0), Decimal(-1)])
def test_a_quantity_that_the_venue_does_not_take_is_refused(venue, buy, quantity):
    with pytest.raises(Refused):
        venue.broker.submit(buy(quantity=quantity))
    assert venue.broker.snapshot(symbols=[]).positions == ()


def test_a_refusal_stays_a_refusal(venue, buy):
    order, sent_at = buy(quantity=Decimal(1000)), datetime.now(UTC)

    for _ in range(2):
        with pytest.raises(Refused):
            venue.broker.submit(order)
    report = venue.broker.order_report(client_order_id=order.client_order_id, sent_at=sent_at)
    assert report.state in {VenueState.REJECTED, VenueState.NEVER_SENT}


def test_a_symbol_that_does_not_exist_is_refused(venue, buy):
    with pytest.raises(Refused):
        venue.broker.instrument(symbol="NO-SUCH-SYMBOL")
    with pytest.raises(Refused):
        venue.broker.submit(buy(symbol="NO-SUCH-SYMBOL"))


def test_quotes_are_fresh_ordered_and_on_the_instrument_s_steps(venue):
    instrument = venue.broker.instrument(symbol=venue.symbol)
    quote = venue.broker.snapshot(symbols=[venue.symbol]).quotes[venue.symbol]

    assert 0 < quote.bid <= quote.ask
    assert quote.bid % instrument.tick_size == quote.ask % instrument.tick_size == 0
    assert timedelta(seconds=-1) < datetime.now(UTC) - quote.at < timedelta(seconds=5)


def test_amounts_are_exact_and_add_up(venue, buy):
    venue.broker.submit(buy())

    snapshot = venue.broker.snapshot(symbols=[])

    for amount in (snapshot.balance, snapshot.equity, snapshot.margin_used, snapshot.margin_free):
        assert isinstance(amount, Decimal)
        assert amount == round(amount, 2)
    assert not snapshot.is_live


def test_a_venue_that_cannot_be_reached_is_unreachable_and_nothing_else(venue, buy):
    order = buy()
    venue.cut()

    for ask in (
        lambda: venue.broker.snapshot(symbols=[]),
        lambda: venue.broker.instrument(symbol=venue.symbol),
        lambda: venue.broker.fills_since(datetime.now(UTC)),
    ):
        with pytest.raises(Unreachable):
            ask()
    with pytest.raises(OutsideError):
        venue.broker.submit(order)
