"""Money is exact: commission, profit, margin and their conversion."""

from dataclasses import replace
from fractions import Fraction

import pytest

from tests.trading.brokers.mt5.emulator.world import EVER, HEDGER, build, quote_all
from trading.brokers.mt5.emulator import BrokerProfile, amounts
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.instruments import BUILT_IN
from trading.brokers.mt5.emulator.rates import path


@pytest.mark.parametrize(
    ("value", "rounded"),
    [("1/2", 1), ("-1/2", -1), ("49/100", 0), ("-3/2", -2), ("5/2", 3), ("7", 7), ("-149/100", -1)],
)
def test_rounds_half_away_from_zero(value, rounded):
    assert amounts.half_away(Fraction(value)) == rounded


def test_books_to_the_digits_of_the_currency():
    assert amounts.booked(Fraction(-1_500_000), 2) == -2_000_000
    assert amounts.booked(Fraction(50_000_000), 0) == 100_000_000
    assert amounts.booked(Fraction(123_456_789), 8) == 123_456_789


@pytest.mark.parametrize(
    ("number", "digits", "count"),
    [(0.1, 8, 10_000_000), (1.08505, 5, 108505), (1.085051, 5, None), (1e300, 8, 10**308)],
)
def test_reads_floats_as_they_print(number, digits, count):
    assert amounts.scaled(amounts.exact(number), digits) == count


@pytest.mark.parametrize(
    ("on_exit", "commissions", "balance"), [(True, [-0.35, -0.18], 9998.97), (False, [-0.35, 0.0], 9999.15)]
)
def test_commission_is_per_lot_and_deal(on_exit, commissions, balance):
    world = quote_all(build(account={"commission_per_lot": "3.5", "commission_on_exit": on_exit}))
    ticket = world.buy("EURUSD", 0.1).order
    world.sell("EURUSD", 0.05, position=ticket)

    assert [deal.commission for deal in world.deals()] == commissions
    assert world.mt5.account_info().balance == balance


def test_commission_per_deal_and_fee_are_separate():
    rules = {"commission_per_deal": "1.5", "commission_on_entry": False, "fee_per_deal": "0.25"}
    world = quote_all(build(account=rules))
    world.sell("EURUSD", 0.1, position=world.buy("EURUSD", 0.1).order)

    assert [(deal.commission, deal.fee) for deal in world.deals()] == [(0.0, -0.25), (-1.5, -0.25)]
    assert world.mt5.account_info().balance == 9997.0


@pytest.mark.parametrize(("hedged", "margin"), [(None, 1627.65), (100_000, 1627.65), (50_000, 1085.1), (0, 542.55)])
def test_hedged_lots_bind_what_the_symbol_says(hedged, margin):
    changed = replace(BUILT_IN["EURUSD"], margin_hedged=hedged)
    world = quote_all(build(profile=BrokerProfile(selected=("EURUSD",), instruments=(changed,))))
    world.buy("EURUSD", 1.5)
    world.sell("EURUSD", 1.0)

    assert world.mt5.account_info().margin == margin
    info = world.mt5.symbol_info("EURUSD")
    assert (info.margin_hedged, info.margin_hedged_use_leg) == (hedged or 0, hedged is None)


@pytest.mark.parametrize(
    ("mode", "margin"),
    [
        (mt5.SYMBOL_CALC_MODE_CFDLEVERAGE, 24.0),
        (mt5.SYMBOL_CALC_MODE_CFD, 2400.0),
        (mt5.SYMBOL_CALC_MODE_EXCH_STOCKS, 2400.0),
        (mt5.SYMBOL_CALC_MODE_FOREX_NO_LEVERAGE, 2400.0),
    ],
)
def test_leverage_counts_only_where_the_mode_says_so(mode, margin):
    gold = replace(BUILT_IN["XAUUSD"], calc_mode=mode)
    world = quote_all(build(profile=BrokerProfile(selected=("XAUUSD",), instruments=(gold,))))

    assert world.mt5.order_calc_margin(0, "XAUUSD", 0.01, 2400.0) == margin


def test_yen_profit_converts_at_the_side_that_disfavors(hedger):
    won, lost = hedger.buy("USDJPY", 0.1).order, hedger.sell("USDJPY", 0.1).order
    hedger.control.tick("USDJPY", "151.000", "151.020")

    hedger.sell("USDJPY", 0.1, position=won)
    hedger.buy("USDJPY", 0.1, position=lost)

    gain, loss = (deal.profit for deal in hedger.deals()[2:])
    assert gain == round(9_900 / 151.02, 2)
    assert loss == -round(10_200 / 151.0, 2)


