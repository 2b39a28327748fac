"""A recording is played at the present time, again and again, and stands where it stood after a restart."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from trading.brokers.mt5.emulator import AccountProfile, BrokerProfile, Control, open_broker
from trading.brokers.mt5.emulator.looped import PAUSE_MS, LoopedQuotes
from trading.brokers.mt5.emulator.recordings import RecordedQuotes
from trading.brokers.mt5.emulator.records import Tick

NOON_US = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1_000_000
FILE = """# zone=utc
time_msc,symbol,bid,ask,last,volume
1000,EURUSD,1.10000,1.10010,0,0
3000,EURUSD,1.20000,1.20010,0,0
9000,EURUSD,1.30000,1.30010,0,0
"""


class Nothing:
    def at(self, symbol, time_ms):
        return Tick(symbol, 1, time_ms, 7, 7)

    def between(self, symbol, after_ms, until_ms, limit):
        return [self.at(symbol, until_ms)]


@pytest.fixture
def tape():
    return RecordedQuotes([
        Tick("EURUSD", 1, 1000, 10, 11), Tick("EURUSD", 2, 3000, 20, 21), Tick("EURUSD", 3, 9000, 30, 31),
        Tick("USDJPY", 1, 2000, 50, 51),
    ])  # fmt: skip


def test_plays_the_tape_from_its_beginning_and_again(tape):
    quotes, period = LoopedQuotes(tape, 100_000, Nothing()), 8000 + PAUSE_MS

    def at(symbol, time_ms):
        tick = quotes.at(symbol, time_ms)
        assert tick is not None
        return tick

    bids = [at("EURUSD", 100_000 + each).bid for each in (0, 1999, 2000, 8000, period - 1, period, period + 2000)]

    assert bids == [10, 10, 20, 30, 30, 10, 20]
    assert quotes.at("EURUSD", 99_999) is None
    assert quotes.at("USDJPY", 100_500) is None
    assert (at("USDJPY", 100_000 + period).bid, at("USDJPY", 100_000 + period).time_ms) == (50, 101_000)
    assert at("XAUUSD", 5).bid == 7


def test_streams_each_tick_once_with_numbers_that_grow(tape):
    quotes, period = LoopedQuotes(tape, 100_000, Nothing()), 8000 + PAUSE_MS
    stops = [99_999, 100_000, 104_000, 100_000 + period, 100_000 + 2 * period - 1]

    seen = [tick for one, other in itertools.pairwise(stops) for tick in quotes.between("EURUSD", one, other, 99)]

    assert [tick.time_ms - 100_000 for tick in seen] == [0, 2000, 8000, period, period + 2000, period + 8000]
    assert [tick.number for tick in seen] == [1, 2, 3, 4, 5, 6]
    assert len(list(quotes.between("EURUSD", 0, 10**9, 2))) == 2


def test_a_paper_broker_goes_on_with_the_tape_after_a_restart(tmp_path):
    file, wall = tmp_path / "eurusd.csv", [NOON_US]
    file.write_text(FILE)

    def reopen():
        account = AccountProfile(login=1, password="p", currency="EUR")
        return open_broker(
            tmp_path / "b.db", accounts=[account], profile=BrokerProfile(always_open=True), csv={"EURUSD": file},
            wall=lambda: wall[0],
        )  # fmt: skip

    def bid(broker):
        return {row["symbol"]: row["bid"] for row in Control(broker).quotes()}["EURUSD"]

    broker = reopen()
    assert bid(broker) == "1.10000"
    assert {row["symbol"] for row in Control(broker).quotes()} >= {"EURUSD", "USDJPY", "XAUUSD"}
    answer = Control(broker).manual_trade(1, "EURUSD", 0, "0.1")
    wall[0] += 2 * 10**6
    assert bid(broker) == "1.20000"
    broker.close()
    wall[0] += 6 * 10**6

    broker = reopen()
    assert bid(broker) == "1.30000"
    (position,) = Control(broker).books(1)["positions"]
    assert (position["ticket"], position["opened at"], position["now"]) == (answer.order, "1.1001", "1.30000")
    wall[0] += timedelta(days=30) // timedelta(microseconds=1)
    broker.sync()
    broker.verify()
    broker.close()
