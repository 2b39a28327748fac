"""A netting account keeps one position per symbol."""

import pytest

from tests.trading.brokers.mt5.emulator.world import NETTER, build, quote_all
from trading.brokers.mt5.emulator import constants as mt5


def test_same_side_adds_averages_and_replaces_the_stops(netter):
    netter.buy("EURUSD", 0.1, sl=1.08, tp=1.09, magic=1)
    netter.control.tick("EURUSD", "1.08530", "1.08540")

    netter.buy("EURUSD", 0.2, magic=2)

    (position,) = netter.mt5.positions_get()
    assert (position.volume, position.price_open) == (0.3, 1.0853)
    assert (position.sl, position.tp, position.magic) == (0.0, 0.0, 1)
    assert [(deal.entry, deal.position_id) for deal in netter.deals()] == [(0, position.identifier)] * 2
    assert position.profit == 0.0


def test_average_price_keeps_more_digits_than_the_symbol(netter):
    netter.buy("EURUSD", 0.1)
    netter.control.tick("EURUSD", "1.08501", "1.08511")
    netter.buy("EURUSD", 0.2)

    assert netter.mt5.positions_get()[0].price_open == pytest.approx(1.0851 + 0.00001 * 2 / 3, abs=1e-11)


def test_smaller_opposite_reduces_and_keeps_the_stops(netter):
    netter.buy("EURUSD", 0.3, sl=1.08, tp=1.09)
    netter.control.tick("EURUSD", "1.08610", "1.08620")

    netter.sell("EURUSD", 0.1, sl=1.09)

    (position,) = netter.mt5.positions_get()
    assert (position.volume, position.price_open, position.sl, position.tp) == (0.2, 1.0851, 1.08, 1.09)
    assert (netter.deals()[-1].entry, netter.deals()[-1].profit) == (mt5.DEAL_ENTRY_OUT, 10.0)


def test_equal_opposite_closes(netter):
    netter.sell("EURUSD", 0.1)

    assert netter.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_DONE

    assert netter.mt5.positions_get() == ()
    assert netter.mt5.account_info().balance == 9999.0


def test_larger_opposite_reverses_under_a_new_ticket(netter):
    old = netter.buy("EURUSD", 0.1, sl=1.08, magic=1).order
    netter.control.tick("EURUSD", "1.08610", "1.08620")

    result = netter.sell("EURUSD", 0.3, tp=1.08, magic=2, comment="turn")

    (position,) = netter.mt5.positions_get()
    assert (position.ticket, position.identifier) == (result.order, old)
    assert (position.type, position.volume, position.price_open) == (1, 0.2, 1.0861)
    assert (position.sl, position.tp, position.magic, position.comment) == (0.0, 1.08, 2, "turn")
    deal = netter.deals()[-1]
    assert (deal.entry, deal.volume, deal.profit, deal.position_id) == (mt5.DEAL_ENTRY_INOUT, 0.3, 10.0, old)
    netter.control.verify()
    netter.buy("EURUSD", 0.2)
    assert netter.mt5.positions_get() == ()
    assert {row.position_id for row in netter.deals()} == {old}


def test_position_of_a_request_is_checked_against_the_symbol(netter):
    ticket = netter.buy("EURUSD", 0.1).order
    netter.buy("BTCUSD", 0.01)

    assert netter.sell("BTCUSD", 0.01, position=ticket).retcode == mt5.TRADE_RETCODE_INVALID
    assert netter.sell("EURUSD", 0.1, position=987).retcode == mt5.TRADE_RETCODE_POSITION_CLOSED
    assert netter.sell("EURUSD", 0.1, position=ticket).retcode == mt5.TRADE_RETCODE_DONE


def test_stops_may_be_moved_by_symbol_alone(netter):
    netter.buy("EURUSD", 0.1)

    assert netter.move_stops(0, "EURUSD", 1.08, 0.0).retcode == mt5.TRADE_RETCODE_DONE
    assert netter.move_stops(0, "BTCUSD", 1.08, 0.0).retcode == mt5.TRADE_RETCODE_POSITION_CLOSED
    netter.control.tick("EURUSD", "1.07900", "1.07910")
    assert netter.mt5.positions_get() == ()


def test_exchange_accounts_net_too():
    world = quote_all(build(NETTER, account={}, exchange=True))
    world.buy("US500", 2.0)
    world.sell("US500", 3.0)

    assert world.mt5.account_info().margin_mode == mt5.ACCOUNT_MARGIN_MODE_EXCHANGE
    assert [(row.type, row.volume) for row in world.mt5.positions_get()] == [(1, 1.0)]


def test_futures_count_ticks(netter):
    netter.buy("FUTX", 2.0)
    netter.control.tick("FUTX", "12011", "12012")

    assert netter.mt5.account_info().margin == 1000.0
    assert netter.mt5.positions_get()[0].profit == 50.0
    assert netter.mt5.symbol_info("FUTX").trade_tick_value == 2.5
    netter.sell("FUTX", 2.0)
    assert netter.deals()[-1].profit == 50.0


def test_volume_limit_counts_what_a_reversal_opens(netter):
    netter.control.balance(netter.login, "1000000")
    netter.sell("BTCUSD", 5.0)

    assert netter.buy("BTCUSD", 10.0, sl=50000.0).retcode == mt5.TRADE_RETCODE_DONE
    assert netter.mt5.positions_get()[0].volume == 5.0
    assert netter.buy("BTCUSD", 0.01).retcode == mt5.TRADE_RETCODE_LIMIT_VOLUME
