"""Each refusal has its code, and of two reasons the earlier one in the server's order answers."""

from dataclasses import replace

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, PRICES, build, quote_all
from trading.brokers.mt5.emulator import BrokerProfile
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.requests import HEDGE_PROHIBITED

DEAL = {"action": mt5.TRADE_ACTION_DEAL, "symbol": "EURUSD", "volume": 0.1}
GOLD = DEAL | {"symbol": "XAUUSD"}
INSTANT = DEAL | {"symbol": "EURUSD.m", "price": 1.0852}
INDEX = DEAL | {"symbol": "US500"}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (DEAL, 0),
        (DEAL | {"action": 0}, mt5.TRADE_RETCODE_INVALID),
        (DEAL | {"type": 2}, mt5.TRADE_RETCODE_INVALID),
        (DEAL | {"action": mt5.TRADE_ACTION_PENDING}, mt5.TRADE_RETCODE_INVALID),
        (DEAL | {"action": mt5.TRADE_ACTION_PENDING, "type": 2}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (DEAL | {"action": mt5.TRADE_ACTION_CLOSE_BY}, mt5.TRADE_RETCODE_POSITION_CLOSED),
        ({"action": mt5.TRADE_ACTION_REMOVE, "order": 7}, mt5.TRADE_RETCODE_INVALID_ORDER),
        ({"action": mt5.TRADE_ACTION_MODIFY, "order": 7}, mt5.TRADE_RETCODE_INVALID_ORDER),
        (DEAL | {"symbol": "EURUSD.x"}, mt5.TRADE_RETCODE_INVALID),
        (DEAL | {"symbol": "eurusd"}, mt5.TRADE_RETCODE_INVALID),
        (DEAL | {"symbol": "CLOSEDX"}, mt5.TRADE_RETCODE_CLOSE_ONLY),
        (DEAL | {"symbol": "CLOSEDX", "volume": 0.001}, mt5.TRADE_RETCODE_CLOSE_ONLY),
        (DEAL | {"volume": 0.0}, mt5.TRADE_RETCODE_INVALID_VOLUME),
        (DEAL | {"volume": -0.1}, mt5.TRADE_RETCODE_INVALID_VOLUME),
        (DEAL | {"volume": 0.015}, mt5.TRADE_RETCODE_INVALID_VOLUME),
        (DEAL | {"volume": 0.1 + 0.2}, mt5.TRADE_RETCODE_INVALID_VOLUME),
        (DEAL | {"volume": 100.01}, mt5.TRADE_RETCODE_INVALID_VOLUME),
        (DEAL | {"volume": float("nan")}, mt5.TRADE_RETCODE_INVALID_VOLUME),
        (DEAL | {"volume": float("inf")}, mt5.TRADE_RETCODE_INVALID_VOLUME),
        (DEAL | {"symbol": "BTCUSD", "volume": 5.01, "type_filling": 1}, mt5.TRADE_RETCODE_LIMIT_VOLUME),
        (DEAL | {"type_filling": mt5.ORDER_FILLING_IOC}, 0),
        (DEAL | {"type_filling": mt5.ORDER_FILLING_RETURN}, mt5.TRADE_RETCODE_INVALID_FILL),
        (DEAL | {"type_filling": mt5.ORDER_FILLING_BOC}, mt5.TRADE_RETCODE_INVALID_FILL),
        (DEAL | {"symbol": "USDJPY"}, mt5.TRADE_RETCODE_INVALID_FILL),
        (GOLD | {"type_filling": mt5.ORDER_FILLING_IOC}, mt5.TRADE_RETCODE_INVALID_FILL),
        (INDEX | {"type_filling": mt5.ORDER_FILLING_RETURN}, 0),
        (DEAL | {"symbol": "FUTX", "volume": 1.0}, mt5.TRADE_RETCODE_INVALID_FILL),
        (DEAL | {"symbol": "FUTX", "volume": 1.0, "type_filling": 2}, 0),
        (DEAL | {"type_time": 4}, mt5.TRADE_RETCODE_INVALID_EXPIRATION),
        (DEAL | {"price": 0.5}, 0),
        (INSTANT, 0),
        (INSTANT | {"type_filling": mt5.ORDER_FILLING_RETURN}, 0),
        (INSTANT | {"type_filling": mt5.ORDER_FILLING_IOC}, mt5.TRADE_RETCODE_INVALID_FILL),
        (INSTANT | {"price": 0.0}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (INSTANT | {"price": 1.085201}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (INSTANT | {"price": 1.0851}, mt5.TRADE_RETCODE_REQUOTE),
        (INSTANT | {"price": 1.0851, "deviation": 9}, mt5.TRADE_RETCODE_REQUOTE),
        (INSTANT | {"price": 1.0851, "deviation": 10}, 0),
        (DEAL | {"sl": 1.085}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (DEAL | {"sl": 1.08499}, 0),
        (DEAL | {"tp": 1.085}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (DEAL | {"tp": 1.08501}, 0),
        (DEAL | {"sl": -1.0}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (DEAL | {"sl": 1.080001}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (DEAL | {"sl": float("nan")}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (DEAL | {"type": 1, "sl": 1.0851}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (DEAL | {"type": 1, "sl": 1.08511, "tp": 1.08509}, 0),
        (GOLD | {"volume": 0.01, "sl": 2399.51}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (GOLD | {"volume": 0.01, "sl": 2399.5, "tp": 2400.5}, 0),
        (GOLD | {"volume": 0.01, "tp": 2400.49}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (INDEX | {"sl": 5490.2}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (INDEX | {"sl": 5490.5}, 0),
        (DEAL | {"volume": 9.14}, mt5.TRADE_RETCODE_NO_MONEY),
        (DEAL | {"volume": 9.13}, 0),
    ],
)
def test_check_and_send_agree_on_the_code(hedger, request_, code):
    before = hedger.truth()

    checked = hedger.mt5.order_check(request_)

    assert checked.retcode == code, checked
    assert hedger.truth() == before  # a check changes nothing
    sent = hedger.mt5.order_send(request_)
    assert sent.retcode == (code or mt5.TRADE_RETCODE_DONE)
    assert (hedger.truth() == before) is (code != 0)  # a refusal changes nothing but the list of requests
    assert len(hedger.control.truth(HEDGER)["requests"]) == 1
    if code:
        assert (sent.deal, sent.order, sent.volume, sent.price) == (0, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"trade_expert": False}, mt5.TRADE_RETCODE_SERVER_DISABLES_AT),
        ({"trade_allowed": False}, mt5.TRADE_RETCODE_TRADE_DISABLED),
        ({"limit_positions": 1}, mt5.TRADE_RETCODE_LIMIT_POSITIONS),
        ({"hedge_allowed": False}, HEDGE_PROHIBITED),
    ],
)
def test_account_may_forbid(changes, code):
    world = quote_all(build(account=changes))
    if code in (mt5.TRADE_RETCODE_LIMIT_POSITIONS, HEDGE_PROHIBITED):
        assert world.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_DONE

    assert world.sell("EURUSD", 0.1).retcode == code


def test_first_in_first_out_accounts_close_the_oldest_first():
    world = quote_all(build(account={"fifo_close": True}))
    first, second = world.buy("EURUSD", 0.1).order, world.buy("EURUSD", 0.1).order

    assert world.sell("EURUSD", 0.1, position=second).retcode == mt5.TRADE_RETCODE_FIFO_CLOSE
    assert world.sell("EURUSD", 0.1, position=first).retcode == mt5.TRADE_RETCODE_DONE
    assert world.sell("EURUSD", 0.1, position=second).retcode == mt5.TRADE_RETCODE_DONE


def test_the_twenty_first_request_of_a_second_is_too_many(hedger):
    codes = [hedger.buy("EURUSD", 0.01).retcode for _ in range(21)]
    assert codes == [mt5.TRADE_RETCODE_DONE] * 20 + [mt5.TRADE_RETCODE_TOO_MANY_REQUESTS]

    hedger.control.advance(1)
    assert hedger.buy("EURUSD", 0.01).retcode == mt5.TRADE_RETCODE_DONE


def test_closed_market_and_missing_quotes():
    world = build()
    assert world.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_PRICE_OFF
    quote_all(world).control.advance(4 * 86_400)  # Sunday noon
    assert world.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_MARKET_CLOSED
    assert world.buy("BTCUSD", 0.1).retcode == mt5.TRADE_RETCODE_DONE


def test_conversion_without_a_quote_is_off_quotes():
    world = build(account={"currency": "EUR"})
    world.control.tick("XAUUSD", "2400.00", "2400.20")

    assert world.buy("XAUUSD", 0.01).retcode == mt5.TRADE_RETCODE_PRICE_OFF
    world.control.tick("EURUSD", "1.08500", "1.08510")
    assert world.buy("XAUUSD", 0.01).retcode == mt5.TRADE_RETCODE_DONE


def test_frozen_position_cannot_be_moved_or_closed(hedger):
    ticket = hedger.buy("XAUUSD", 0.01, sl=2395.0).order
    hedger.control.tick("XAUUSD", "2395.20", "2395.40")

    assert hedger.move_stops(ticket, "XAUUSD", 2390.0, 0.0).retcode == mt5.TRADE_RETCODE_FROZEN
    assert hedger.sell("XAUUSD", 0.01, position=ticket).retcode == mt5.TRADE_RETCODE_FROZEN
    assert hedger.buy("XAUUSD", 0.01).retcode == mt5.TRADE_RETCODE_DONE
    hedger.control.tick("XAUUSD", "2395.21", "2395.41")
    assert hedger.sell("XAUUSD", 0.01, position=ticket).retcode == mt5.TRADE_RETCODE_DONE


@pytest.mark.parametrize(
    ("mode", "bought", "sold"),
    [
        (mt5.SYMBOL_TRADE_MODE_DISABLED, mt5.TRADE_RETCODE_TRADE_DISABLED, mt5.TRADE_RETCODE_TRADE_DISABLED),
        (mt5.SYMBOL_TRADE_MODE_LONGONLY, mt5.TRADE_RETCODE_DONE, mt5.TRADE_RETCODE_LONG_ONLY),
        (mt5.SYMBOL_TRADE_MODE_SHORTONLY, mt5.TRADE_RETCODE_SHORT_ONLY, mt5.TRADE_RETCODE_DONE),
        (mt5.SYMBOL_TRADE_MODE_CLOSEONLY, mt5.TRADE_RETCODE_CLOSE_ONLY, mt5.TRADE_RETCODE_CLOSE_ONLY),
    ],
)
@pytest.mark.parametrize("world_of", ["hedger", "netter"])
def test_trade_mode_limits_openings_but_not_closings(request, world_of, mode, bought, sold):
    world = request.getfixturevalue(world_of)
    held = world.buy("EURUSD", 0.2).order
    world.broker.instruments["EURUSD"] = replace(world.broker.instruments["EURUSD"], trade_mode=mode)
    may_close = mode != mt5.SYMBOL_TRADE_MODE_DISABLED

    assert world.buy("EURUSD", 0.1).retcode == bought
    closed = world.sell("EURUSD", 0.1, position=held).retcode
    assert closed == (mt5.TRADE_RETCODE_DONE if may_close else mt5.TRADE_RETCODE_TRADE_DISABLED)
    assert world.sell("EURUSD", 0.5).retcode == sold


def test_symbol_must_be_watched():
    world = quote_all(build(profile=BrokerProfile(selected=("BTCUSD",))))

    assert world.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_INVALID
    assert world.mt5.symbol_select("EURUSD", True)
    assert world.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_DONE


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (DEAL | {"action": 0, "symbol": "NOSUCH", "volume": 0.001}, mt5.TRADE_RETCODE_INVALID),
        (DEAL | {"volume": 0.001, "type_filling": 2, "sl": 2.0}, mt5.TRADE_RETCODE_INVALID_VOLUME),
        (DEAL | {"volume": 9.5, "type_filling": 2, "sl": 2.0}, mt5.TRADE_RETCODE_INVALID_FILL),
        (INSTANT | {"price": 0.0, "sl": 2.0}, mt5.TRADE_RETCODE_INVALID_PRICE),
        (DEAL | {"volume": 9.5, "sl": 2.0}, mt5.TRADE_RETCODE_INVALID_STOPS),
        (DEAL | {"volume": 9.5, "position": 55, "type": 1}, mt5.TRADE_RETCODE_POSITION_CLOSED),
    ],
)
def test_of_two_reasons_the_earlier_answers(hedger, request_, code):
    assert hedger.mt5.order_check(request_).retcode == code


def test_every_symbol_of_the_tests_is_quoted():
    assert PRICES.keys() == build().broker.instruments.keys()
