"""Paper trading follows the wall, wakes up from any sleep, and takes the product's own demo order on any day."""

import threading
import time
from datetime import UTC, datetime

import pytest

from tests.trading.brokers.mt5.emulator.world import PRICES, build
from trading.brokers.mt5.emulator import BrokerProfile
from trading.brokers.mt5.emulator import constants as mt5

PAPER = BrokerProfile(always_open=True, selected=tuple(PRICES))
DAY_US = 86_400_000_000


def at_us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


class Wall:
    """A wall clock that moves when it is told to."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def wall():
    """Return a settable wall clock, on a Saturday."""
    return Wall(at_us("2026-11-21T12:00:00"))


def paper(wall, **options):
    return build(mode="wall", quotes="generated", profile=PAPER, wall=wall, **options)


@pytest.mark.parametrize("day", range(0, 364, 13))
def test_demo_order_fills_within_its_collar_on_any_day(day):
    world = paper(Wall(at_us("2026-01-01T03:17:00") + day * (DAY_US + 3_600_000_000)))

    result = world.buy("EURUSD", 0.1, price=1.0850, sl=1.0800, tp=1.0900)

    assert result.retcode == mt5.TRADE_RETCODE_DONE
    assert abs(result.price / 1.0850 - 1) < 0.005
    assert 1.0800 < result.bid < result.price < 1.0900


@pytest.mark.parametrize(
    ("symbol", "near"), [("USDJPY", 150), ("XAUUSD", 2400), ("BTCUSD", 60000), ("US500", 5500), ("FUTX", 12000)]
)
def test_prices_are_plausible(wall, symbol, near):
    assert paper(wall).mt5.symbol_info_tick(symbol).bid == pytest.approx(near, rel=0.004)


def test_time_flows_with_the_wall_and_never_back(wall):
    world = paper(wall)
    first = world.mt5.symbol_info_tick("EURUSD")
    wall.now_us += 60_000_000
    second = world.mt5.symbol_info_tick("EURUSD")
    wall.now_us -= 3_600_000_000
    third = world.mt5.symbol_info_tick("EURUSD")

    assert 40 <= second.time - first.time <= 80
    assert third == second


@pytest.mark.parametrize("function", ["order_send", "order_check"])
def test_a_request_is_judged_at_the_present(wall, function):
    world = paper(wall)
    wall.now_us += 6 * 3_600_000_000

    result = getattr(world.mt5, function)(action=mt5.TRADE_ACTION_DEAL, symbol="EURUSD", volume=0.1)

    assert result.retcode in (0, mt5.TRADE_RETCODE_DONE)
    assert world.control.now_us == wall.now_us
    if function == "order_send":
        assert result.ask == result.price == world.mt5.symbol_info_tick("EURUSD").ask
        assert world.deals()[0].time_msc == wall.now_us // 1_000 + 7_200_000


def test_same_moment_has_the_same_quote_however_it_was_reached(wall):
    walked, jumped = paper(wall), paper(wall)
    for _ in range(50):
        wall.now_us += 7_000_000
        walked.mt5.symbol_info_tick("EURUSD")

    assert walked.mt5.symbol_info_tick("EURUSD") == jumped.mt5.symbol_info_tick("EURUSD")


def test_stop_fires_between_two_calls_at_the_time_of_its_tick(wall):
    world = paper(wall)
    ticket = world.buy("EURUSD", 0.1).order
    bid = world.mt5.symbol_info_tick("EURUSD").bid
    world.move_stops(ticket, "EURUSD", round(bid - 0.0001, 5), round(bid + 0.0001, 5))
    opened = wall.now_us

    wall.now_us += 3_600_000_000
    assert world.mt5.positions_get() == ()

    deal = world.deals()[-1]
    assert deal.reason in (mt5.DEAL_REASON_SL, mt5.DEAL_REASON_TP)
    assert deal.time_msc - 7_200_000 < opened // 1_000 + 3_600_000
    (row,) = world.mt5.copy_ticks_from("EURUSD", deal.time, 1, mt5.COPY_TICKS_ALL)
    assert (row[5], row[1]) == (deal.time_msc, deal.price)


def test_long_sleep_costs_little_and_still_fires_the_stops(wall, tmp_path):
    world = paper(wall, path=tmp_path / "paper")
    ticket = world.buy("EURUSD", 0.1).order
    bid = world.mt5.symbol_info_tick("EURUSD").bid
    world.move_stops(ticket, "EURUSD", round(bid - 0.0003, 5), round(bid + 0.0003, 5))
    world.broker.close()
    wall.now_us += 200 * DAY_US
    began = time.process_time()

    world = paper(wall, path=tmp_path / "paper")
    assert world.mt5.positions_get() == ()

    assert time.process_time() - began < 2
    assert world.deals()[-1].time < wall.now_us // 1_000_000
    tick = world.mt5.symbol_info_tick("EURUSD")
    assert wall.now_us // 1_000_000 + 7_200 + 3_600 - tick.time < 20


def test_without_the_option_the_weekend_is_closed(wall):
    world = build(mode="wall", quotes="generated", wall=wall)

    assert world.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_MARKET_CLOSED
    assert world.buy("BTCUSD", 0.1).retcode == mt5.TRADE_RETCODE_DONE


def test_many_threads_get_one_book(wall):
    world = paper(wall, account={"requests_per_second": 1_000})
    results: list[int] = []

    def trade():
        results.extend(world.buy("EURUSD", 0.01).order for _ in range(10))

    threads = [threading.Thread(target=trade) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(results)) == 60
    assert world.mt5.positions_total() == 60
    world.control.verify()
