"""Requests take time, prices slip, and terminals learn late what the broker knows."""

import pytest

from tests.trading.brokers.mt5.emulator.world import EVER, HEDGER, PRICES, build, quote_all
from trading.brokers.mt5.emulator import BrokerProfile
from trading.brokers.mt5.emulator import constants as mt5


def world_with(**rules):
    return quote_all(build(profile=BrokerProfile(selected=tuple(PRICES), **rules)))


def test_latency_lets_time_pass_only_for_good_requests():
    world = world_with(latency_ms=(250, 250))
    before = world.control.now_us

    assert world.buy("EURUSD", 999.0).retcode == mt5.TRADE_RETCODE_INVALID_VOLUME
    assert world.control.now_us == before
    world.buy("EURUSD", 0.1)
    assert world.control.now_us == before + 250_000


def test_price_may_move_on_the_way():
    world = build(quotes="generated", profile=BrokerProfile(selected=("EURUSD.m",), latency_ms=(60_000, 60_000)))
    tick = world.mt5.symbol_info_tick("EURUSD.m")

    result = world.buy("EURUSD.m", 0.1, price=tick.ask)

    assert result.retcode == mt5.TRADE_RETCODE_REQUOTE
    assert (result.ask, result.bid) != (tick.ask, tick.bid)


def test_latency_is_drawn_from_its_range_and_repeats_with_the_seed():
    def waits(seed):
        world = quote_all(build(seed=seed, profile=BrokerProfile(selected=tuple(PRICES), latency_ms=(100, 900))))
        seen = []
        for _ in range(8):
            before = world.control.now_us
            world.buy("EURUSD", 0.01)
            seen.append((world.control.now_us - before) // 1_000)
        return seen

    assert waits(1) == waits(1) != waits(2)
    assert all(100 <= each <= 900 for each in waits(1))
    assert len(set(waits(1))) > 4


def test_slippage_is_never_better_unless_allowed():
    world = world_with(slippage_ticks=3)
    prices = {world.buy("EURUSD", 0.01).price for _ in range(20)}
    assert prices <= {1.0851, 1.08511, 1.08512, 1.08513}
    assert len(prices) > 2

    world = world_with(slippage_ticks=3, positive_slippage=True)
    prices = {world.sell("EURUSD", 0.01).price for _ in range(20)}
    assert min(prices) < 1.085 < max(prices)


def test_limits_and_instant_execution_do_not_slip():
    world = world_with(slippage_ticks=50)
    assert {world.buy("EURUSD.m", 0.1, price=1.0852).price for _ in range(5)} == {1.0852}
    tickets = [world.place("EURUSD", 2, 0.01, 1.08).order for _ in range(5)]
    world.control.tick("EURUSD", "1.07990", "1.08000")

    assert {deal.price for deal in world.deals() if deal.order in tickets} == {1.08}


@pytest.mark.parametrize(
    ("orders", "positions", "history"), [(200, 500, 900), (900, 500, 200), (0, 0, 30_000), (0, 30_000, 0)]
)
def test_each_list_has_its_own_delay(orders, positions, history):
    world = world_with(orders_delay_ms=orders, positions_delay_ms=positions, history_delay_ms=history)
    world.place("EURUSD", 2, 0.1, 1.08)
    world.buy("EURUSD", 0.1)
    seen: list[tuple[int, ...]] = []
    for moment in sorted({0, orders, positions, history}):
        world.control.advance(moment / 1_000 - sum(each[0] for each in seen[-1:]) / 1_000)
        seen.append((moment, world.mt5.orders_total(), world.mt5.positions_total(), len(world.deals())))

    for moment, *counts in seen:
        assert counts == [moment >= orders, moment >= positions, moment >= history]
    truth = world.truth()
    assert (len(truth["working"]), len(truth["positions"])) == (1, 1)


def test_order_may_be_in_neither_list():
    world = world_with(history_delay_ms=5_000)
    ticket = world.place("EURUSD", 2, 0.1, 1.08).order
    world.remove(ticket)

    assert world.mt5.orders_get() == world.mt5.history_orders_get(*EVER) == ()
    world.control.advance(5)
    assert world.finished(ticket).state == mt5.ORDER_STATE_CANCELED


@pytest.mark.parametrize(("name", "late"), [("orders_delay", "orders_get"), ("positions_delay", "positions_get")])
def test_single_change_may_come_late(hedger, name, late):
    hedger.control.inject(name, seconds=10)
    hedger.place("US500", 2, 0.1, 5505.0, type_filling=2) if late == "positions_get" else hedger.place(
        "EURUSD", 2, 0.1, 1.08
    )

    assert getattr(hedger.mt5, late)() == ()
    hedger.control.advance(10)
    assert len(getattr(hedger.mt5, late)()) == 1


def test_done_may_name_neither_deal_nor_price():
    world = world_with(done_without_ticket=True, history_delay_ms=2_000)

    result = world.buy("EURUSD", 0.1)

    assert (result.retcode, result.deal, result.price, result.volume) == (mt5.TRADE_RETCODE_DONE, 0, 0.0, 0.1)
    assert world.deals() == ()
    world.control.advance(2)
    assert (world.deals()[0].order, world.deals()[0].price) == (result.order, 1.0851)


def test_history_may_never_come(hedger):
    hedger.control.inject("history_none")
    hedger.buy("EURUSD", 0.1)
    hedger.control.advance(1_000_000)

    assert hedger.deals() == ()
    assert len(hedger.control.truth(HEDGER)["deals"]) == 2
