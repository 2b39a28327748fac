"""An account that lacks margin loses first its margin-holding orders, then its worst positions."""

import pytest

from tests.trading.brokers.mt5.emulator.world import EVER, NETTER, build, quote_all
from trading.brokers.mt5.emulator import constants as mt5


def test_worst_position_goes_first_until_the_level_is_enough(hedger):
    good = hedger.sell("EURUSD", 1.0).order
    bad = hedger.buy("EURUSD", 5.0).order
    small = hedger.buy("EURUSD", 1.0).order

    hedger.control.tick("EURUSD", "1.07000", "1.07010")

    assert {row.ticket for row in hedger.mt5.positions_get()} == {good, small}
    deal = hedger.deals()[-1]
    assert (deal.position_id, deal.reason, deal.price) == (bad, mt5.DEAL_REASON_SO, 1.07)
    assert deal.comment.startswith("[so ")
    order = hedger.mt5.history_orders_get(*EVER)[-1]
    assert (order.reason, order.state) == (mt5.ORDER_REASON_SO, mt5.ORDER_STATE_FILLED)


@pytest.mark.parametrize(("bid", "open_"), [("1.07053", 1), ("1.07052", 0)])
def test_level_in_percent_is_exact(bid, open_):
    world = quote_all(build(account={"initial_balance": "2000", "stop_out": "50"}))
    world.buy("EURUSD", 1.0)  # binds 1085.10, so 542.55 of equity is 50 %: a loss of 1457.45

    world.control.tick("EURUSD", bid, "1.09000")

    assert world.mt5.positions_total() == open_


def test_level_in_money_is_free_margin():
    rules = {"initial_balance": "2000", "stop_out_mode": mt5.ACCOUNT_STOPOUT_MODE_MONEY, "stop_out": "100"}
    world = quote_all(build(account=rules))
    world.buy("EURUSD", 1.0)
    info = world.mt5.account_info()
    assert (info.margin_so_mode, info.margin_so_so, info.margin_so_call) == (1, 100.0, 100.0)

    world.control.tick("EURUSD", "1.07696", "1.07706")  # free: 2000 - 814 - 1085.10 = 100.90
    assert world.mt5.positions_total() == 1
    world.control.tick("EURUSD", "1.07695", "1.07705")
    assert world.mt5.positions_total() == 0


def test_orders_that_hold_margin_are_canceled_first():
    world = quote_all(build(NETTER, account={"initial_balance": "1100"}))
    world.buy("FUTX", 1.0)
    waiting = world.place("FUTX", 2, 1.0, 11_000.0).order
    assert world.mt5.account_info().margin == 1000.0
    assert world.place("FUTX", 2, 1.0, 11_000.0).retcode == mt5.TRADE_RETCODE_NO_MONEY

    world.control.tick("FUTX", "11740", "11741")  # a loss of 652.50 leaves 44.75 % of 1000, but 89.5 % of 500

    assert world.finished(waiting).state == mt5.ORDER_STATE_CANCELED
    assert world.mt5.positions_total() == 1
    world.control.tick("FUTX", "11650", "11651")
    assert world.mt5.positions_total() == 0


@pytest.mark.parametrize(("corrects", "balance"), [(False, -475.5), (True, 0.0)])
def test_gap_may_leave_debt_unless_the_broker_corrects_it(corrects, balance):
    world = quote_all(build(account={"initial_balance": "2000", "corrects_negative_balance": corrects}))
    world.buy("EURUSD", 1.0)
    world.buy("EURUSD", 0.5)

    world.control.tick("EURUSD", "1.06860", "1.07000")

    assert world.mt5.positions_get() == ()
    assert world.mt5.account_info().balance == (0.0 if corrects else pytest.approx(2000 - 2475.0))
    last = world.mt5.history_deals_get(*EVER)[-1]
    assert (last.type == mt5.DEAL_TYPE_CORRECTION) is corrects
    world.control.verify()


def test_credit_counts_as_equity_but_not_as_balance():
    world = quote_all(build(account={"initial_balance": "2000"}))
    world.control.balance(world.login, "1000", kind=mt5.DEAL_TYPE_CREDIT)
    world.buy("EURUSD", 1.0)
    world.control.tick("EURUSD", "1.07000", "1.07010")

    info = world.mt5.account_info()
    assert (info.balance, info.credit, info.equity) == (2000.0, 1000.0, 1490.0)
    assert world.mt5.positions_total() == 1
    world.control.verify()


def test_closed_market_keeps_its_positions():
    world = quote_all(build(account={"initial_balance": "2000"}))
    world.buy("EURUSD", 0.5)
    gold = world.buy("XAUUSD", 0.1).order
    world.control.advance(10 * 3_600)  # gold opens at one
    world.control.tick("XAUUSD", "2300.00", "2300.20")
    world.control.tick("EURUSD", "1.05500", "1.05510")

    assert [row.ticket for row in world.mt5.positions_get()] == [gold]


def test_thin_market_closes_what_it_can(hedger):
    hedger.buy("EURUSD", 9.0)
    hedger.control.tick("EURUSD", "1.07500", "1.07510", bid_vol="1", ask_vol="1")

    assert hedger.mt5.positions_get()[0].volume == 8.0
    hedger.control.verify()
