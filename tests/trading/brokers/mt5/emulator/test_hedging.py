"""A hedging account keeps one position per opening."""

import pytest

from tests.trading.brokers.mt5.emulator.world import EVER, HEDGER, PRICES, build, quote_all
from trading.brokers.mt5.emulator import BrokerProfile
from trading.brokers.mt5.emulator import constants as mt5


def test_buy_opens_at_the_ask_with_its_stops(hedger):
    result = hedger.buy("EURUSD", 0.1, sl=1.08, tp=1.09, magic=77, comment="N1ABC")

    assert (result.retcode, result.volume, result.price) == (mt5.TRADE_RETCODE_DONE, 0.1, 1.0851)
    (position,) = hedger.mt5.positions_get()
    assert position.ticket == position.identifier == result.order
    assert (position.type, position.volume, position.price_open, position.price_current) == (0, 0.1, 1.0851, 1.085)
    assert (position.sl, position.tp, position.magic, position.comment) == (1.08, 1.09, 77, "N1ABC")
    assert (position.reason, position.profit) == (mt5.POSITION_REASON_EXPERT, -1.0)
    (deal,) = hedger.deals()
    assert (deal.ticket, deal.order, deal.position_id) == (result.deal, result.order, position.identifier)
    assert (deal.type, deal.entry, deal.reason, deal.magic) == (0, mt5.DEAL_ENTRY_IN, mt5.DEAL_REASON_EXPERT, 77)
    assert (deal.price, deal.profit, deal.commission, deal.comment) == (1.0851, 0.0, 0.0, "N1ABC")
    (order,) = hedger.mt5.history_orders_get(*EVER)
    assert (order.ticket, order.state, order.position_id) == (result.order, mt5.ORDER_STATE_FILLED, position.identifier)
    assert (order.volume_initial, order.volume_current, order.price_open) == (0.1, 0.0, 1.0851)
    assert hedger.mt5.orders_get() == ()
    assert (hedger.mt5.orders_total(), hedger.mt5.positions_total()) == (0, 1)


def test_opposite_deal_without_position_opens_another(hedger):
    hedger.buy("EURUSD", 0.1)

    assert hedger.sell("EURUSD", 0.1).price == 1.085

    assert [(row.type, row.volume) for row in hedger.mt5.positions_get()] == [(0, 0.1), (1, 0.1)]
    assert hedger.mt5.account_info().margin == 108.51  # the larger side binds


def test_close_by_position_in_two_parts(hedger):
    ticket = hedger.buy("EURUSD", 0.3, magic=5).order
    hedger.control.tick("EURUSD", "1.08710", "1.08720")

    first = hedger.sell("EURUSD", 0.1, position=ticket, magic=6)
    (rest,) = hedger.mt5.positions_get()
    second = hedger.sell("EURUSD", 0.2, position=ticket, magic=7)

    assert (first.price, rest.volume, rest.ticket, rest.price_open) == (1.0871, 0.2, ticket, 1.0851)
    assert second.retcode == mt5.TRADE_RETCODE_DONE
    assert hedger.mt5.positions_get() == ()
    outs = hedger.mt5.history_deals_get(position=ticket)[1:]
    assert [(deal.entry, deal.volume, deal.profit, deal.magic) for deal in outs] == [
        (1, 0.1, 20.0, 6),
        (1, 0.2, 40.0, 7),
    ]
    assert hedger.mt5.account_info().balance == 10060.0
    assert len(hedger.mt5.history_orders_get(position=ticket)) == 3
    (deal,) = hedger.mt5.history_deals_get(ticket=first.order)
    assert (deal.ticket, deal.order) == (first.deal, first.order)


@pytest.mark.parametrize(
    ("fields", "side", "code"),
    [
        ({"position": 999_999}, 1, mt5.TRADE_RETCODE_POSITION_CLOSED),
        ({"volume": 0.2}, 1, mt5.TRADE_RETCODE_INVALID_CLOSE_VOLUME),
        ({}, 0, mt5.TRADE_RETCODE_INVALID),
        ({"symbol": "CLOSEDX"}, 1, mt5.TRADE_RETCODE_INVALID),
    ],
)
def test_close_that_does_not_fit_its_position_is_refused(hedger, fields, side, code):
    ticket = hedger.buy("EURUSD", 0.1).order
    before = hedger.truth()

    assert hedger.deal(side=side, **({"symbol": "EURUSD", "volume": 0.1, "position": ticket} | fields)).retcode == code
    assert hedger.truth() == before