def test_margin_by_kind_of_symbol(hedger):
    def margin(symbol, volume, price):
        return hedger.mt5.order_calc_margin(0, symbol, volume, price)

    assert margin("EURUSD", 1.0, 1.0851) == 1085.1
    assert margin("USDJPY", 1.0, 150.01) == 1000.0
    assert margin("XAUUSD", 0.5, 2400.2) == 1200.1
    assert margin("EURUSD.m", 1, 1.0852) == 10.85
    assert margin("FUTX", 3.0, 12001.0) == 1500.0
    assert margin("BTCUSD", 1.0, 60015.0) == 600.15


def test_margin_for_a_foreign_account_costs_the_worse_side():
    world = quote_all(build(account={"currency": "EUR"}))

    assert world.mt5.order_calc_margin(0, "EURUSD", 1.0, 1.0851) == 1000.0
    assert world.mt5.order_calc_margin(0, "XAUUSD", 1.0, 2400.2) == round(2400.2 / 1.085, 2)
    assert world.mt5.order_calc_margin(0, "USDJPY", 1.0, 150.0) == round(1000 / 1.085, 2)


def test_calculated_profit_is_what_closing_books(hedger):
    ticket = hedger.sell("XAUUSD", 0.5).order
    hedger.control.tick("XAUUSD", "2390.00", "2390.30")

    calculated = hedger.mt5.order_calc_profit(1, "XAUUSD", 0.5, 2400.0, 2390.3)

    hedger.buy("XAUUSD", 0.5, position=ticket)
    assert calculated == hedger.deals()[-1].profit == 485.0


def test_check_shows_the_account_after_the_trade(hedger):
    request = {"action": 1, "symbol": "EURUSD", "volume": 1.0}

    checked = hedger.mt5.order_check(request)

    hedger.mt5.order_send(request)
    info = hedger.mt5.account_info()
    assert (
        (checked.balance, checked.equity, checked.profit)
        == (info.balance, info.equity, info.profit)
        == (10000.0, 9990.0, -10.0)
    )
    assert (checked.margin, checked.margin_free) == (info.margin, info.margin_free) == (1085.1, 8904.9)
    assert checked.margin_level == info.margin_level == 920.65
    assert (checked.retcode, checked.comment) == (0, "Done")


def test_closing_is_possible_without_free_margin():
    hedger = quote_all(build(account={"stop_out": "0"}))
    ticket = hedger.buy("EURUSD", 9.13).order
    hedger.control.tick("EURUSD", "1.07600", "1.07610")
    assert hedger.mt5.account_info().margin_free < 0
    assert hedger.buy("EURUSD", 0.01).retcode == mt5.TRADE_RETCODE_NO_MONEY

    assert hedger.sell("EURUSD", 9.13, position=ticket).retcode == mt5.TRADE_RETCODE_DONE
    assert hedger.mt5.account_info().balance == 1691.7


def test_cash_movements_are_deals_without_a_symbol(hedger):
    hedger.control.balance(HEDGER, "250.5", comment="Deposit")
    hedger.control.balance(HEDGER, "-0.01", kind=mt5.DEAL_TAX)

    first, deposit, tax = hedger.mt5.history_deals_get(*EVER)
    assert (first.type, first.profit, first.comment) == (mt5.DEAL_TYPE_BALANCE, 10000.0, "Initial deposit")
    assert (deposit.type, deposit.profit, deposit.comment) == (mt5.DEAL_TYPE_BALANCE, 250.5, "Deposit")
    assert (deposit.symbol, deposit.volume, deposit.price, deposit.order, deposit.position_id) == ("", 0.0, 0.0, 0, 0)
    assert (tax.type, tax.profit) == (17, -0.01)
    assert hedger.mt5.account_info().balance == 10250.49
    assert hedger.mt5.history_deals_get(*EVER, group="EUR*") == ()
    for bad in ("0.001", "1e-9"):
        with pytest.raises(ValueError):
            hedger.control.balance(HEDGER, bad)
    with pytest.raises(ValueError, match="cash"):
        hedger.control.balance(HEDGER, "1", kind=mt5.DEAL_TYPE_BUY)


def test_finds_a_way_between_currencies_or_refuses_to_open():
    pairs = BUILT_IN.values()
    assert path(pairs, "USD", "USD") == ("USD",)
    assert path(pairs, "JPY", "USD") == ("JPY", "USD")
    assert path(pairs, "JPY", "EUR") == ("JPY", "USD", "EUR")
    with pytest.raises(LookupError, match="no pair"):
        build(account={"currency": "CHF"})
