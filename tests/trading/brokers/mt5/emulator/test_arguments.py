"""Each argument rule of the package, with its exact code and words."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.trading.brokers.mt5.emulator.world import EVER, HEDGER, PRICES, build, quote_all
from trading.brokers.mt5.emulator import BrokerProfile
from trading.brokers.mt5.emulator import constants as mt5

GOOD = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "magic": 5}
INVALID_COUNT = (-2, "Invalid number of arguments")
INVALID = (-2, "Invalid arguments")
UNNAMED = (-2, "Unnamed arguments not allowed")


def test_dict_and_keywords_mean_the_same(hedger):
    first, second = hedger.mt5.order_send(GOOD), hedger.mt5.order_send(**GOOD)

    assert first.retcode == second.retcode == mt5.TRADE_RETCODE_DONE
    assert first.request == second.request


@pytest.mark.parametrize("function", ["order_send", "order_check"])
@pytest.mark.parametrize(
    ("args", "named", "error"),
    [
        ((GOOD,), {"magic": 1}, UNNAMED),
        ((GOOD, GOOD), {}, INVALID_COUNT),
        (("EURUSD",), {}, INVALID),
        ((), {}, INVALID),
    ],
)
def test_request_must_be_one_dict_or_keywords(hedger, function, args, named, error):
    before = hedger.truth()

    assert getattr(hedger.mt5, function)(*args, **named) is None
    assert hedger.mt5.last_error() == error
    assert hedger.truth() == before


@pytest.mark.parametrize("key", ["volume", "price", "stoplimit", "sl", "tp"])
@pytest.mark.parametrize("value", [1, 0, Decimal("0.1"), None, "0.1", True])
def test_float_keys_take_floats_only(hedger, key, value):
    assert hedger.mt5.order_send({**GOOD, key: value}) is None
    assert hedger.mt5.last_error() == (-2, f'Invalid "{key}" argument')
    assert hedger.deals() == ()


@pytest.mark.parametrize(
    "key",
    [
        "action",
        "magic",
        "order",
        "deviation",
        "type",
        "type_filling",
        "type_time",
        "expiration",
        "position",
        "position_by",
    ],
)
@pytest.mark.parametrize("value", [1.0, None, "1"])
def test_integer_keys_take_integers_only(hedger, key, value):
    assert hedger.mt5.order_send({**GOOD, key: value}) is None
    assert hedger.mt5.last_error() == (-2, f'Invalid "{key}" argument')


@pytest.mark.parametrize("bad", [{"comment": None, "sl": 1, "symbol": 3}, {"sl": 1, "position": "x", "symbol": None}])
def test_names_the_first_bad_key_in_the_order_of_the_structure(hedger, bad):
    assert hedger.mt5.order_send({**GOOD, **bad}) is None
    assert hedger.mt5.last_error() == (-2, 'Invalid "symbol" argument')


@pytest.mark.parametrize("key", ["magic", "action", "type"])
@pytest.mark.parametrize("value", [-1, 2**64])
def test_integers_out_of_range_raise_and_send_nothing(hedger, key, value):
    with pytest.raises(SystemError) as caught:
        hedger.mt5.order_send({**GOOD, key: value})

    assert isinstance(caught.value.__cause__, OverflowError)
    assert hedger.control.truth(HEDGER)["requests"] == []


def test_magic_takes_all_64_bits(hedger):
    assert hedger.mt5.order_send({**GOOD, "magic": 2**64 - 1}).retcode == mt5.TRADE_RETCODE_DONE
    assert [deal.magic for deal in hedger.deals()] == [2**64 - 1]


@pytest.mark.parametrize(
    ("text", "fits"), [("x" * 29, True), ("x" * 30, False), ("😀" * 14 + "x", True), ("😀" * 15, False)]
)
def test_comment_holds_29_units(hedger, text, fits):
    result = hedger.mt5.order_send({**GOOD, "comment": text})

    assert (result is not None) is fits
    assert hedger.mt5.last_error() == ((1, "Success") if fits else (-2, 'Invalid "comment" argument'))


def test_unknown_keys_are_dropped_and_missing_ones_are_zero(hedger):
    request = hedger.mt5.order_send({**GOOD, "stop_loss": 1.0}).request

    assert request == (1, 5, 0, "EURUSD", 0.1, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0, "", 0, 0)
    (deal,) = hedger.deals()
    assert deal.type == mt5.DEAL_TYPE_BUY


@pytest.mark.parametrize("function", ["positions_get", "orders_get"])
def test_positions_and_orders_take_names_only(hedger, function):
    assert getattr(hedger.mt5, function)("EURUSD") is None
    assert hedger.mt5.last_error() == UNNAMED
    assert getattr(hedger.mt5, function)(ticket="1") is None
    assert hedger.mt5.last_error() == (-2, 'Invalid "ticket" argument')
    assert getattr(hedger.mt5, function)(tiket=1) is None
    assert hedger.mt5.last_error() == INVALID


def test_ticket_goes_before_symbol_and_symbol_before_group(hedger):
    ticket = hedger.buy("EURUSD", 0.1).order
    hedger.buy("BTCUSD", 0.1)

    assert [row.ticket for row in hedger.mt5.positions_get(ticket=ticket, symbol="BTCUSD")] == [ticket]
    assert [row.symbol for row in hedger.mt5.positions_get(symbol="BTCUSD", group="EUR*")] == ["BTCUSD"]
    assert [row.symbol for row in hedger.mt5.positions_get(group="*USD,!BTC*")] == ["EURUSD"]
    assert [row.symbol for row in hedger.mt5.positions_get()] == ["EURUSD", "BTCUSD"]


def test_nothing_found_is_empty_and_a_success(hedger):
    for found in (
        hedger.mt5.positions_get(ticket=99),
        hedger.mt5.positions_get(symbol="NOSUCH"),
        hedger.mt5.history_deals_get(10, 20),
        hedger.mt5.history_orders_get(ticket=99),
    ):
        assert found == ()
        assert hedger.mt5.last_error() == (1, "Success")


@pytest.mark.parametrize("function", ["history_deals_get", "history_orders_get"])
def test_history_takes_dates_unnamed_only(hedger, function):
    history = getattr(hedger.mt5, function)

    for args, named, error in [
        ((), {"date_from": 1, "date_to": 2}, INVALID),
        ((), {}, INVALID),
        ((1,), {}, INVALID_COUNT),
        ((1, 2, 3), {}, INVALID_COUNT),
        (("a", 2), {}, (-2, "Invalid 1st unnamed argument")),
        ((1, Decimal(2)), {}, (-2, "Invalid 2nd unnamed argument")),
        ((1, datetime(2039, 1, 1, tzinfo=UTC)), {}, (-2, "Invalid 2nd unnamed argument")),
        ((1, 2), {"group": 5}, (-2, 'Invalid "group" argument')),
    ]:
        assert history(*args, **named) is None
        assert hedger.mt5.last_error() == error


def test_dates_beyond_32_bits_raise(hedger):
    with pytest.raises(SystemError):
        hedger.mt5.history_deals_get(1, 2**31)


def test_date_zero_leaves_the_bound_of_the_call_before(hedger):
    hedger.buy("EURUSD", 0.1)
    now_s = hedger.control.now_us // 1_000_000 + 7_200
    assert hedger.mt5.history_deals_get(1, 0) == ()

    assert len(hedger.mt5.history_deals_get(1, now_s)) == 2
    assert len(hedger.mt5.history_deals_get(1, 0)) == 2
    assert hedger.mt5.history_deals_get(now_s + 1, now_s + 2) == ()
    assert hedger.mt5.history_deals_get(0, now_s + 9) == ()


def test_date_zero_is_an_assertion_in_strict_mode():
    world = build(profile=BrokerProfile(strict_zero_dates=True))

    with pytest.raises(AssertionError, match="date 0"):
        world.mt5.history_deals_get(0, 5)


def test_naive_dates_are_read_in_the_zone_of_the_host():
    world = quote_all(build(profile=BrokerProfile(selected=tuple(PRICES), host_offset_s=3_600)))
    world.buy("EURUSD", 0.1)
    server = datetime.fromtimestamp(world.control.now_us // 1_000_000 + 7_200, UTC).replace(tzinfo=None)

    def count(hour: int) -> int:
        return len(world.mt5.history_deals_get(1, server.replace(hour=hour)))

    assert (count(14), count(15)) == (0, 2)  # 14 h of server time is written 15 h by a host an hour ahead
    assert len(world.mt5.history_deals_get(1.0, float(EVER[1]))) == 2


@pytest.mark.parametrize(
    ("function", "args", "failure", "error"),
    [
        ("symbols_get", (1,), False, (-2, "Invalid 1st unnamed argument")),
        ("symbols_get", ("*", "*"), False, INVALID_COUNT),
        ("symbol_info", (1,), None, (-2, "Invalid 1st unnamed argument")),
        ("symbol_info", (), None, INVALID_COUNT),
        ("symbol_info", ("NOSUCH",), None, (-4, "Terminal: Not found")),
        ("symbol_info_tick", ("NOSUCH",), None, (-4, "Terminal: Not found")),
        ("symbol_select", ("NOSUCH", True), False, (-4, "Terminal: Not found")),
        ("symbol_select", ("EURUSD", "yes"), False, (-2, "Invalid 2nd unnamed argument")),
        ("order_calc_margin", (0, "EURUSD", Decimal(1), 1.0), None, (-2, "Invalid 3rd unnamed argument")),
        ("order_calc_margin", (2, "EURUSD", 1.0, 1.0), None, (-2, "Terminal: Invalid params")),
        ("order_calc_profit", (0, "EURUSD", 1.0, 1.0), None, INVALID_COUNT),
        ("order_calc_profit", (0, "EURUSD", 1.0, 1.0, float("nan")), None, (-2, "Terminal: Invalid params")),
        ("copy_rates_from_pos", ("EURUSD", 7, 0, 10), None, (-2, "Terminal: Invalid params")),
        ("copy_rates_from_pos", ("EURUSD", 1, -1, 10), None, (-2, "Terminal: Invalid params")),
        ("copy_rates_from_pos", ("EURUSD", 1, 0, 0), None, (-2, "Terminal: Invalid params")),
        ("copy_rates_from_pos", ("NOSUCH", 1, 0, 1), None, (-4, "Terminal: Not found")),
        ("copy_rates_from", ("EURUSD", 1, 1, 0), None, (-2, "Terminal: Invalid params")),
        ("copy_rates_range", ("EURUSD", 1, 1), None, INVALID_COUNT),
        ("copy_ticks_from", ("EURUSD", 1, 0, -1), None, (-2, "Terminal: Invalid params")),
        ("market_book_add", ("EURUSD",), False, (-1, "Terminal: Call failed")),
        ("market_book_get", ("EURUSD",), None, (-1, "Terminal: Call failed")),
        ("market_book_release", ("EURUSD",), False, (-1, "Terminal: Call failed")),
    ],
)
def test_functions_answer_bad_arguments_with_their_failure(hedger, function, args, failure, error):
    assert getattr(hedger.mt5, function)(*args) is failure
    assert hedger.mt5.last_error() == error


def test_positional_only_arguments_are_refused_by_name(hedger):
    assert hedger.mt5.symbol_info(symbol="EURUSD") is None
    assert hedger.mt5.last_error() == INVALID
