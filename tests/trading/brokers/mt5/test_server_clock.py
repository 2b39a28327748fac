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


def test_learns_nothing_from_a_rest_too_large():
    clock = ServerClock()
    poll(clock, NOON, EURUSD=3, USDJPY=3)

    late = timedelta(seconds=-61) / timedelta(hours=1)
    poll(clock, NOON + timedelta(seconds=2), EURUSD=3 + late, USDJPY=3 + late)

    assert clock.offset_s is None


def learned(clock, at, **offsets_h):
    """Poll twice, so that every symbol has moved."""
    poll(clock, at, **offsets_h)
    poll(clock, at + timedelta(seconds=1), **offsets_h)
    return None if clock.offset_s is None else clock.offset_s / 3600


def test_takes_the_largest_at_first_because_a_delayed_feed_shows_less():
    assert learned(ServerClock(), NOON, EURUSD=3, DELAYED=2.75) == 3


@pytest.mark.parametrize("lag_h", [0.25, 1])
def test_one_delayed_symbol_does_not_teach_the_clock_and_a_good_one_corrects_it(lag_h):
    clock = ServerClock()
    assert learned(clock, NOON, EURUSD=3) == 3

    assert learned(clock, NOON + timedelta(minutes=20), DELAYED=3 - lag_h) == 3

    corrected = ServerClock()
    assert learned(corrected, NOON, DELAYED=3 - lag_h) == 3 - lag_h
    assert learned(corrected, NOON + timedelta(seconds=5), EURUSD=3) == 3


def test_one_symbol_that_runs_ahead_does_not_move_what_two_have_shown():
    clock = ServerClock()
    assert learned(clock, NOON, EURUSD=3, USDJPY=3) == 3

    assert learned(clock, NOON + timedelta(seconds=5), STRANGE=4) == 3
    assert not clock.is_doubted()  # two agree, so that nobody need be asked again and again
    assert learned(clock, NOON + timedelta(minutes=10), STRANGE=4) == 3
    assert clock.is_doubted()  # they were long ago


def test_follows_a_change_once_two_symbols_agree():
    clock = ServerClock()
    assert learned(clock, NOON, EURUSD=3, USDJPY=3) == 3
    later = NOON + timedelta(seconds=210)

    assert learned(clock, later, EURUSD=2) == 3  # the hour falls back: the server's time does not move on
    assert learned(clock, later + timedelta(seconds=5), USDJPY=2) == 2
    assert clock.utc(ms(NOON, 2)) == NOON


def test_follows_one_symbol_through_the_hour_of_a_daylight_change():
    saturday, monday = datetime(2026, 3, 6, 21, tzinfo=UTC), datetime(2026, 3, 9, 7, tzinfo=UTC)
    clock = ServerClock()
    assert learned(clock, saturday, EURUSD=2) == 2

    assert learned(clock, monday, EURUSD=3) == 3

    autumn, after = datetime(2026, 10, 30, 20, tzinfo=UTC), datetime(2026, 11, 2, 7, tzinfo=UTC)
    assert learned(clock, autumn, EURUSD=3) == 3
    assert learned(clock, after, EURUSD=2.75) == 3
    assert learned(clock, after + timedelta(hours=1), EURUSD=2) == 2


def test_keeps_what_it_knows_over_a_weekend():
    clock = ServerClock()
    poll(clock, NOON, EURUSD=3)
    poll(clock, NOON + timedelta(seconds=1), EURUSD=3)

    clock.observe({"EURUSD": ms(NOON + timedelta(seconds=1), 3)}, utc_s=NOON.timestamp() + 200)

    assert clock.utc(ms(NOON, 3)) == NOON


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
