"""Clocks say where the broker should be, and never in its past."""

import pytest

from trading.brokers.mt5.emulator.clock import ManualClock, PacedClock, WallClock


def test_manual_clock_stands_still():
    assert (ManualClock().target_us(5), ManualClock().flows) == (5, False)


def test_wall_clock_is_never_behind_the_broker():
    assert [WallClock(lambda: 7).target_us(now_us) for now_us in (5, 9)] == [7, 9]


def test_paced_clock_multiplies_what_passed_since_its_first_call():
    wall = [1_000]
    clock = PacedClock(3, lambda: wall[0])

    assert clock.target_us(50) == 50
    wall[0] += 100
    assert clock.target_us(50) == 350
    assert clock.target_us(900) == 900
    with pytest.raises(ValueError, match="speed"):
        PacedClock(0)
