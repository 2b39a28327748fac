"""The server's clock is learned from ticks that move, and never makes a price look fresher than it is."""

from datetime import UTC, datetime, timedelta

import pytest

from trading.brokers.mt5.server_clock import ServerClock, is_still_valid

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def ms(at: datetime, offset_h: float) -> int:
    return int((at + timedelta(hours=offset_h)).timestamp() * 1000)


def poll(clock, at, **offsets_h):
    clock.observe({symbol: ms(at, offset) for symbol, offset in offsets_h.items()}, utc_s=at.timestamp())


@pytest.mark.parametrize("offset_h", [-5, 0, 2, 3, 5.75, 13])
def test_learns_the_offset_from_ticks_that_move(offset_h):
    clock = ServerClock()

    poll(clock, NOON, EURUSD=offset_h)
    poll(clock, NOON + timedelta(seconds=1), EURUSD=offset_h)

    assert clock.offset_s == offset_h * 3600
    assert clock.utc(ms(NOON, offset_h)) == NOON
    assert clock.utc_of_quote(ms(NOON, offset_h)) == NOON


def test_learns_nothing_from_a_first_look_or_a_tick_that_stands():
    clock = ServerClock()
    tick = {"EURUSD": ms(NOON, 3)}

    clock.observe(tick, utc_s=NOON.timestamp())
    clock.observe(tick, utc_s=NOON.timestamp() + 1)

    assert clock.offset_s is None


def test_learns_nothing_when_the_look_before_was_long_ago():
    clock = ServerClock()
    poll(clock, NOON, EURUSD=3)
    poll(clock, NOON + timedelta(seconds=301), EURUSD=3)

    assert clock.offset_s is None


def test_learns_nothing_from_symbols_that_disagree_or_a_rest_too_large():
    clock = ServerClock()
    poll(clock, NOON, EURUSD=3, USDJPY=2)
    poll(clock, NOON + timedelta(seconds=1), EURUSD=3, USDJPY=2)
    assert clock.offset_s is None

    late = timedelta(seconds=-61) / timedelta(hours=1)
    poll(clock, NOON + timedelta(seconds=2), EURUSD=3 + late, USDJPY=3 + late)

    assert clock.offset_s is None


def test_keeps_what_it_knows_over_a_weekend_and_follows_a_change():
    clock = ServerClock()
    poll(clock, NOON, EURUSD=3)
    poll(clock, NOON + timedelta(seconds=1), EURUSD=3)
    clock.observe({"EURUSD": ms(NOON + timedelta(seconds=1), 3)}, utc_s=NOON.timestamp() + 200)
    assert clock.utc(ms(NOON, 3)) == NOON

    poll(clock, NOON + timedelta(seconds=210), EURUSD=2)  # the hour falls back: the server's time does not move on
    poll(clock, NOON + timedelta(seconds=211), EURUSD=2)

    assert clock.utc(ms(NOON, 2)) == NOON


def test_never_calls_a_quote_fresh_while_it_does_not_know():
    clock = ServerClock()

    for offset_h in (-12, 0, 2, 3, 14):
        assert clock.utc_of_quote(ms(NOON, offset_h)) <= NOON


@pytest.mark.parametrize(
    ("at", "offset_h"),
    [
        (datetime(2026, 3, 7, 12, tzinfo=UTC), 2),
        (datetime(2026, 3, 9, 12, tzinfo=UTC), 3),
        (datetime(2026, 10, 30, 12, tzinfo=UTC), 3),
        (datetime(2026, 11, 2, 12, tzinfo=UTC), 2),
    ],
)
def test_books_by_the_usual_zone_while_it_does_not_know(at, offset_h):
    assert ServerClock().utc(ms(at, offset_h)) == at


def test_takes_over_what_others_know_but_not_their_ignorance():
    clock = ServerClock()
    clock.adopt(7200)
    clock.adopt(None)

    assert clock.utc_of_quote(ms(NOON, 2)) == NOON


@pytest.mark.parametrize(
    ("seen", "now", "is_valid"),
    [
        ("2026-06-05T20:00", "2026-06-07T22:00", True),
        ("2026-03-06T20:00", "2026-03-08T22:00", False),  # America's spring
        ("2026-03-27T20:00", "2026-03-29T22:00", False),  # Europe's spring
        ("2026-10-23T20:00", "2026-10-25T22:00", False),  # Europe's autumn
        ("2026-10-30T20:00", "2026-11-01T22:00", False),  # America's autumn
        ("2026-10-30T20:00", "2026-10-30T22:00", True),
        ("2026-11-02T08:00", "2026-12-24T08:00", True),
        ("2026-11-02T08:00", "2027-04-24T08:00", False),
        ("2026-12-31T08:00", "2027-01-02T08:00", True),
        ("2026-06-05T20:00", "2026-06-05T19:00", False),
    ],
)
def test_trusts_a_remembered_offset_until_any_region_may_have_changed_its_clocks(seen, now, is_valid):
    at = [datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (seen, now)]

    assert is_still_valid(seen_s=at[0], now_s=at[1]) is is_valid
