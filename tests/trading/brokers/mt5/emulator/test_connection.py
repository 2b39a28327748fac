"""Connecting, switching accounts, losing the pipe, and what the terminal's switches stop."""

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, INVESTOR, NETTER, PASSWORD, SERVER, TERMINAL
from trading.brokers.mt5.emulator import AccountProfile, facade
from trading.brokers.mt5.emulator import constants as mt5

NO_PIPE = (-10004, "No IPC connection")
CALLS = [
    ("account_info", (), None), ("terminal_info", (), None), ("version", (), None), ("symbols_total", (), None),
    ("symbols_get", (), False), ("symbol_info", ("EURUSD",), None), ("symbol_info_tick", ("EURUSD",), None),
    ("symbol_select", ("EURUSD", True), False), ("orders_total", (), None), ("positions_total", (), None),
    ("orders_get", (), None), ("positions_get", (), None), ("history_deals_total", (1, 2), None),
    ("history_orders_total", (1, 2), None), ("history_deals_get", (1, 2), None), ("history_orders_get", (1, 2), None),
    ("order_check", ({"action": 1},), None), ("order_send", ({"action": 1},), None),
    ("order_calc_margin", (0, "EURUSD", 1.0, 1.0), None), ("copy_ticks_from", ("EURUSD", 1, 1, -1), None),
    ("login", (HEDGER,), False),
]  # fmt: skip


@pytest.mark.parametrize(("function", "args", "failure"), CALLS)
def test_nothing_answers_without_a_pipe(hedger, function, args, failure):
    fresh = facade.module(hedger.broker, "D:/other.exe")

    assert getattr(fresh, function)(*args) is failure
    assert fresh.last_error() == NO_PIPE


def test_nothing_answers_after_shutdown_or_a_cut_pipe_until_initialize(hedger):
    assert hedger.mt5.shutdown() is True
    assert hedger.mt5.account_info() is None
    assert hedger.mt5.initialize(TERMINAL)  # the terminal remembers its account
    hedger.control.terminal(TERMINAL).cut_pipe()
    assert hedger.mt5.positions_get() is None
    assert hedger.mt5.last_error() == NO_PIPE
    assert hedger.mt5.initialize(path=TERMINAL)
    assert hedger.mt5.account_info().login == HEDGER
    assert hedger.mt5.last_error() == (1, "Success")


@pytest.mark.parametrize(
    ("named", "error"),
    [
        ({"login": "1001"}, (-2, 'Invalid "login" argument')),
        ({"login": HEDGER, "password": 5}, (-2, 'Invalid "password" argument')),
        ({"logn": HEDGER}, (-2, "Invalid arguments")),
        ({"login": HEDGER, "password": "wrong", "server": SERVER}, (-6, "Terminal: Authorization failed")),
        ({"login": HEDGER, "password": "", "server": SERVER}, (-6, "Terminal: Authorization failed")),
        ({"login": 77, "password": PASSWORD}, (-6, "Terminal: Authorization failed")),
        ({"login": HEDGER, "password": PASSWORD, "server": "Live-1", "timeout": 7_000}, (-10005, "IPC timeout")),
        ({"path": "D:/nothing.exe"}, (-10003, "IPC initialize failed, MetaTrader 5 x64 not found")),
    ],
)
def test_initialize_fails_with_its_reason_and_leaves_no_connection(hedger, named, error):
    before = hedger.control.now_us

    assert hedger.mt5.initialize(**named) is False
    assert hedger.mt5.last_error() == error
    assert hedger.control.now_us - before == (7_000_000 if error[0] == -10005 else 0)
    connected = hedger.mt5.account_info() is not None
    assert connected is (error[0] == -2)  # bad arguments are refused before the old pipe is dropped


def test_terminal_without_account_cannot_be_entered(hedger):
    fresh = facade.module(hedger.broker, "D:/other.exe")

    assert fresh.initialize() is False
    assert fresh.last_error() == (-6, "Terminal: Authorization failed")


def test_login_switches_the_terminal_for_every_process(hedger):
    neighbor = facade.module(hedger.broker, TERMINAL)
    assert neighbor.initialize()

    assert neighbor.login(NETTER, PASSWORD, SERVER)

    assert hedger.mt5.account_info().login == NETTER  # why an adapter checks identity before each send
    assert hedger.mt5.account_info().margin_mode == mt5.ACCOUNT_MARGIN_MODE_RETAIL_NETTING


def test_failed_login_leaves_the_terminal_without_account(hedger):
    assert hedger.mt5.login(HEDGER, password="wrong") is False
    assert hedger.mt5.last_error() == (-6, "Terminal: Authorization failed")
    assert hedger.mt5.terminal_info().connected is False
    assert hedger.buy("EURUSD", 0.1) is None


def test_account_tells_what_it_is(hedger):
    info = hedger.mt5.account_info()

    assert (info.trade_mode, info.company, info.server) == (mt5.ACCOUNT_TRADE_MODE_DEMO, "Nexus emulator", SERVER)
    assert (info.balance, info.equity, info.margin_free, info.margin_level) == (10000.0, 10000.0, 10000.0, 0.0)
    assert (info.trade_allowed, info.trade_expert, info.currency) == (True, True, "USD")


def test_investor_may_look_but_not_trade(hedger):
    assert hedger.mt5.initialize(TERMINAL, login=HEDGER, password=INVESTOR)

    assert hedger.mt5.account_info().trade_allowed is False
    assert hedger.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_TRADE_DISABLED
    assert hedger.deals() == ()


def test_switches_of_the_terminal_stop_trading(hedger):
    terminal = hedger.control.terminal(TERMINAL)

    terminal.algo_trading = False
    assert hedger.mt5.terminal_info().trade_allowed is False
    assert hedger.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_CLIENT_DISABLES_AT
    terminal.connected = False
    assert hedger.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_CONNECTION
    terminal.api_disabled = True
    assert hedger.buy("EURUSD", 0.1) is None
    assert hedger.mt5.last_error() == (-8, "Auto-Trading using Python API disabled in Terminal")
    assert hedger.deals() == ()


def test_request_id_counts_per_terminal_run(hedger):
    assert [hedger.buy("EURUSD", 0.1).request_id for _ in range(2)] == [1, 2]
    hedger.control.terminal(TERMINAL).restart()
    hedger.mt5.initialize(TERMINAL)
    assert hedger.buy("EURUSD", 0.1).request_id == 1


@pytest.mark.parametrize("wrong", [{"server": "Live-1"}, {"margin_mode": 3}, {"comment_policy": "shorten"}])
def test_profile_refuses_what_no_paper_account_may_be(wrong):
    with pytest.raises(ValueError):
        AccountProfile(login=1, password="x", **wrong)


def test_passwords_do_not_show():
    assert "secret" not in repr(AccountProfile(login=1, password="secret", investor_password="secret too"))
