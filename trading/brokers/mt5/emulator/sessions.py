"""Say when a market is open. Units: minutes of the server's day, Monday is 0."""

from dataclasses import dataclass

DAY_MIN = 1_440
MIN_MS = 60_000
DAY_MS = DAY_MIN * MIN_MS


@dataclass(frozen=True, slots=True)
class Sessions:
    """Hold the sessions of each weekday in their order, as (first minute, minute after the last)."""

    by_weekday: tuple[tuple[tuple[int, int], ...], ...]

    def is_open(self, server_ms: int) -> bool:
        """Say whether the market is open at a server time."""
        minute = server_ms % DAY_MS // MIN_MS
        return any(first <= minute < after for first, after in self.by_weekday[_weekday(server_ms)])

    def last_open_ms(self, server_ms: int) -> int:
        """Return the last open millisecond at or before a server time."""
        day_start = server_ms - server_ms % DAY_MS
        for back in range(8):
            start = day_start - back * DAY_MS
            for first, after in reversed(self.by_weekday[_weekday(start)]):
                if start + first * MIN_MS <= server_ms:
                    return min(server_ms, start + after * MIN_MS - 1)
        raise AssertionError("a market without any session")


def _weekday(server_ms: int) -> int:
    return (server_ms // DAY_MS + 3) % 7  # the epoch was a Thursday


ALL_DAY, FROM_ONE = ((0, DAY_MIN),), ((60, DAY_MIN),)
ALWAYS = Sessions((ALL_DAY,) * 7)
FIVE_DAYS = Sessions((*(ALL_DAY,) * 5, (), ()))
FIVE_DAYS_FROM_ONE = Sessions((*(FROM_ONE,) * 5, (), ()))
