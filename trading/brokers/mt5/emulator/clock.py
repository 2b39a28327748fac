"""Tell the broker what time it should be by now. Units: microseconds of UTC."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Mode = Literal["manual", "replay", "wall"]


def wall_us() -> int:
    """Read the machine's clock."""
    return time.time_ns() // 1_000


class Clock(Protocol):
    """Say up to which instant a broker that stands at `now_us` should have lived."""

    @property
    def flows(self) -> bool: ...

    def target_us(self, now_us: int) -> int: ...


@dataclass(frozen=True, slots=True)
class ManualClock:
    """Stand still until somebody advances the broker."""

    flows: bool = False

    def target_us(self, now_us: int) -> int:
        """Return the present unchanged."""
        return now_us


@dataclass(frozen=True, slots=True)
class WallClock:
    """Follow the machine's clock, never backwards."""

    wall: Callable[[], int] = wall_us
    flows: bool = True

    def target_us(self, now_us: int) -> int:
        """Return the wall time, or the present if the machine's clock was set back."""
        return max(now_us, self.wall())


class PacedClock:
    """Let virtual time flow `speed` times as fast as the wall, from wherever the broker stands at the first call."""

    flows = True

    def __init__(self, speed: int, wall: Callable[[], int] = wall_us) -> None:
        if speed < 1:
            raise ValueError(f"speed is a whole factor of 1 or more, not {speed}")
        self._speed, self._wall = speed, wall
        self._anchor: tuple[int, int] | None = None

    def target_us(self, now_us: int) -> int:
        """Return the paced time, never backwards."""
        if self._anchor is None:
            self._anchor = (now_us, self._wall())
        virtual, wall = self._anchor
        return max(now_us, virtual + (self._wall() - wall) * self._speed)
