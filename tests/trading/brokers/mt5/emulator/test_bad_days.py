"""Terminals lose their server, their login or their mind; markets close; clocks jump; processes die."""

import pytest

from tests.trading.brokers.mt5.emulator.world import EVER, HEDGER, NETTER, SERVER, TERMINAL, build, quote_all
from trading.brokers.mt5.emulator import constants as mt5

DONE = mt5.TRADE_RETCODE_DONE


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("requote", mt5.TRADE_RETCODE_REQUOTE),
        ("price_changed", mt5.TRADE_RETCODE_PRICE_CHANGED),
        ("off_quotes", mt5.TRADE_RETCODE_PRICE_OFF),
        ("locked", mt5.TRADE_RETCODE_LOCKED),
        ("too_many", mt5.TRADE_RETCODE_TOO_MANY_REQUESTS),
    ],
)
def test_named_refusals_hit_the_next_sends_with_the_quote(hedger, name, code):
    hedger.control.inject(name, times=2)

    results = [hedger.buy("EURUSD", 0.1) for _ in range(3)]

    assert [each.retcode for each in results] == [code, code, DONE]
    assert (results[0].bid, results[0].ask, results[0].deal) == (1.085, 1.0851, 0)
    assert hedger.mt5.positions_total() == 1


def test_accepted_now_executed_later(hedger):
    hedger.control.inject("accept_late", seconds=8)

    result = hedger.buy("EURUSD", 0.1, magic=42)

    assert (result.retcode, result.order) == (mt5.TRADE_RETCODE_TIMEOUT, 0)
    hedger.control.advance(7.9)
    assert hedger.mt5.positions_get() == ()
    hedger.control.tick("EURUSD", "1.08600", "1.08610")
    hedger.control.advance(0.1)
    assert [(row.magic, row.price_open) for row in hedger.mt5.positions_get()] == [(42, 1.0861)]


def test_late_execution_survives_a_restart(tmp_path):
    world = quote_all(build(path=tmp_path / "b.sqlite3"))
    world.control.inject("accept_late", seconds=8)
    world.buy("EURUSD", 0.1, sl=1.08, magic=42)
    world.broker.close()

    world = build(path=tmp_path / "b.sqlite3")
    world.control.advance(10)

    (position,) = world.mt5.positions_get()
    assert (position.magic, position.sl) == (42, 1.08)
    assert len(world.control.truth(HEDGER)["requests"]) == 2


def test_what_is_executed_late_expires_and_pays_swap_within_the_same_leap(hedger):
    """The whole life of both orders lies within one step of the clock."""
    ends = hedger.mt5.symbol_info_tick("EURUSD").time + 60
    hedger.control.inject("accept_late", seconds=8, times=2)
    hedger.place("EURUSD", 2, 0.1, 1.08, type_time=mt5.ORDER_TIME_SPECIFIED, expiration=ends)
    hedger.buy("EURUSD", 0.2)

    hedger.control.advance(2 * 86_400)

    assert hedger.mt5.orders_get() == ()
    (gone,) = [row for row in hedger.mt5.history_orders_get(0, 2**31 - 1) if row.type == 2]
    assert (gone.state, gone.time_done - gone.time_setup) == (mt5.ORDER_STATE_EXPIRED, 52)
    (position,) = hedger.mt5.positions_get()
    assert position.swap != 0


@pytest.mark.parametrize("executed", [True, False])
def test_none_with_success_hides_either_truth(hedger, executed):
    hedger.control.inject("none_success", executed=executed)

    assert hedger.buy("EURUSD", 0.1) is None
    assert hedger.mt5.last_error() == (1, "Success")
    assert hedger.mt5.positions_total() == executed


@pytest.mark.parametrize(
    ("point", "executed", "error", "positions"),
    [("before", True, -10004, 0), ("during", True, -10002, 1), ("during", False, -10002, 0), ("after", True, 1, 1)],
)
def test_pipe_is_cut_around_a_send(hedger, point, executed, error, positions):
    hedger.control.inject("pipe_cut", point=point, executed=executed)

    result = hedger.buy("EURUSD", 0.1)

    assert (result is None) is (point != "after")
    assert hedger.mt5.last_error()[0] == error
    assert hedger.mt5.positions_get() is None
    assert hedger.mt5.last_error()[0] == -10004
    assert hedger.mt5.initialize(TERMINAL)
    assert hedger.mt5.positions_total() == positions


def test_pipe_is_cut_around_any_call(hedger):
    hedger.control.inject("pipe_cut", function="symbol_info")

    assert hedger.mt5.symbol_info("EURUSD") is None
    assert hedger.mt5.last_error()[0] == -10002


def test_duplicate_deal_doubles_the_position(hedger):
    hedger.control.inject("duplicate_deal")

    result = hedger.buy("EURUSD", 0.1, magic=7)

    assert [(row.magic, row.volume) for row in hedger.mt5.positions_get()] == [(7, 0.1), (7, 0.1)]
    assert len(hedger.deals()) == 2
    assert result.deal == hedger.deals()[0].ticket
    hedger.control.verify()


