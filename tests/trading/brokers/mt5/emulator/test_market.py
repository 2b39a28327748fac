"""Symbols and ticks as the terminal shows them."""

from dataclasses import replace

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, build, quote_all
from trading.brokers.mt5.emulator import BrokerProfile
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.instruments import BUILT_IN
from trading.brokers.mt5.emulator.sessions import Sessions


def test_symbol_shows_its_rules_and_its_quote(hedger):
    info = hedger.mt5.symbol_info("US500")

    assert (info.name, info.digits, info.point, info.trade_tick_size) == ("US500", 1, 0.1, 0.5)
    assert (info.volume_min, info.volume_max, info.volume_step) == (0.1, 500.0, 0.1)
    assert (info.trade_exemode, info.filling_mode, info.trade_mode) == (mt5.SYMBOL_TRADE_EXECUTION_EXCHANGE, 7, 4)
    assert (info.bid, info.ask, info.spread, info.select) == (5500.0, 5500.5, 5, True)
    assert (info.trade_tick_value, info.trade_contract_size) == (0.5, 1.0)
    gold = hedger.mt5.symbol_info("XAUUSD")
    assert (gold.trade_stops_level, gold.trade_freeze_level, gold.filling_mode) == (50, 20, 1)
    assert (gold.currency_base, gold.currency_profit, gold.currency_margin) == ("XAU", "USD", "USD")


def test_tick_value_is_worth_more_on_the_losing_side(hedger):
    info = hedger.mt5.symbol_info("USDJPY")

    assert info.trade_tick_value == info.trade_tick_value_profit == pytest.approx(100 / 150.01)
    assert info.trade_tick_value_loss == pytest.approx(100 / 150.0)


def test_symbol_out_of_market_watch_shows_no_price():
    world = quote_all(build(profile=BrokerProfile()))

    assert world.mt5.symbol_info_tick("EURUSD") is None
    info = world.mt5.symbol_info("EURUSD")
    assert (info.select, info.bid, info.trade_tick_value, info.time) == (False, 0.0, 0.0, 0)
    assert world.mt5.symbol_select("EURUSD")
    assert world.mt5.symbol_info_tick("EURUSD").bid == 1.085
    assert world.mt5.symbol_select("EURUSD", False)
    assert world.mt5.symbol_info_tick("EURUSD") is None


def test_symbol_with_a_position_stays_watched(hedger):
    hedger.buy("EURUSD", 0.1)

    assert hedger.mt5.symbol_select("EURUSD", False) is False
    assert hedger.mt5.symbol_info_tick("EURUSD") is not None


def test_groups_choose_symbols(hedger):
    def names(group):
        return [info.name for info in hedger.mt5.symbols_get(group)]

    assert hedger.mt5.symbols_total() == len(hedger.mt5.symbols_get()) == 8
    assert names("EUR*") == ["EURUSD", "EURUSD.m"]
    assert names("*USD*, !*.m, !BTC*") == ["EURUSD", "USDJPY", "XAUUSD"]
    assert names("eurusd") == []


