"""Say when a market is open. Units: minutes of the server's day, Monday is 0."""

from dataclasses import dataclass

DAY_MIN = 1_440
MIN_MS = 60_000
DAY_MS = DAY_MIN * MIN_MS


@dataclass(frozen=True, slots=True)
class Sessions:
    """Hold at most one session per weekday, as (first minute, minute after the last)."""

    by_weekday: tuple[tuple[int, int] | None, ...]

    def is_open(self, server_ms: int) -> bool:
        """Say whether the market is open at a server time."""
        session = self.by_weekday[_weekday(server_ms)]
        return session is not None and session[0] <= server_ms % DAY_MS // MIN_MS < session[1]

    def last_open_ms(self, server_ms: int) -> int:
        """Return the last open millisecond at or before a server time."""
        day_start = server_ms - server_ms % DAY_MS
        for back in range(8):
            start = day_start - back * DAY_MS
            session = self.by_weekday[_weekday(start)]
            if session is not None and start + session[0] * MIN_MS <= server_ms:
                return min(server_ms, start + session[1] * MIN_MS - 1)
        raise AssertionError("a market without any session")


def _weekday(server_ms: int) -> int:
    return (server_ms // DAY_MS + 3) % 7  # the epoch was a Thursday


ALWAYS = Sessions(((0, DAY_MIN),) * 7)
FIVE_DAYS = Sessions((*((0, DAY_MIN),) * 5, None, None))
FIVE_DAYS_FROM_ONE = Sessions((*((60, DAY_MIN),) * 5, None, None))
