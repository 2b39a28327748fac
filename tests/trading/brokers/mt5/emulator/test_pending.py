"""Pending orders wait at their price, fire when the market is there, and end in the history."""

import pytest

from tests.trading.brokers.mt5.emulator.world import EVER, HEDGER, NETTER, build, quote_all
from trading.brokers.mt5.emulator import constants as mt5

BUY_LIMIT, SELL_LIMIT, BUY_STOP, SELL_STOP, BUY_STOP_LIMIT, SELL_STOP_LIMIT = range(2, 8)
DONE = mt5.TRADE_RETCODE_DONE
DAY = 86_400
NOON_S = 1_736_337_600 + 7_200  # the server's clock when the world begins


def test_placed_order_waits_and_shows_itself(hedger):
    result = hedger.place("EURUSD", BUY_LIMIT, 0.1, 1.08, sl=1.07, tp=1.09, magic=77, comment="N1ABC")

    assert (result.retcode, result.deal, result.volume, result.price) == (DONE, 0, 0.1, 0.0)
    (order,) = hedger.mt5.orders_get()
    assert (order.ticket, order.type, order.state) == (result.order, BUY_LIMIT, mt5.ORDER_STATE_PLACED)
    assert (order.price_open, order.price_current, order.sl, order.tp) == (1.08, 1.0851, 1.07, 1.09)
    assert (order.volume_initial, order.volume_current, order.magic, order.comment) == (0.1, 0.1, 77, "N1ABC")
    assert (order.time_setup, order.time_done, order.time_expiration) == (NOON_S, 0, 0)
    assert (order.type_filling, order.reason, order.position_id) == (2, mt5.ORDER_REASON_EXPERT, 0)
    assert hedger.mt5.orders_total() == len(hedger.mt5.orders_get(symbol="EURUSD")) == 1
    assert hedger.mt5.orders_get(ticket=result.order + 1) == hedger.mt5.orders_get(group="*JPY") == ()
    assert hedger.mt5.history_orders_get(*EVER) == hedger.deals() == hedger.mt5.positions_get() == ()


@pytest.mark.parametrize(
    ("kind", "price", "before", "quote", "filled"),
    [
        (BUY_LIMIT, 1.08, ("1.07991", "1.08001"), ("1.07990", "1.08000"), 1.08),
        (BUY_LIMIT, 1.08, ("1.08000", "1.08010"), ("1.07900", "1.07910"), 1.0791),
        (SELL_LIMIT, 1.09, ("1.08999", "1.09009"), ("1.09000", "1.09010"), 1.09),
        (SELL_LIMIT, 1.09, ("1.08999", "1.09009"), ("1.09100", "1.09110"), 1.091),
        (BUY_STOP, 1.09, ("1.08989", "1.08999"), ("1.08990", "1.09000"), 1.09),
        (BUY_STOP, 1.09, ("1.08989", "1.08999"), ("1.09490", "1.09500"), 1.095),
        (SELL_STOP, 1.08, ("1.08001", "1.08011"), ("1.08000", "1.08010"), 1.08),
        (SELL_STOP, 1.08, ("1.08001", "1.08011"), ("1.07500", "1.07510"), 1.075),
    ],
)
@pytest.mark.parametrize("world_of", ["hedger", "netter"])
def test_fires_at_its_price_and_fills_as_its_kind_does(request, world_of, kind, price, before, quote, filled):
    world = request.getfixturevalue(world_of)
    ticket = world.place("EURUSD", kind, 0.1, price, magic=9).order
    world.control.tick("EURUSD", *before)
    assert world.mt5.orders_total() == 1

    world.control.tick("EURUSD", *quote)

    (position,) = world.mt5.positions_get()
    assert (position.ticket, position.type, position.price_open, position.magic) == (ticket, kind % 2, filled, 9)
    (deal,) = world.deals()
    assert (deal.order, deal.position_id, deal.entry, deal.reason) == (ticket, ticket, 0, mt5.DEAL_REASON_EXPERT)
    order = world.finished(ticket)
    assert (order.type, order.state, order.price_open, order.position_id) == (kind, 4, price, ticket)
    assert (order.volume_initial, order.volume_current) == (0.1, 0.0)
    assert world.mt5.orders_get() == ()


