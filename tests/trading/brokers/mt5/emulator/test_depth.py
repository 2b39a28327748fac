"""Bars are drawn over the ticks that the broker has quoted, and market depth is the liquidity that they carry."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, build
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.calls import depth
from trading.brokers.mt5.emulator.candles import TIMEFRAMES, Timeframe
from trading.brokers.mt5.gateway import plain

ZONE_S = 7_200


def server_s(world):
    return world.control.now_us // 1_000_000 + ZONE_S


@pytest.fixture
def drawn(hedger):
    """Three minutes with one, none and two ticks, and one that has just begun; and when the first of them began."""
    hedger.control.advance(60 - server_s(hedger) % 60)
    began = server_s(hedger)
    for seconds, bid, ask in (
        (5, "1.09000", "1.09010"), (115, "1.09100", "1.09130"), (30, "1.08900", "1.08920"), (30, "1.09050", "1.09060"),
    ):  # fmt: skip
        hedger.control.advance(seconds)
        hedger.control.tick("EURUSD", bid, ask)
    return hedger, began


def test_draws_a_minute_by_its_bids_and_none_without_a_tick(drawn):
    world, began = drawn

    rows = world.mt5.copy_rates_range("EURUSD", mt5.TIMEFRAME_M1, began, began + 600)

    assert [tuple(row) for row in rows] == [
        (began, 1.09, 1.09, 1.09, 1.09, 1, 10, 0),
        (began + 120, 1.091, 1.091, 1.089, 1.089, 2, 20, 0),
        (began + 180, 1.0905, 1.0905, 1.0905, 1.0905, 1, 10, 0),
    ]
    assert world.mt5.last_error() == (1, "Success")


def test_counts_from_the_newest_bar_and_from_a_date_backwards(drawn):
    world, began = drawn

    def times(rows):
        return [int(row[0]) - began for row in rows]

    assert times(world.mt5.copy_rates_from_pos("EURUSD", mt5.TIMEFRAME_M1, 0, 2)) == [120, 180]
    assert times(world.mt5.copy_rates_from_pos("EURUSD", mt5.TIMEFRAME_M1, 1, 2)) == [0, 120]
    assert times(world.mt5.copy_rates_from("EURUSD", mt5.TIMEFRAME_M1, began + 179, 2)) == [0, 120]
    assert len(world.mt5.copy_rates_from_pos("EURUSD", mt5.TIMEFRAME_M1, 50, 5)) == 0
    assert len(world.mt5.copy_rates_range("EURUSD", mt5.TIMEFRAME_M1, began + 1, began + 119)) == 0


def test_bars_of_a_longer_frame_hold_those_of_a_shorter_one():
    world = build(HEDGER, quotes="generated")
    world.control.advance(3 * 3_600)
    since = server_s(world) - server_s(world) % 3_600 - 3_600

    (hour,) = world.mt5.copy_rates_range("EURUSD", mt5.TIMEFRAME_H1, since, since)
    minutes = world.mt5.copy_rates_range("EURUSD", mt5.TIMEFRAME_M1, since, since + 3_599)

    assert len(minutes) == 60
    assert (hour[1], hour[4]) == (minutes[0][1], minutes[-1][4])
    assert (hour[2], hour[3]) == (max(row[2] for row in minutes), min(row[3] for row in minutes))
    assert hour[5] == sum(row[5] for row in minutes)


def test_finds_the_bars_behind_a_weekend():
    world = build(HEDGER, quotes="generated")
    days_to_monday = (7 - datetime.fromtimestamp(server_s(world), UTC).weekday()) % 7 or 7
    world.control.advance(days_to_monday * 86_400 - server_s(world) % 86_400 + 1_800)

    rows = world.mt5.copy_rates_from_pos("EURUSD", mt5.TIMEFRAME_H1, 0, 4)

    moments = [datetime.fromtimestamp(int(row[0]), UTC) for row in rows]
    assert [moment.strftime("%a %H") for moment in moments] == ["Fri 21", "Fri 22", "Fri 23", "Mon 00"]


@pytest.mark.parametrize(
    ("value", "opens", "closes"),
    [
        (mt5.TIMEFRAME_M5, "2026-02-25 13:35", "2026-02-25 13:40"),
        (mt5.TIMEFRAME_H4, "2026-02-25 12:00", "2026-02-25 16:00"),
        (mt5.TIMEFRAME_D1, "2026-02-25 00:00", "2026-02-26 00:00"),
        (mt5.TIMEFRAME_W1, "2026-02-22 00:00", "2026-03-01 00:00"),
        (mt5.TIMEFRAME_MN1, "2026-02-01 00:00", "2026-03-01 00:00"),
    ],
)
def test_a_bar_begins_where_the_servers_clock_says(value, opens, closes):
    moment = int(datetime(2026, 2, 25, 13, 37, 12, tzinfo=UTC).timestamp())
    frame = Timeframe(value)

    assert [
        datetime.fromtimestamp(each, UTC).strftime("%Y-%m-%d %H:%M")
        for each in (frame.opening(moment), frame.closing(moment))
    ] == [opens, closes]


def test_knows_the_frames_of_the_package():
    assert len(TIMEFRAMES) == 21
    assert {timedelta(seconds=Timeframe(value).longest_s) for value in (mt5.TIMEFRAME_M30, mt5.TIMEFRAME_H12)} == {
        timedelta(minutes=30), timedelta(hours=12),
    }  # fmt: skip


def test_a_span_with_too_many_ticks_is_a_failure_and_not_a_part(drawn, monkeypatch):
    world, began = drawn
    monkeypatch.setattr(depth, "BAR_TICKS_MAX", 2)

    assert world.mt5.copy_rates_range("EURUSD", mt5.TIMEFRAME_M1, began, began + 600) is None
    assert world.mt5.last_error() == (-1, "Terminal: Call failed")


def test_depth_is_shown_from_the_dearest_down_while_it_is_opened(hedger):
    quoted = {"bid_vol": "2.5", "ask_vol": "1", "levels": 2}
    assert hedger.mt5.market_book_add("EURUSD") is False  # liquidity without a bound has no depth
    hedger.control.tick("EURUSD", "1.08500", "1.08510", **quoted)

    assert hedger.mt5.market_book_get("EURUSD") is None
    assert hedger.mt5.market_book_add("EURUSD") is True
    book = hedger.mt5.market_book_get("EURUSD")

    assert [tuple(row) for row in book] == [
        (mt5.BOOK_TYPE_SELL, 1.08511, 1, 1.0), (mt5.BOOK_TYPE_SELL, 1.0851, 1, 1.0),
        (mt5.BOOK_TYPE_BUY, 1.085, 2, 2.5), (mt5.BOOK_TYPE_BUY, 1.08499, 2, 2.5),
    ]  # fmt: skip
    assert json.dumps(plain.of_value(book[0])) == '{"type": 1, "price": 1.08511, "volume": 1, "volume_dbl": 1.0}'
    assert hedger.mt5.symbol_info("EURUSD").ticks_bookdepth == 2
    assert hedger.mt5.market_book_release("EURUSD") is True
    assert hedger.mt5.market_book_get("EURUSD") is None