@pytest.mark.parametrize(("old", "listed"), [(0, 6), (1, 4)])
def test_history_repeats_itself(hedger, old, listed):
    for _ in range(2):
        hedger.buy("EURUSD", 0.1)
    hedger.control.inject("repeat_history", old=old)

    found = hedger.mt5.history_deals_get(*EVER)

    assert len(found) == listed
    assert len({deal.ticket for deal in found}) == 3
    assert len(hedger.mt5.history_deals_get(*EVER)) == 3


@pytest.mark.parametrize(
    ("name", "params", "comment", "magic"),
    [
        ("comment_drop", {}, "", 9),
        ("comment_replace", {"text": "from client"}, "from client", 9),
        ("comment_truncate", {"length": 3}, "N1A", 9),
        ("magic_zero", {}, "N1ABC", 0),
    ],
)
@pytest.mark.parametrize("on", ["order", "deal", "position"])
def test_marks_are_lost_on_one_kind_of_row(hedger, name, params, comment, magic, on):
    hedger.control.inject(name, on=[on], **params)

    ticket = hedger.buy("EURUSD", 0.1, magic=9, comment="N1ABC").order

    rows = {
        "order": hedger.finished(ticket), "deal": hedger.deals()[0], "position": hedger.mt5.positions_get()[0],
    }  # fmt: skip
    assert (rows[on].comment, rows[on].magic) == (comment, magic)
    assert {(row.comment, row.magic) for kind, row in rows.items() if kind != on} == {("N1ABC", 9)}
    hedger.control.verify()


def test_stops_may_be_dropped(hedger):
    hedger.control.inject("stops_dropped")

    assert hedger.buy("EURUSD", 0.1, sl=1.08, tp=1.09).retcode == DONE

    (position,) = hedger.mt5.positions_get()
    assert (position.sl, position.tp) == (0.0, 0.0)


def test_liquidity_may_vanish(hedger):
    hedger.control.inject("no_liquidity")
    hedger.control.inject("partial", nth=2, volume="0.2", levels=2)

    assert hedger.buy("US500", 1.0).comment == "No liquidity"
    partly = hedger.buy("US500", 1.0, type_filling=mt5.ORDER_FILLING_IOC)

    assert (partly.retcode, partly.volume) == (mt5.TRADE_RETCODE_DONE_PARTIAL, 0.4)
    assert [deal.price for deal in hedger.deals()] == [5500.5, 5501.0]
    assert hedger.buy("US500", 1.0).retcode == DONE


@pytest.mark.parametrize(("name", "quote"), [("gap", (1.084, 1.0841)), ("spread", (1.085, 1.0841))])
def test_price_gaps_and_spread_widens(hedger, name, quote):
    ticks = -100 if name == "gap" else 50
    hedger.control.inject(name, target="EURUSD", ticks=ticks)

    tick = hedger.mt5.symbol_info_tick("EURUSD")

    assert (tick.bid, tick.ask) == ((1.084, 1.0841) if name == "gap" else (1.085, 1.0856))
    assert hedger.mt5.symbol_info_tick("USDJPY").bid == 150.0


def test_server_is_gone_for_a_while_but_works_on(hedger):
    hedger.buy("EURUSD", 0.1, sl=1.08)
    hedger.control.inject("server_disconnect", seconds=60)
    assert hedger.mt5.account_info() is not None
    hedger.control.advance(1)

    hedger.control.tick("EURUSD", "1.07000", "1.07010")
    assert hedger.mt5.terminal_info().connected is False
    assert hedger.mt5.symbol_info_tick("EURUSD").bid == 1.085
    assert hedger.mt5.positions_total() == 1
    assert len(hedger.truth()["positions"]) == 0
    assert hedger.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_CONNECTION
    hedger.control.advance(60)
    assert hedger.mt5.symbol_info_tick("EURUSD").bid == 1.07
    assert hedger.mt5.positions_get() == ()
    assert hedger.mt5.terminal_info().connected is True
    assert hedger.buy("EURUSD", 0.1).retcode == DONE


def test_restarted_terminal_fills_its_history_slowly(hedger):
    hedger.buy("EURUSD", 0.1)
    hedger.control.inject("terminal_restart", seconds=20)

    assert hedger.mt5.positions_get() is None
    assert hedger.mt5.last_error()[0] == -10004
    assert hedger.mt5.initialize(TERMINAL)
    assert hedger.mt5.positions_total() == 1
    assert hedger.deals() == ()
    hedger.control.advance(20)
    assert len(hedger.deals()) == 1


def test_updating_terminal_cannot_be_reached(hedger):
    hedger.control.inject("terminal_update", seconds=90)
    assert hedger.mt5.account_info() is None

    assert hedger.mt5.initialize(TERMINAL) is False
    assert hedger.mt5.last_error()[0] == -10003
    hedger.control.advance(90)
    assert hedger.mt5.initialize(TERMINAL)