@pytest.mark.parametrize(
    ("kind", "price", "stoplimit", "trigger", "reached"),
    [
        (BUY_STOP_LIMIT, 1.09, 1.088, ("1.08990", "1.09000"), ("1.08790", "1.08800")),
        (SELL_STOP_LIMIT, 1.08, 1.082, ("1.08000", "1.08010"), ("1.08200", "1.08210")),
    ],
)
def test_stop_limit_becomes_a_limit_under_its_ticket(hedger, kind, price, stoplimit, trigger, reached):
    ticket = hedger.place("EURUSD", kind, 0.1, price, stoplimit=stoplimit).order
    assert hedger.mt5.orders_get()[0].price_stoplimit == stoplimit

    hedger.control.tick("EURUSD", *trigger)

    (order,) = hedger.mt5.orders_get()
    assert (order.ticket, order.type, order.price_open, order.price_stoplimit) == (ticket, kind - 4, stoplimit, 0.0)
    assert hedger.deals() == ()
    hedger.control.tick("EURUSD", *reached)
    assert hedger.deals()[0].price == stoplimit
    assert hedger.finished(ticket).state == mt5.ORDER_STATE_FILLED


def test_pending_order_changes_the_one_position_of_a_netting_account(netter):
    held = netter.buy("EURUSD", 0.1, sl=1.08, tp=1.1).order
    ticket = netter.place("EURUSD", SELL_LIMIT, 0.3, 1.09, sl=1.095).order

    netter.control.tick("EURUSD", "1.09000", "1.09010")

    (position,) = netter.mt5.positions_get()
    assert (position.ticket, position.identifier, position.type, position.volume) == (ticket, held, 1, 0.2)
    assert (position.sl, position.tp) == (1.095, 0.0)
    assert netter.deals()[-1].entry == mt5.DEAL_ENTRY_INOUT


def test_modified_order_waits_elsewhere(hedger):
    ticket = hedger.place("EURUSD", BUY_LIMIT, 0.1, 1.08, sl=1.07).order

    assert hedger.modify(ticket, 1.079, sl=1.07, tp=1.1).retcode == DONE

    (order,) = hedger.mt5.orders_get()
    assert (order.ticket, order.price_open, order.sl, order.tp) == (ticket, 1.079, 1.07, 1.1)
    assert hedger.modify(ticket, 1.079, sl=1.07, tp=1.1).retcode == mt5.TRADE_RETCODE_NO_CHANGES
    assert hedger.modify(ticket, 1.086).retcode == mt5.TRADE_RETCODE_INVALID_PRICE
    assert hedger.modify(ticket, 1.079, sl=1.0795).retcode == mt5.TRADE_RETCODE_INVALID_STOPS
    hedger.control.tick("EURUSD", "1.07950", "1.07960")
    assert hedger.mt5.positions_get() == ()


def test_removed_order_is_canceled_even_in_a_closed_market(hedger):
    ticket = hedger.place("EURUSD", BUY_LIMIT, 0.1, 1.08).order
    hedger.control.advance(4 * DAY)
    assert hedger.modify(ticket, 1.079).retcode == mt5.TRADE_RETCODE_MARKET_CLOSED

    result = hedger.remove(ticket)

    assert (result.retcode, result.order, result.deal) == (DONE, ticket, 0)
    order = hedger.finished(ticket)
    assert (order.state, order.volume_current) == (mt5.ORDER_STATE_CANCELED, 0.1)
    assert order.time_done == NOON_S + 4 * DAY
    assert hedger.mt5.orders_get() == ()
    for late in (hedger.remove(ticket), hedger.modify(ticket, 1.079)):
        assert late.retcode == mt5.TRADE_RETCODE_INVALID_ORDER


@pytest.mark.parametrize(
    ("type_time", "expiration", "lives_s"),
    [
        (mt5.ORDER_TIME_DAY, 0, 10 * 3_600),
        (mt5.ORDER_TIME_SPECIFIED, NOON_S + 100, 100),
        (mt5.ORDER_TIME_SPECIFIED_DAY, NOON_S + DAY, DAY + 10 * 3_600),
    ],
)
def test_order_expires_on_time_without_a_tick(hedger, type_time, expiration, lives_s):
    ticket = hedger.place("EURUSD", BUY_LIMIT, 0.1, 1.08, type_time=type_time, expiration=expiration).order
    assert hedger.mt5.orders_get()[0].time_expiration == NOON_S + lives_s
    hedger.control.advance(lives_s - 1)
    assert hedger.mt5.orders_total() == 1

    hedger.control.advance(DAY)

    order = hedger.finished(ticket)
    assert (order.state, order.time_done, order.volume_current) == (mt5.ORDER_STATE_EXPIRED, NOON_S + lives_s, 0.1)
    hedger.control.tick("EURUSD", "1.07000", "1.07010")
    assert hedger.deals() == ()


GOLD_NEAR = ("XAUUSD", BUY_LIMIT, 0.01)


