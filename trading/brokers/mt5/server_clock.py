"""The server's wall clock against UTC: learned from ticks that move, never assumed of one that stands still.

The venue writes its local time as if it were UTC, usually two or three hours ahead, and changes with the American
daylight dates. A tick that changed between two polls was made just now, so its time shows the offset.
"""

import threading
from datetime import UTC, datetime, timedelta

QUARTER_S = 900
RESIDUAL_S_MAX = 60
POLL_GAP_S_MAX = 300  # a tick that changed within a longer gap may be old
USUAL_OFFSET_S, USUAL_SUMMER_OFFSET_S = 7200, 10800
REMEMBERED_MAX = timedelta(days=120)
OFFSET_S_MAX = 14 * 3600  # no zone is further ahead


class ServerClock:
    """What is known of one server's clock. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset_s: int | None = None
        self._seen: dict[str, tuple[int, float]] = {}  # symbol → tick time in ms, when it was polled

    @property
    def offset_s(self) -> int | None:
        """Return by how much the server is ahead of UTC, or None while that is not known."""
        return self._offset_s

    def is_known(self) -> bool:
        """Tell whether the offset is known."""
        return self._offset_s is not None

    def adopt(self, offset_s: int | None) -> None:
        """Take over what somebody else has learned; their not knowing takes nothing away."""
        if offset_s is not None:
            self._offset_s = offset_s

    def observe(self, ticks: dict[str, int], *, utc_s: float) -> bool:
        """Learn from one poll, and tell whether it showed the offset.

        Takes: server time in ms of the newest tick by symbol; the gateway's UTC at the poll.
        """
        with self._lock:
            offsets = set()
            for symbol, server_ms in ticks.items():
                before = self._seen.get(symbol)
                self._seen[symbol] = (server_ms, utc_s)
                if before and server_ms > before[0] and 0 <= utc_s - before[1] <= POLL_GAP_S_MAX:
                    offsets.add(_offset_s(server_ms / 1000 - utc_s))
            if len(offsets) == 1 and (offset := offsets.pop()) is not None:
                self._offset_s = offset
                return True
        return False

    def utc(self, server_ms: int) -> datetime:
        """Turn a time of the server into UTC; while the offset is not known, by the usual one."""
        offset_s = self._offset_s
        return _datetime(server_ms, _usual_offset_s(server_ms) if offset_s is None else offset_s)

    def utc_of_quote(self, server_ms: int) -> datetime:
        """Turn a quote's time into UTC; while the offset is not known, never later than it can be.

        A price that seems too old is refused, and nothing happens; one that seems fresh and is not loses money.
        """
        offset_s = self._offset_s
        return _datetime(server_ms, OFFSET_S_MAX if offset_s is None else offset_s)


def is_still_valid(*, seen_s: float, now_s: float) -> bool:
    """Tell whether an offset that was seen then must hold now: no region's clocks can have changed in between."""
    seen, now = datetime.fromtimestamp(seen_s, UTC), datetime.fromtimestamp(now_s, UTC)
    if not timedelta(0) <= now - seen <= REMEMBERED_MAX:
        return False
    days = {day for year in (seen.year, now.year) for day in _change_days(year)}
    weekend = timedelta(days=1)
    return not any(seen < day + weekend and now >= day - weekend for day in days)


def _change_days(year: int) -> list[datetime]:
    """Return the Sundays on which America or Europe change their clocks."""
    spring, autumn = _sunday(year, 4, 1) - timedelta(days=7), _sunday(year, 11, 1) - timedelta(days=7)
    return [_sunday(year, 3, 2), spring, autumn, _sunday(year, 11, 1)]


def _offset_s(difference_s: float) -> int | None:
    """Round to a quarter of an hour, or return None when the rest is more than latency explains."""
    offset_s = round(difference_s / QUARTER_S) * QUARTER_S
    return offset_s if abs(difference_s - offset_s) <= RESIDUAL_S_MAX else None


def _usual_offset_s(server_ms: int) -> int:
    """Return +3 hours between the American daylight dates (second Sunday of March, first of November), else +2."""
    at = _datetime(server_ms, 0)
    begins, ends = _sunday(at.year, 3, 2), _sunday(at.year, 11, 1)
    return USUAL_SUMMER_OFFSET_S if begins <= at < ends else USUAL_OFFSET_S


def _sunday(year: int, month: int, nth: int) -> datetime:
    first = datetime(year, month, 1, tzinfo=UTC)
    return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))


def _datetime(server_ms: int, offset_s: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=server_ms - 1000 * offset_s)
