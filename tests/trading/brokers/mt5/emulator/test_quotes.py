"""Quotes come from the seed alone, stay plausible, and stand still while the market is closed."""

import hashlib
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from trading.brokers.mt5.emulator.instruments import BUILT_IN, offered
from trading.brokers.mt5.emulator.quotes import GeneratedQuotes, splitmix64
from trading.brokers.mt5.emulator.sessions import ALWAYS, FIVE_DAYS_FROM_ONE
from trading.brokers.mt5.emulator.zones import ServerZone

GOLDEN = "df057b0e0a2bc24f43de4d3f801177b79808a3bbf2a24278164c866c8deca793"
ZONE = ServerZone()
WEDNESDAY = round(datetime(2025, 1, 8, 12, tzinfo=UTC).timestamp()) * 1_000
HOUR = 3_600_000


def source(seed: int = 1, *, always_open: bool = False) -> GeneratedQuotes:
    return GeneratedQuotes(seed, offered((), always_open=always_open), ZONE, 1_000)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text + "+00:00").timestamp()) * 1_000


def test_hash_is_splitmix64():
    assert [splitmix64(0), splitmix64(0x9E3779B97F4A7C15)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_same_seed_gives_the_golden_ticks():
    quotes, digest = source(seed=42), hashlib.sha256()
    for symbol in BUILT_IN:
        for tick in quotes.between(symbol, WEDNESDAY, WEDNESDAY + 900_000, 10**6):
            digest.update(f"{tick.symbol},{tick.number},{tick.time_ms},{tick.bid},{tick.ask}\n".encode())

    assert digest.hexdigest() == GOLDEN


@pytest.mark.parametrize("symbol", BUILT_IN)
def test_prices_stay_within_reach_on_the_grid_and_move(symbol):
    instrument, quotes = BUILT_IN[symbol], source()
    ticks = list(quotes.between(symbol, WEDNESDAY, WEDNESDAY + 2 * HOUR, 10**6))
    spread = instrument.spread

    assert len(ticks) > 1_000
    assert [tick.time_ms for tick in ticks] == sorted({tick.time_ms for tick in ticks})
    for tick in ticks:
        assert abs(tick.bid - instrument.anchor) <= instrument.reach
        assert tick.bid % instrument.tick_size == tick.ask % instrument.tick_size == 0
        assert spread <= tick.ask - tick.bid <= 2 * spread
    assert len({tick.bid for tick in ticks}) > 5
    assert len({tick.ask - tick.bid for tick in ticks}) > 1


def test_seeds_and_symbols_differ():
    def prices(quotes: GeneratedQuotes, symbol: str) -> list[int]:
        return [tick.bid for tick in quotes.between(symbol, WEDNESDAY, WEDNESDAY + 60_000, 10**6)]

    assert prices(source(1), "EURUSD") != prices(source(2), "EURUSD")
    assert prices(source(1), "EURUSD") != prices(source(1), "CLOSEDX")


def test_tick_in_force_is_the_last_of_the_stream():
    quotes = source()
    ticks = list(quotes.between("EURUSD", WEDNESDAY, WEDNESDAY + 300_000, 10**6))

    for earlier, later in pairwise(ticks):
        assert quotes.at("EURUSD", later.time_ms - 1) == earlier
        assert quotes.at("EURUSD", later.time_ms) == later


def test_quiet_and_fast_periods_differ():
    counts = [
        len(list(source().between("EURUSD", start, start + 1_024_000, 10**6)))
        for start in range(WEDNESDAY // 1_024_000 * 1_024_000, WEDNESDAY + 8 * HOUR, 1_024_000)
    ]

    assert min(counts) < 500 < 1_000 < max(counts)


@pytest.mark.parametrize(
    "closed_at", ["2025-01-11T12:00:00", "2025-03-09T12:00:00", "2025-11-02T12:00:00", "2025-01-12T21:59:59"]
)
def test_closed_market_stands_still(closed_at):
    tick = source().at("EURUSD", ms(closed_at))

    assert tick is not None
    server = datetime.fromtimestamp(ZONE.to_server_ms(tick.time_ms) / 1_000, UTC)
    assert (server.weekday(), server.hour, server.minute, server.second >= 30) == (4, 23, 59, True)
    assert list(source().between("EURUSD", tick.time_ms, ms(closed_at), 5_000)) == []


def test_always_open_quotes_through_the_weekend():
    saturday = ms("2025-01-11T12:00:00")

    tick = source(always_open=True).at("EURUSD", saturday)

    assert tick is not None
    assert saturday - tick.time_ms < 5_000


def test_a_quote_of_an_open_market_is_never_old_enough_to_be_refused():
    """Ten seconds are the most that admission takes unless it is told otherwise: nor may a quiet quarter come near."""
    quotes = source(always_open=True)
    times = [WEDNESDAY + second * 1_000 for second in range(0, 6 * 3_600, 7)]

    ages = [at - tick.time_ms for name in ("EURUSD", "XAUUSD") for at in times if (tick := quotes.at(name, at))]

    assert len(ages) == 2 * len(times)
    assert max(ages) < 5_000
    assert max(ages) > 3_000  # some quarters are quiet


def test_long_periods_are_thinned_out_but_end_with_the_last_tick():
    quotes = source(always_open=True)
    until = WEDNESDAY + 400 * HOUR
    ticks = list(quotes.between("EURUSD", WEDNESDAY, until, 100))

    assert 50 < len(ticks) <= 102
    assert ticks[-1] == quotes.at("EURUSD", until)
    assert ticks[len(ticks) // 2].time_ms == pytest.approx(WEDNESDAY + 200 * HOUR, abs=60 * HOUR)


@pytest.mark.parametrize(
    ("utc", "offset"),
    [
        ("2025-01-08T12:00:00", 2), ("2025-03-09T06:59:59", 2), ("2025-03-09T07:00:00", 3),
        ("2025-03-28T12:00:00", 3), ("2025-11-02T05:59:59", 3), ("2025-11-02T06:00:00", 2), ("2026-03-08T07:00:00", 3),
        ("2026-11-01T06:00:00", 2),
    ],
)  # fmt: skip
def test_server_time_follows_the_dates_of_the_united_states(utc, offset):
    at = ms(utc)

    assert ZONE.to_server_ms(at) - at == offset * HOUR
    is_repeated_hour = utc[5:] in ("11-02T06:00:00", "11-01T06:00:00")
    assert ZONE.to_utc_ms(ZONE.to_server_ms(at)) == at - (HOUR if is_repeated_hour else 0)
    assert ServerZone(us_daylight=False).to_server_ms(at) - at == 2 * HOUR


@pytest.mark.parametrize("server_s", [-5, 253_402_300_800, 2**40])
def test_a_time_that_no_calendar_has_is_a_time_all_the_same(server_s):
    assert abs(ZONE.to_utc_ms(server_s * 1_000) - server_s * 1_000) in (2 * HOUR, 3 * HOUR)


def test_sessions_open_and_close_by_the_minute():
    friday = ms("2025-01-10T00:00:00")

    assert [FIVE_DAYS_FROM_ONE.is_open(friday + minute * 60_000) for minute in (59, 60, 1_439, 1_440)] == [
        False,
        True,
        True,
        False,
    ]
    assert FIVE_DAYS_FROM_ONE.last_open_ms(friday + 59 * 60_000) == friday - 1
    assert FIVE_DAYS_FROM_ONE.last_open_ms(friday + 3 * 24 * HOUR + 30 * 60_000) == friday + 24 * HOUR - 1
    assert ALWAYS.last_open_ms(friday) == friday