@pytest.mark.parametrize(
    ("order", "fields", "code"),
    [
        (("EURUSD", BUY_LIMIT, 0.1, 1.0851), {}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (("EURUSD", BUY_LIMIT, 0.1, 1.08509), {}, DONE),
        (("EURUSD", SELL_LIMIT, 0.1, 1.085), {}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (("EURUSD", BUY_STOP, 0.1, 1.0851), {}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (("EURUSD", SELL_STOP, 0.1, 1.085), {}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (("EURUSD", SELL_STOP, 0.1, 1.08499), {}, DONE),
        (("EURUSD", BUY_LIMIT, 0.1, 1.080001), {}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (("EURUSD", BUY_LIMIT, 0.1, -1.0), {}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (("EURUSD", BUY_STOP_LIMIT, 0.1, 1.09), {}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (("EURUSD", BUY_STOP_LIMIT, 0.1, 1.09), {"stoplimit": 1.091}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (("EURUSD", SELL_STOP_LIMIT, 0.1, 1.08), {"stoplimit": 1.079}, mt5.TRADE_RETCODE_INVALID_PRICE),
        ((*GOLD_NEAR, 2399.71), {}, mt5.TRADE_RETCODE_INVALID_PRICE),
        ((*GOLD_NEAR, 2399.7), {}, DONE),
        ((*GOLD_NEAR, 2399.7), {"sl": 2399.21}, mt5.TRADE_RETCODE_INVALID_STOPS),
        ((*GOLD_NEAR, 2399.7), {"sl": 2399.2, "tp": 2400.2}, DONE),
        (("EURUSD", BUY_LIMIT, 0.1, 1.08), {"sl": 1.08}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (("EURUSD", SELL_LIMIT, 0.1, 1.09), {"tp": 1.091}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (("EURUSD", BUY_STOP_LIMIT, 0.1, 1.09), {"stoplimit": 1.088, "sl": 1.0885}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (("EURUSD", BUY_LIMIT, 0.015, 1.08), {}, mt5.TRADE_RETCODE_INVALID_VOLUME),
        (("BTCUSD", BUY_LIMIT, 5.01, 50000.0), {}, mt5.TRADE_RETCODE_LIMIT_VOLUME),
        (("CLOSEDX", BUY_LIMIT, 0.1, 1.08), {}, mt5.TRADE_RETCODE_CLOSE_ONLY),
        (("XAUUSD", BUY_LIMIT, 0.1, 2300.0), {"type_filling": mt5.ORDER_FILLING_IOC}, mt5.TRADE_RETCODE_INVALID_FILL),
        (("EURUSD", BUY_LIMIT, 0.1, 1.08), {"type_filling": mt5.ORDER_FILLING_BOC}, mt5.TRADE_RETCODE_INVALID_FILL),
        (("US500", BUY_LIMIT, 0.1, 5490.0), {"type_filling": mt5.ORDER_FILLING_BOC}, DONE),
        (("US500", BUY_STOP, 0.1, 5510.0), {"type_filling": mt5.ORDER_FILLING_BOC}, mt5.TRADE_RETCODE_INVALID_FILL),
        (("US500", BUY_LIMIT, 0.1, 5500.5), {"type_filling": mt5.ORDER_FILLING_BOC}, mt5.TRADE_RETCODE_REJECT),
        (("EURUSD", BUY_LIMIT, 0.1, 1.08), {"type_time": 4}, mt5.TRADE_RETCODE_INVALID_EXPIRATION),
        (("EURUSD", BUY_LIMIT, 0.1, 1.08), {"type_time": 2}, mt5.TRADE_RETCODE_INVALID_EXPIRATION),
        (("EURUSD", BUY_LIMIT, 0.1, 1.08), {"type_time": 2, "expiration": NOON_S}, 10022),
        (("EURUSD", BUY_LIMIT, 0.1, 1.08), {"type_time": 3, "expiration": NOON_S - DAY}, 10022),
        (("EURUSD", BUY_LIMIT, 0.1, 1.08), {"type_time": 3, "expiration": NOON_S - 3_600}, DONE),
        (("EURUSD", 8, 0.1, 1.08), {}, mt5.TRADE_RETCODE_INVALID),
    ],
)
def test_check_and_send_agree_on_pending_orders(hedger, order, fields, code):
    symbol, kind, volume, price = order
    request = {"action": 5, "symbol": symbol, "type": kind, "volume": volume, "price": price, "type_filling": 2}
    before = hedger.truth()

    checked = hedger.mt5.order_check(request | fields)

    assert checked.retcode == (0 if code == DONE else code)
    assert hedger.truth() == before
    assert hedger.mt5.order_send(request | fields).retcode == code
    assert len(hedger.truth()["working"]) == (code == DONE)
    if code != DONE:
        assert hedger.truth() == before


def test_limit_order_that_crosses_an_exchange_is_filled_at_once(netter):
    result = netter.place("US500", BUY_LIMIT, 0.1, 5505.0)

    assert (result.retcode, result.price) == (DONE, 5500.5)
    assert result.deal == netter.deals()[0].ticket
    assert netter.finished(result.order).type == BUY_LIMIT


def test_volume_limit_counts_open_and_waiting_lots_of_one_side():
    world = quote_all(build(account={"initial_balance": "1000000"}))
    world.place("BTCUSD", BUY_LIMIT, 3.0, 50000.0)
    world.place("BTCUSD", SELL_LIMIT, 5.0, 70000.0)

    assert world.buy("BTCUSD", 2.01).retcode == mt5.TRADE_RETCODE_LIMIT_VOLUME
    assert world.buy("BTCUSD", 2.0).retcode == DONE
    assert world.place("BTCUSD", BUY_STOP, 0.01, 70000.0).retcode == mt5.TRADE_RETCODE_LIMIT_VOLUME


def test_account_limits_the_number_of_orders():
    world = quote_all(build(account={"limit_orders": 1}))
    assert world.mt5.account_info().limit_orders == 1
    ticket = world.place("EURUSD", BUY_LIMIT, 0.1, 1.08).order

    assert world.place("EURUSD", BUY_LIMIT, 0.1, 1.07).retcode == mt5.TRADE_RETCODE_LIMIT_ORDERS
    assert world.buy("EURUSD", 0.1).retcode == world.remove(ticket).retcode == DONE
    assert world.place("EURUSD", BUY_LIMIT, 0.1, 1.07).retcode == DONE


def test_order_near_the_market_is_frozen(hedger):
    ticket = hedger.place("XAUUSD", BUY_LIMIT, 0.01, 2395.0).order
    hedger.control.tick("XAUUSD", "2395.00", "2395.20")

    assert hedger.modify(ticket, 2390.0).retcode == mt5.TRADE_RETCODE_FROZEN
    assert hedger.remove(ticket).retcode == mt5.TRADE_RETCODE_FROZEN
    hedger.control.tick("XAUUSD", "2395.01", "2395.21")
    assert hedger.remove(ticket).retcode == DONE


def test_order_without_margin_at_activation_is_rejected(hedger):
    ticket = hedger.place("EURUSD", BUY_LIMIT, 50.0, 1.08).order

    hedger.control.tick("EURUSD", "1.07990", "1.08000")

    order = hedger.finished(ticket)
    assert (order.state, order.volume_current, hedger.deals()) == (mt5.ORDER_STATE_REJECTED, 50.0, ())
    assert hedger.mt5.orders_get() == ()


def test_stops_of_positions_fire_before_pending_orders_and_the_oldest_first(hedger):
    held = hedger.buy("EURUSD", 0.1, sl=1.08).order
    first = hedger.place("EURUSD", SELL_STOP, 0.1, 1.08).order
    second = hedger.place("EURUSD", SELL_STOP, 0.1, 1.081).order

    hedger.control.tick("EURUSD", "1.07900", "1.07910")

    assert [deal.position_id for deal in hedger.deals()[1:]] == [held, first, second]


def test_nothing_fires_in_a_closed_market(hedger):
    hedger.place("XAUUSD", BUY_LIMIT, 0.01, 2390.0)
    hedger.control.advance(10 * 3_600 + 1_800)
    hedger.control.tick("XAUUSD", "2380.00", "2380.20")
    assert hedger.mt5.orders_total() == 1

    hedger.control.advance(1_800)
    hedger.control.tick("XAUUSD", "2380.00", "2380.20")
    assert hedger.deals()[0].price == 2380.2


@pytest.mark.parametrize(("login", "orders"), [(HEDGER, 127), (NETTER, 63)])
def test_symbols_say_what_they_take(login, orders):
    info = quote_all(build(login)).mt5.symbol_info("EURUSD")

    assert (info.order_mode, info.expiration_mode, info.order_gtc_mode) == (orders, 15, mt5.SYMBOL_ORDERS_GTC)


def test_watched_symbol_of_a_working_order_stays_watched(hedger):
    hedger.place("EURUSD", BUY_LIMIT, 0.1, 1.08)

    assert hedger.mt5.symbol_select("EURUSD", False) is False


def test_working_orders_survive_a_restart(tmp_path):
    world = quote_all(build(path=tmp_path / "b.sqlite3"))
    ticket = world.place("EURUSD", BUY_STOP_LIMIT, 0.1, 1.09, stoplimit=1.088, type_time=1, magic=2**64 - 1).order
    before = world.truth()
    world.broker.close()

    world = build(path=tmp_path / "b.sqlite3")

    assert world.truth() == before
    assert [row.ticket for row in world.mt5.orders_get()] == [ticket]
    world.control.advance(DAY)
    assert world.finished(ticket).state == mt5.ORDER_STATE_EXPIRED
