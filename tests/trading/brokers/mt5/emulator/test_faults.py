"""Each fault breaks exactly the call that it was planned for, and the books stay true."""

import pytest

from tests.trading.brokers.mt5.emulator.world import EVER, HEDGER, TERMINAL, build, quote_all
from trading.brokers.mt5.emulator import constants as mt5


def test_timeout_before_accept_executes_nothing(hedger):
    hedger.control.inject("timeout_before_accept")

    assert hedger.buy("EURUSD", 0.1) is None
    assert hedger.mt5.last_error() == (-10002, "IPC recv failed")
    assert hedger.mt5.positions_get() is None  # the pipe is closed
    assert hedger.mt5.last_error() == (-10004, "No IPC connection")
    assert hedger.mt5.initialize(TERMINAL)
    assert hedger.mt5.positions_get() == ()


def test_timeout_after_accept_executes_and_loses_the_answer(hedger):
    hedger.control.inject("timeout_after_accept", delay=3)
    before = hedger.control.now_us

    assert hedger.buy("EURUSD", 0.1, magic=42) is None
    assert hedger.control.now_us - before == 3_000_000
    assert hedger.mt5.initialize(TERMINAL)
    assert [row.magic for row in hedger.mt5.positions_get()] == [42]


@pytest.mark.parametrize(("name", "positions"), [("timeout_before_accept", 0), ("timeout_after_accept", 1)])
def test_timeout_may_also_come_as_a_code(hedger, name, positions):
    hedger.control.inject(name, retcode=mt5.TRADE_RETCODE_TIMEOUT)

    result = hedger.buy("EURUSD", 0.1)

    assert (result.retcode, result.deal, result.order) == (mt5.TRADE_RETCODE_TIMEOUT, 0, 0)
    assert hedger.mt5.positions_total() == positions


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize(("code", "cut"), [(-10001, True), (-1, False), (1, False), (-10000, False)])
def test_none_result_may_hide_either_truth(hedger, code, cut, executed):
    hedger.control.inject("none_result", code=code, executed=executed)

    assert hedger.buy("EURUSD", 0.1) is None
    assert hedger.mt5.last_error()[0] == code
    assert (hedger.mt5.account_info() is None) is cut
    assert len(hedger.truth()["positions"]) == executed


@pytest.mark.parametrize("executed", [True, False])
def test_retcode_may_lie(hedger, executed):
    hedger.control.inject("retcode", retcode=mt5.TRADE_RETCODE_REJECT, executed=executed)

    result = hedger.buy("EURUSD", 0.1)

    assert (result.retcode, result.comment, result.deal) == (mt5.TRADE_RETCODE_REJECT, "Request rejected", 0)
    assert hedger.mt5.positions_total() == executed


def test_hang_takes_virtual_time_and_then_answers(hedger):
    hedger.control.inject("hang", seconds=45)
    before = hedger.control.now_us

    assert hedger.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_DONE
    assert hedger.control.now_us - before == 45_000_000
    hedger.control.inject("hang", seconds=5, function="account_info")
    assert hedger.mt5.account_info() is not None
    assert hedger.control.now_us - before == 50_000_000


def test_hang_blocks_where_time_flows():
    slept: list[float] = []
    world = build(mode="wall", quotes="generated", wall=lambda: 1_736_337_600_000_000, sleep=slept.append)
    world.control.inject("hang", seconds=45)

    assert world.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_DONE
    assert slept == [45]


def test_history_arrives_late_but_the_position_at_once(hedger):
    hedger.control.inject("history_delay", seconds=30)
    hedger.buy("EURUSD", 0.1)

    assert hedger.mt5.positions_total() == 1
    assert hedger.deals() == hedger.mt5.history_orders_get(*EVER) == ()
    assert hedger.mt5.history_deals_total(*EVER) == 1
    hedger.control.advance(29.999)
    assert hedger.deals() == ()
    hedger.control.advance(0.001)
    assert len(hedger.deals()) == len(hedger.mt5.history_orders_get(*EVER)) == 1


def test_fault_waits_for_its_call(hedger):
    hedger.control.inject("retcode", nth=2, times=2, symbol="BTCUSD")
    hedger.control.inject("retcode", retcode=10021, magic=500)

    codes = [hedger.buy("BTCUSD", 0.01).retcode for _ in range(4)]
    assert codes == [10009, 10006, 10006, 10009]
    assert [hedger.buy("EURUSD", 0.01, magic=magic).retcode for magic in (499, 500, 500)] == [10009, 10021, 10009]
    log = hedger.control.fault_log()
    assert [entry["fault"] for entry in log] == [1, 1, 2]
    assert '"symbol": "BTCUSD"' in log[0]["request"]


def test_fault_of_another_function_and_for_ever(hedger):
    hedger.control.inject("none_result", function="positions_get", code=-1, times=None, login=HEDGER)

    for _ in range(3):
        assert hedger.mt5.positions_get() is None
        assert hedger.mt5.last_error() == (-1, "Terminal: Call failed")
    assert hedger.mt5.positions_total() == 0


@pytest.mark.parametrize(
    ("name", "named"), [("earthquake", {}), ("retcode", {"function": "positions_get"}), ("hang", {"minutes": 1})]
)
def test_refuses_a_fault_that_it_cannot_do(hedger, name, named):
    with pytest.raises(ValueError):
        hedger.control.inject(name, **named)


def test_fault_counters_survive_a_restart(tmp_path):
    world = quote_all(build(path=tmp_path / "b.sqlite3"))
    world.control.inject("retcode", nth=2, times=2)
    codes = [world.buy("EURUSD", 0.01).retcode, world.buy("EURUSD", 0.01).retcode]
    world.broker.close()

    world = build(path=tmp_path / "b.sqlite3")
    codes += [world.buy("EURUSD", 0.01).retcode, world.buy("EURUSD", 0.01).retcode]

    assert codes == [10009, 10006, 10006, 10009]
