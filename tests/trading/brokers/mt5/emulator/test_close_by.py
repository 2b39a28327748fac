"""Two opposite positions close each other on a hedging account."""

import pytest

from trading.brokers.mt5.emulator import constants as mt5


def close_by(world, position, other, **fields):
    request = {"action": mt5.TRADE_ACTION_CLOSE_BY, "symbol": "EURUSD", "position": position, "position_by": other}
    return world.mt5.order_send(request | fields)


def test_smaller_side_disappears_and_the_difference_stays(hedger):
    long = hedger.buy("EURUSD", 0.3).order
    hedger.control.tick("EURUSD", "1.08610", "1.08620")
    short = hedger.sell("EURUSD", 0.1).order

    result = close_by(hedger, long, short, magic=9)

    assert (result.retcode, result.volume) == (mt5.TRADE_RETCODE_DONE, 0.1)
    (rest,) = hedger.mt5.positions_get()
    assert (rest.ticket, rest.volume, rest.price_open) == (long, 0.2, 1.0851)
    first, second = hedger.deals()[2:]
    assert result.deal == first.ticket
    assert (first.entry, first.type, first.position_id, first.price, first.profit) == (3, 1, long, 1.0861, 10.0)
    assert (second.entry, second.type, second.position_id, second.price, second.profit) == (3, 0, short, 1.0861, 0.0)
    assert {deal.order for deal in (first, second)} == {result.order}
    order = hedger.finished(result.order)
    assert (order.type, order.state) == (mt5.ORDER_TYPE_CLOSE_BY, mt5.ORDER_STATE_FILLED)
    assert (order.position_id, order.position_by_id, order.magic) == (long, short, 9)
    assert hedger.mt5.account_info().balance == 10010.0
    hedger.control.verify()


def test_equal_volumes_leave_nothing_and_pay_the_spread_once(hedger):
    long, short = hedger.buy("EURUSD", 0.1).order, hedger.sell("EURUSD", 0.1).order

    assert close_by(hedger, short, long).retcode == mt5.TRADE_RETCODE_DONE

    assert hedger.mt5.positions_get() == ()
    assert hedger.mt5.account_info().balance == 9999.0


def test_check_of_a_close_by_changes_nothing(hedger):
    long, short = hedger.buy("EURUSD", 0.1).order, hedger.sell("EURUSD", 0.1).order
    before = hedger.truth()

    checked = hedger.mt5.order_check(action=10, symbol="EURUSD", position=long, position_by=short)

    assert (checked.retcode, checked.balance, checked.margin) == (0, 9999.0, 0.0)
    assert hedger.truth() == before


def test_refuses_positions_that_are_missing_alike_or_of_different_symbols(hedger):
    long, more = hedger.buy("EURUSD", 0.1).order, hedger.buy("EURUSD", 0.1).order
    gold = hedger.sell("XAUUSD", 0.01).order
    before = hedger.truth()

    assert close_by(hedger, long, 99).retcode == mt5.TRADE_RETCODE_POSITION_CLOSED
    assert close_by(hedger, 99, long).retcode == mt5.TRADE_RETCODE_POSITION_CLOSED
    assert close_by(hedger, long, more).retcode == mt5.TRADE_RETCODE_INVALID
    assert close_by(hedger, long, long).retcode == mt5.TRADE_RETCODE_INVALID
    assert close_by(hedger, long, gold).retcode == mt5.TRADE_RETCODE_INVALID
    assert hedger.truth() == before


@pytest.mark.parametrize("position", [0, 1])
def test_netting_accounts_have_nothing_to_close_by(netter, position):
    netter.buy("EURUSD", 0.1)

    assert close_by(netter, position, 2).retcode == mt5.TRADE_RETCODE_INVALID