def test_times_are_the_brokers_wall_clock_and_move_with_ticks(hedger):
    first = hedger.mt5.symbol_info_tick("EURUSD")
    hedger.control.advance(60)
    assert hedger.mt5.symbol_info_tick("EURUSD") == first

    hedger.control.tick("EURUSD", "1.08500", "1.08520")
    later = hedger.mt5.symbol_info_tick("EURUSD")
    assert (later.time - first.time, later.time_msc) == (60, hedger.control.now_us // 1_000 + 7_200_000)
    assert hedger.mt5.symbol_info("EURUSD").time == later.time


@pytest.mark.parametrize("quote", [("1.08500", "1.08490"), ("1.085001", "1.08510"), ("0", "1"), ("-1", "1")])
def test_script_refuses_what_no_market_quotes(hedger, quote):
    with pytest.raises(ValueError, match="no quote"):
        hedger.control.tick("EURUSD", *quote)


def test_ticks_of_the_past_can_be_copied():
    world = build(HEDGER, quotes="generated")
    since = world.control.now_us // 1_000_000 + 7_200
    world.control.advance(120)

    ticks = world.mt5.copy_ticks_from("EURUSD", since, 5, mt5.COPY_TICKS_ALL)

    assert len(ticks) == 5
    assert all(since <= row[0] <= since + 120 for row in ticks)
    assert [row[5] for row in ticks] == sorted(row[5] for row in ticks)
    everything = world.mt5.copy_ticks_range("EURUSD", since, since + 120, mt5.COPY_TICKS_ALL)
    assert list(everything[:5]) == list(ticks)
    assert tuple(everything[-1])[:3] == tuple(world.mt5.symbol_info_tick("EURUSD"))[:3]
    assert len(world.mt5.copy_ticks_range("EURUSD", since, since + 120, mt5.COPY_TICKS_TRADE)) == 0


def test_scripted_tick_rules_until_the_next_generated_one():
    world = build(HEDGER, quotes="generated")

    world.control.tick("EURUSD", "1.20000", "1.20010")

    assert world.mt5.symbol_info_tick("EURUSD").bid == 1.2
    world.control.advance(60)
    assert world.mt5.symbol_info_tick("EURUSD").bid < 1.1


def test_symbol_knows_the_range_of_its_day(hedger):
    hedger.control.tick("EURUSD", "1.09000", "1.09040")
    hedger.control.tick("EURUSD", "1.08000", "1.08010")
    hedger.control.tick("EURUSD", "1.08600", "1.08610")

    info = hedger.mt5.symbol_info("EURUSD")
    assert (info.bidhigh, info.bidlow, info.askhigh, info.asklow) == (1.09, 1.08, 1.0904, 1.0801)
    assert info.session_open == 1.085
    hedger.control.advance(86_400)
    hedger.control.tick("EURUSD", "1.07000", "1.07010")
    info = hedger.mt5.symbol_info("EURUSD")
    assert (info.bidhigh, info.bidlow, info.session_open) == (1.07, 1.07, 1.07)


def test_generated_day_widens_as_it_goes_on():
    world = build(quotes="generated")
    ranges = []
    for _ in range(5):
        info = world.mt5.symbol_info("EURUSD")
        assert info.bidlow <= info.bid <= info.bidhigh
        ranges.append((info.bidhigh, -info.bidlow))
        world.control.advance(5_000)

    assert ranges == sorted(ranges)
    assert ranges[0] != ranges[-1]


def test_generated_ticks_may_offer_limited_lots():
    profile = BrokerProfile(selected=("US500",), generated_lots="2")
    world = build(quotes="generated", profile=profile, account={"initial_balance": "1000000"})

    result = world.buy("US500", 100.0, type_filling=mt5.ORDER_FILLING_IOC)

    assert result.retcode == mt5.TRADE_RETCODE_DONE_PARTIAL
    assert 3.0 <= result.volume <= 9.0
    assert len(world.deals()) == 3


def test_symbol_may_have_several_sessions_a_day():
    sessions = Sessions((((60, 120), (180, 240)),) * 7)
    changed = replace(BUILT_IN["EURUSD"], sessions=sessions)
    world = build(profile=BrokerProfile(selected=("EURUSD",), instruments=(changed,)), quotes="generated")
    world.control.advance(10 * 3_600)
    codes = []
    for _ in range(5):
        codes.append(world.buy("EURUSD", 0.1).retcode)
        world.control.advance(3_600)

    assert codes == [10018, 10009, 10018, 10009, 10018]


def test_special_symbol_stands_beside_the_built_in_ones():
    pound = replace(BUILT_IN["EURUSD"], name="GBPUSD", base="GBP", margin="GBP", anchor=127_000)
    world = build(profile=BrokerProfile(selected=("GBPUSD",), instruments=(pound,)), quotes="generated")

    assert world.mt5.symbols_total() == 9
    assert world.mt5.symbol_info_tick("GBPUSD").bid == pytest.approx(1.27, rel=0.004)
    assert world.buy("GBPUSD", 0.1).retcode == mt5.TRADE_RETCODE_DONE


def test_account_info_of_terminal(hedger):
    info = hedger.mt5.terminal_info()

    assert (info.connected, info.trade_allowed, info.tradeapi_disabled) == (True, True, False)
    assert hedger.mt5.version()[1] == info.build