def test_another_account_may_answer(hedger):
    hedger.control.inject("wrong_terminal", account=NETTER, times=2)

    assert hedger.mt5.account_info().login == NETTER
    assert hedger.buy("EURUSD", 0.1).retcode == DONE
    assert hedger.mt5.account_info().login == HEDGER
    assert len(hedger.control.truth(NETTER)["positions"]) == 1


def test_somebody_may_switch_the_account(hedger):
    hedger.control.inject("relogin", account=NETTER)

    assert [hedger.mt5.account_info().login for _ in range(3)] == [NETTER] * 3


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("algo_off", mt5.TRADE_RETCODE_CLIENT_DISABLES_AT),
        ("investor", mt5.TRADE_RETCODE_TRADE_DISABLED),
        ("close_only", mt5.TRADE_RETCODE_CLOSE_ONLY),
        ("market_close", mt5.TRADE_RETCODE_MARKET_CLOSED),
    ],
)
def test_permission_is_lost_at_run_time_and_comes_back(hedger, name, code):
    hedger.control.inject(name, seconds=30)

    assert hedger.buy("EURUSD", 0.1).retcode == code
    hedger.control.advance(29)
    assert hedger.buy("EURUSD", 0.1).retcode == code
    hedger.control.advance(1)
    assert hedger.buy("EURUSD", 0.1).retcode == DONE


def test_programs_may_be_shut_out(hedger):
    hedger.control.inject("api_off", seconds=30)

    assert hedger.buy("EURUSD", 0.1) is None
    assert hedger.mt5.last_error()[0] == -8
    assert hedger.mt5.terminal_info().tradeapi_disabled is True
    hedger.control.advance(30)
    assert hedger.buy("EURUSD", 0.1).retcode == DONE


def test_mood_of_the_market_survives_a_restart(tmp_path):
    world = quote_all(build(path=tmp_path / "b.sqlite3"))
    world.control.inject("close_only", target="EURUSD")
    assert world.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_CLOSE_ONLY
    world.broker.close()

    world = build(path=tmp_path / "b.sqlite3")
    assert world.mt5.symbol_info("EURUSD").trade_mode == mt5.SYMBOL_TRADE_MODE_CLOSEONLY
    assert world.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_CLOSE_ONLY
    assert world.buy("USDJPY", 0.1).retcode == DONE


@pytest.mark.parametrize(
    ("name", "params", "moved"), [("clock_jump", {"seconds": -1_800}, -1_800), ("dst_switch", {}, 3_600)]
)
def test_clock_of_the_server_jumps(hedger, name, params, moved):
    before = hedger.mt5.symbol_info_tick("EURUSD")
    hedger.control.inject(name, **params)

    after = hedger.mt5.symbol_info_tick("EURUSD")

    assert (after.time - before.time, after.time_msc - before.time_msc) == (moved, moved * 1_000)
    hedger.buy("EURUSD", 0.1)
    assert hedger.deals()[0].time == hedger.control.now_us // 1_000_000 + 7_200 + moved


def test_tick_stands_still_while_the_market_moves(hedger):
    hedger.control.inject("frozen_tick", target="EURUSD", seconds=10)
    hedger.mt5.account_info()
    hedger.control.advance(1)
    hedger.control.tick("EURUSD", "1.09000", "1.09010")

    assert hedger.mt5.symbol_info_tick("EURUSD").bid == 1.085
    assert hedger.buy("EURUSD", 0.1).price == 1.0901
    hedger.control.advance(9)
    assert hedger.mt5.symbol_info_tick("EURUSD").bid == 1.09


def test_fault_has_its_dice_and_its_hours(hedger):
    hedger.control.inject("retcode", probability=0.3, seed=5, times=None)
    first = [hedger.buy("EURUSD", 0.01).retcode for _ in range(20)]
    assert 2 <= first.count(mt5.TRADE_RETCODE_REJECT) <= 12

    again = quote_all(build())
    again.control.inject("retcode", probability=0.3, seed=5, times=None)
    assert [again.buy("EURUSD", 0.01).retcode for _ in range(20)] == first

    timed = quote_all(build())
    timed.control.inject("retcode", after_s=10, for_s=5, times=None)
    codes = []
    for _ in range(4):
        codes.append(timed.buy("EURUSD", 0.01).retcode)
        timed.control.advance(5)
    assert codes == [DONE, DONE, mt5.TRADE_RETCODE_REJECT, DONE]


def test_faults_of_the_wire_belong_to_a_proxy(hedger):
    with pytest.raises(ValueError, match="proxy"):
        hedger.control.inject("bridge_drop")
    with pytest.raises(ValueError, match="account"):
        hedger.control.inject("relogin", account=999)


def test_dropped_login_needs_the_password_again(hedger):
    hedger.control.inject("relogin", account=NETTER)
    hedger.mt5.account_info()

    assert hedger.mt5.initialize(TERMINAL, login=HEDGER, server=SERVER) is False
    assert hedger.mt5.last_error()[0] == -6
