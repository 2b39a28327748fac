"""What every broker promises, whatever stands behind it. A new adapter adds one line to `VENUES` and passes all.

Orders that wait have a file of their own, `test_resting.py`.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from nexus.core.errors import OutsideError, Refused, Unreachable
from trading.brokers.base import (
    FillKind,
    Mark,
    PositionMode,
    Side,
    StopsChange,
    TimeInForce,
    VenueState,
)


def test_a_filled_order_is_in_its_fills_its_position_and_the_account_s_fills(venue, buy):
    began, order = datetime.now(UTC), buy()

    report = venue.broker.submit(order)

    assert (report.state, report.client_order_id) == (VenueState.FILLED, order.client_order_id)
    assert sum(fill.quantity for fill in report.fills) == order.quantity
    assert {(fill.symbol, fill.side, fill.kind) for fill in report.fills} == {(venue.symbol, Side.BUY, FillKind.ORDER)}
    (position,) = venue.broker.snapshot(symbols=[]).positions
    assert (position.quantity, position.side) == (order.quantity, Side.BUY)
    assert position.client_order_id in {order.client_order_id, ""}  # a netting venue need not know who opened it
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

    assert (
        venue.broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=sent_at) == report
    )


def test_an_order_that_was_never_sent_is_proven_so_and_can_never_be_sent(venue, buy):
    order, sent_at = buy(), datetime.now(UTC)

    report = venue.broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=sent_at)

    if not venue.swears:  # nothing stands between us and the venue that could forbid it: it is asked again later
        assert report.state is VenueState.NO_TRACE
        return
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


@pytest.mark.parametrize("quantity", [Decimal("1e-9"), Decimal("1e-6"), Decimal("1e9"), Decimal(0), Decimal(-1)])
def test_a_quantity_that_the_venue_does_not_take_is_refused(venue, buy, quantity):
    with pytest.raises(Refused):
        venue.broker.submit(buy(quantity=quantity))
    assert venue.broker.snapshot(symbols=[]).positions == ()


def test_a_refusal_stays_a_refusal(venue, buy):
    order, sent_at = buy(quantity=Decimal(1000)), datetime.now(UTC)

    for _ in range(2):
        with pytest.raises(Refused):
            venue.broker.submit(order)
    report = venue.broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=sent_at)
    assert report.state in {VenueState.REJECTED, VenueState.NEVER_SENT}


def test_news_are_told_once_from_a_mark_and_all_again_without_one(venue, buy):
    since = datetime.now(UTC) - timedelta(minutes=1)
    first = venue.broker.news(symbols=[venue.symbol], since=since)
    assert first.is_whole
    assert set(first.quotes) == {venue.symbol}
    before = {each.venue_cash_id for each in first.cash}

    fills = venue.broker.submit(buy()).fills
    second = venue.broker.news(symbols=[venue.symbol, "ZZZZ"], since=since, mark=first.mark)
    third = venue.broker.news(symbols=[], since=since, mark=second.mark)
    again = venue.broker.news(symbols=[venue.symbol], since=since)

    assert set(second.fills) == set(fills)
    assert (second.cash, second.is_whole, third.fills, third.cash) == ((), False, (), ())
    assert set(fills) <= set(again.fills)
    assert {each.venue_cash_id for each in again.cash} == before


def test_a_price_is_news_once(venue):
    since = datetime.now(UTC)
    mark: Mark | None = None
    quotes: list[datetime] = []
    for _ in range(20):
        news = venue.broker.news(symbols=[venue.symbol], since=since, mark=mark)
        mark, quotes = news.mark, [*quotes, *(each.at for each in news.quotes.values())]

    assert quotes
    assert len(quotes) == len(set(quotes))


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


@pytest.mark.parametrize("time_in_force", [TimeInForce.FOK, TimeInForce.IOC])
def test_an_order_may_say_itself_what_becomes_of_its_rest(venue, buy, time_in_force):
    if time_in_force not in venue.at_once:
        with pytest.raises(Refused):
            venue.broker.submit(buy(time_in_force=time_in_force))
        return
    assert venue.broker.submit(buy(time_in_force=time_in_force)).state is VenueState.FILLED


def _close(order, position_id, quote, **changes):
    usual = {"side": Side.SELL, "reference_price": quote.bid, "venue_position_id": position_id}
    return replace(order, **(usual | changes))


def test_a_position_is_closed_in_parts_and_never_turned_around(venue, buy):
    step = venue.least
    position_id = venue.broker.submit(buy(quantity=3 * step)).fills[0].venue_position_id
    quote = venue.broker.snapshot(symbols=[venue.symbol]).quotes[venue.symbol]

    with pytest.raises(Refused):
        venue.broker.submit(_close(buy(quantity=4 * step), position_id, quote))
    part = venue.broker.submit(_close(buy(quantity=step), position_id, quote))

    assert (part.state, part.fills[0].venue_position_id) == (VenueState.FILLED, position_id)
    (left,) = venue.broker.snapshot(symbols=[]).positions
    assert (left.venue_position_id, left.quantity) == (position_id, 2 * step)
    assert venue.broker.submit(_close(buy(quantity=2 * step), position_id, quote)).state is VenueState.FILLED
    assert venue.broker.snapshot(symbols=[]).positions == ()
    with pytest.raises(Refused):
        venue.broker.submit(_close(buy(quantity=step), position_id, quote))
    assert venue.broker.snapshot(symbols=[]).positions == ()


def test_stops_are_set_changed_and_taken_away(venue, buy):
    order = buy()
    level = order.reference_price * Decimal("0.95")
    instrument = venue.broker.instrument(symbol=venue.symbol)
    level -= level % instrument.tick_size
    if not instrument.takes_stops:
        with pytest.raises(Refused):
            venue.broker.submit(replace(order, stop_loss=level))
        with pytest.raises(Refused):
            venue.broker.change_stops(StopsChange("stops-1", venue.symbol, venue.symbol, level, None))
        assert venue.broker.snapshot(symbols=[]).positions == ()
        return

    report = venue.broker.submit(replace(order, stop_loss=level))

    assert not report.stops_missing
    position_id = report.fills[0].venue_position_id
    assert venue.broker.snapshot(symbols=[]).positions[0].stop_loss == level
    for change_id, stop_loss in (("stops-1", None), ("stops-2", level), ("stops-3", level)):
        venue.broker.change_stops(StopsChange(change_id, position_id, venue.symbol, stop_loss, None))
        assert venue.broker.snapshot(symbols=[]).positions[0].stop_loss == stop_loss


def test_opposite_positions_close_each_other_where_the_account_keeps_both(venue, buy):
    if venue.broker.snapshot(symbols=[]).mode is PositionMode.NETTING:
        return
    long = venue.broker.submit(buy()).fills[0].venue_position_id
    quote = venue.broker.snapshot(symbols=[venue.symbol]).quotes[venue.symbol]
    short = venue.broker.submit(buy(side=Side.SELL, reference_price=quote.bid)).fills[0].venue_position_id

    report = venue.broker.close_by(client_order_id=venue.new_id(), venue_position_id=long, other_position_id=short)

    assert report.state is VenueState.FILLED
    assert {fill.venue_position_id for fill in report.fills} == {long, short}
    assert venue.broker.snapshot(symbols=[]).positions == ()


def test_margin_and_profit_are_the_venue_s_own(venue):
    quote = venue.broker.snapshot(symbols=[venue.symbol]).quotes[venue.symbol]
    amounts = {"symbol": venue.symbol, "quantity": Decimal(1)}

    assert venue.broker.margin(**amounts, side=Side.BUY, price=quote.ask) > 0
    for side in Side:
        profit = venue.broker.profit(
            **amounts, side=side, price_open=quote.bid, price_close=quote.bid * Decimal("1.01")
        )
        assert (profit > 0) is (side is Side.BUY)


def test_a_venue_that_cannot_be_reached_is_unreachable_and_nothing_else(venue, buy):
    order = buy()
    venue.cut()

    for ask in (
        lambda: venue.broker.snapshot(symbols=[]),
        lambda: venue.broker.instrument(symbol=venue.symbol),
        lambda: venue.broker.fills_since(datetime.now(UTC)),
        lambda: venue.broker.news(symbols=[], since=datetime.now(UTC)),
    ):
        with pytest.raises(Unreachable):
            ask()
    with pytest.raises(OutsideError):
        venue.broker.submit(order)