@pytest.mark.parametrize(
    ("side", "stops", "quote", "reason", "comment", "price", "profit"),
    [
        (0, {"sl": 1.08}, ("1.07990", "1.08000"), 4, "[sl 1.08000]", 1.0799, -52.0),
        (0, {"sl": 1.08}, ("1.08000", "1.08010"), 4, "[sl 1.08000]", 1.08, -51.0),
        (0, {"tp": 1.09}, ("1.09000", "1.09010"), 5, "[tp 1.09000]", 1.09, 49.0),
        (0, {"tp": 1.09}, ("1.09500", "1.09510"), 5, "[tp 1.09000]", 1.095, 99.0),
        (1, {"sl": 1.09}, ("1.08990", "1.09000"), 4, "[sl 1.09000]", 1.09, -50.0),
        (1, {"tp": 1.08}, ("1.07990", "1.08000"), 5, "[tp 1.08000]", 1.08, 50.0),
        (1, {"tp": 1.08}, ("1.07980", "1.07990"), 5, "[tp 1.08000]", 1.0799, 51.0),
    ],
)
def test_stops_fire_at_the_price_that_reaches_them(hedger, side, stops, quote, reason, comment, price, profit):
    ticket = hedger.deal("EURUSD", side, 0.1, magic=9, **stops).order

    hedger.control.tick("EURUSD", *quote)

    assert hedger.mt5.positions_get() == ()
    deal = hedger.deals()[-1]
    assert (deal.reason, deal.comment, deal.price, deal.profit) == (reason, comment, price, profit)
    assert (deal.entry, deal.position_id, deal.magic, deal.type) == (mt5.DEAL_ENTRY_OUT, ticket, 9, 1 - side)
    assert hedger.mt5.history_orders_get(*EVER)[-1].reason == reason


def test_a_broker_may_write_no_magic_on_what_its_stops_close():
    hedger = quote_all(build(account={"stops_keep_magic": False}))
    hedger.buy("EURUSD", 0.1, magic=9, sl=1.08)

    hedger.control.tick("EURUSD", "1.07990", "1.08000")

    deal = hedger.deals()[-1]
    assert (deal.entry, deal.reason, deal.magic, deal.comment) == (mt5.DEAL_ENTRY_OUT, 4, 0, "[sl 1.08000]")


@pytest.mark.parametrize(
    ("side", "quote"), [(0, ("1.08001", "1.08011")), (0, ("1.08999", "1.09009")), (1, ("1.08989", "1.08999"))]
)
def test_stops_wait_until_the_price_is_there(hedger, side, quote):
    sl, tp = (1.08, 1.09) if side == 0 else (1.09, 1.08)
    hedger.deal("EURUSD", side, 0.1, sl=sl, tp=tp)

    hedger.control.tick("EURUSD", *quote)

    assert hedger.mt5.positions_total() == 1


def test_stops_fire_oldest_first_and_only_in_an_open_market(hedger):
    first = hedger.buy("XAUUSD", 0.01, sl=2390.0).order
    second = hedger.buy("XAUUSD", 0.01, sl=2395.0).order
    hedger.control.advance(10 * 3_600 + 1_800)  # half past midnight at the server: gold is closed until one
    hedger.control.tick("XAUUSD", "2380.00", "2380.20")
    assert hedger.mt5.positions_total() == 2

    hedger.control.advance(1_800)
    hedger.control.tick("XAUUSD", "2380.00", "2380.20")

    assert [deal.position_id for deal in hedger.deals()[2:]] == [first, second]


def test_moved_stops_replace_the_old_ones(hedger):
    ticket = hedger.buy("EURUSD", 0.1, sl=1.08).order

    assert hedger.move_stops(ticket, "EURUSD", 1.081, 1.09).retcode == mt5.TRADE_RETCODE_DONE
    (position,) = hedger.mt5.positions_get()
    assert (position.sl, position.tp) == (1.081, 1.09)
    assert hedger.move_stops(ticket, "EURUSD", 1.081, 1.09).retcode == mt5.TRADE_RETCODE_NO_CHANGES
    assert hedger.move_stops(ticket, "EURUSD", 1.0851, 0.0).retcode == mt5.TRADE_RETCODE_INVALID_STOPS
    assert hedger.move_stops(99, "EURUSD", 1.08, 0.0).retcode == mt5.TRADE_RETCODE_POSITION_CLOSED
    assert hedger.move_stops(ticket, "EURUSD", 0.0, 0.0).retcode == mt5.TRADE_RETCODE_DONE
    assert len(hedger.deals()) == 1


def test_manual_trade_carries_no_magic(hedger):
    answer = hedger.control.manual_trade(HEDGER, "EURUSD.m", 0, "0.5", sl="1.08")

    (deal,) = hedger.deals()
    assert answer.retcode == mt5.TRADE_RETCODE_DONE
    assert (deal.reason, deal.magic, deal.comment, deal.price) == (mt5.DEAL_REASON_CLIENT, 0, "", 1.0852)
    closed = hedger.control.manual_trade(HEDGER, "EURUSD.m", 1, "0.5", position=answer.order)
    assert closed.retcode == mt5.TRADE_RETCODE_DONE
    assert hedger.mt5.positions_get() == ()


@pytest.mark.parametrize(
    ("policy", "kept"), [("keep", "N1ABCDEF"), ("drop", ""), ("truncate:4", "N1AB"), ("replace:broker", "broker")]
)
def test_broker_may_do_as_it_likes_with_comments(policy, kept):
    world = quote_all(build(account={"comment_policy": policy}))

    world.buy("EURUSD", 0.1, comment="N1ABCDEF")

    assert (world.mt5.positions_get()[0].comment, world.deals()[0].comment) == (kept, kept)


def test_tickets_beyond_53_bits_stay_exact():
    world = quote_all(build(profile=BrokerProfile(selected=tuple(PRICES), first_ticket=2**53 + 1)))

    tickets = [world.buy("EURUSD", 0.01).order for _ in range(3)]

    assert tickets == [2**53 + 1, 2**53 + 2, 2**53 + 3]
    assert [row.ticket for row in world.mt5.positions_get()] == tickets
    assert world.mt5.history_deals_get(*EVER)[0].ticket == 2**53 + 1
