"""Positions pay or earn swap at the server's midnight, and book it when they close."""

from dataclasses import replace

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, PRICES, build, quote_all
from trading.brokers.mt5.emulator import BrokerProfile, amounts
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.instruments import BUILT_IN

HOUR, DAY = 3_600, 86_400
TO_MIDNIGHT = 10 * HOUR  # the world begins on a Wednesday at 14:00 of the server


def swaps(world):
    return [row.swap for row in world.mt5.positions_get()]


def special(**changes):
    """Return a world whose EURUSD is changed."""
    changed = replace(BUILT_IN["EURUSD"], **changes)
    return quote_all(build(profile=BrokerProfile(selected=tuple(PRICES), instruments=(changed,))))


def test_wednesday_counts_three_times_and_weekends_not_at_all(hedger):
    hedger.buy("EURUSD", 1.0)
    hedger.sell("EURUSD", 0.5)
    seen = []
    hedger.control.advance(TO_MIDNIGHT - 1)
    seen.append(swaps(hedger))
    hedger.control.advance(1)
    for _ in range(6):
        seen.append(swaps(hedger))
        hedger.control.advance(DAY)

    assert [row[0] for row in seen] == [0.0, -19.5, -26.0, -32.5, -32.5, -32.5, -39.0]
    assert [row[1] for row in seen][:3] == [0.0, 3.0, 4.0]


def test_swap_is_in_the_equity_and_booked_in_the_closing_deal(hedger):
    ticket = hedger.buy("EURUSD", 1.0).order
    hedger.control.advance(TO_MIDNIGHT)
    hedger.control.tick("EURUSD", "1.08510", "1.08520")
    info = hedger.mt5.account_info()
    assert (info.balance, info.profit, info.equity) == (10000.0, -19.5, 9980.5)

    hedger.sell("EURUSD", 0.3, position=ticket)
    hedger.sell("EURUSD", 0.7, position=ticket)

    assert [(deal.swap, deal.profit) for deal in hedger.deals()] == [(0.0, 0.0), (-5.85, 0.0), (-13.65, 0.0)]
    assert hedger.mt5.account_info().balance == 9980.5


def test_reversal_books_the_whole_swap(netter):
    netter.buy("EURUSD", 1.0)
    netter.control.advance(TO_MIDNIGHT)
    netter.sell("EURUSD", 1.5)

    assert netter.deals()[-1].swap == -19.5
    assert swaps(netter) == [0.0]


@pytest.mark.parametrize(
    ("symbol", "side", "volume", "swap"),
    [
        ("USDJPY", 0, 1.0, round(3 * 5 * 100 / 150.01, 2)),
        ("USDJPY", 1, 1.0, -24.0),
        ("US500", 0, 10.0, -30.0),
        ("US500", 1, 10.0, 7.5),
        ("BTCUSD", 0, 0.1, round(-3 * 0.18 * 6_000 / 360, 2)),
        ("FUTX", 0, 1.0, 0.0),
    ],
)
def test_swap_by_mode(hedger, symbol, side, volume, swap):
    hedger.deal(symbol, side, volume)
    hedger.control.advance(TO_MIDNIGHT)

    assert swaps(hedger) == [swap]


@pytest.mark.parametrize(
    ("mode", "swap"),
    [
        (mt5.SYMBOL_SWAP_MODE_CURRENCY_SYMBOL, -3.26),
        (mt5.SYMBOL_SWAP_MODE_CURRENCY_MARGIN, -3.26),
        (mt5.SYMBOL_SWAP_MODE_CURRENCY_DEPOSIT, -3.0),
        (mt5.SYMBOL_SWAP_MODE_INTEREST_OPEN, -9.04),
        (mt5.SYMBOL_SWAP_MODE_DISABLED, 0.0),
    ],
)
def test_other_modes(mode, swap):
    world = special(swap_mode=mode, swap_long=-amounts.UNIT)
    assert world.mt5.symbol_info("EURUSD").swap_mode == mode
    world.buy("EURUSD", 1.0)
    world.control.advance(TO_MIDNIGHT)

    assert swaps(world) == [swap]


def test_swap_free_accounts_pay_nothing():
    world = quote_all(build(account={"swaps": False}))
    world.buy("EURUSD", 1.0)
    world.control.advance(TO_MIDNIGHT)

    assert swaps(world) == [0.0]


def test_midnight_follows_the_servers_summer_time():
    world = build()
    world.control.advance(180 * DAY)
    quote_all(world)
    world.buy("EURUSD", 1.0)
    world.control.advance(9 * HOUR - 1)
    before = swaps(world)
    world.control.advance(1)

    assert (before, len(set(swaps(world) + before))) == ([0.0], 2)


def test_daily_symbols_forget_orders_and_perhaps_stops():
    for mode, sl in ((mt5.SYMBOL_ORDERS_DAILY, 0.0), (mt5.SYMBOL_ORDERS_DAILY_NO_STOPS, 1.0)):
        world = special(order_gtc_mode=mode)
        world.buy("EURUSD", 0.1, sl=1.0)
        ticket = world.place("EURUSD", 2, 0.1, 1.0).order
        assert world.mt5.orders_get()[0].time_expiration == 0
        world.control.advance(TO_MIDNIGHT)

        assert world.mt5.positions_get()[0].sl == sl
        assert world.finished(ticket).state == mt5.ORDER_STATE_EXPIRED


def test_swap_survives_a_restart(tmp_path):
    world = quote_all(build(path=tmp_path / "b.sqlite3"))
    world.buy("EURUSD", 1.0)
    world.control.advance(TO_MIDNIGHT)
    before = world.control.truth(HEDGER)
    world.broker.close()

    assert build(path=tmp_path / "b.sqlite3").control.truth(HEDGER) == before
