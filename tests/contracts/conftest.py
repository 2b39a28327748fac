"""The venues of the suite, and orders that they take."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.contracts.venues import VENUES, Venue
from trading.brokers.base import OrderRequest, OrderType, Side, TimeInForce


@pytest.fixture(params=list(VENUES.values()), ids=list(VENUES))
def venue(request, tmp_path) -> Iterator[Venue]:
    with request.param(tmp_path) as venue:
        yield venue


@pytest.fixture
def buy(venue):
    """Make an order to buy little at the price of now; `changes` replaces fields."""

    def make(**changes) -> OrderRequest:
        quote = venue.broker.snapshot(symbols=[venue.symbol]).quotes[venue.symbol]
        order = OrderRequest(
            client_order_id=venue.new_id(),
            symbol=venue.symbol,
            side=Side.BUY,
            quantity=venue.least,
            reference_price=quote.ask,
            deviation=quote.ask / 100,
            stop_loss=None,
            take_profit=None,
        )
        return replace(order, **changes)

    return make


def a_resting_time(venue):
    return TimeInForce.GTC if TimeInForce.GTC in venue.resting_times else TimeInForce.DAY


@pytest.fixture
def rest(venue, buy):
    """Make an order to buy far below the market, which rests."""

    def make(**changes):
        instrument = venue.broker.instrument(symbol=venue.symbol)
        order = buy()
        price = order.reference_price * Decimal("0.9")
        usual = {
            "order_type": OrderType.LIMIT, "time_in_force": a_resting_time(venue),
            "limit_price": price - price % instrument.tick_size,
        }  # fmt: skip
        resting: OrderRequest = replace(order, **(usual | changes))
        return resting

    return make
