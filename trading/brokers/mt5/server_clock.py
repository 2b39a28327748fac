"""The server's wall clock against UTC: learned from ticks that move, never assumed of one that stands still.

The venue writes its local time as if it were UTC, usually two or three hours ahead, and changes with the American
daylight dates. A tick that changed between two polls was made just now, so its time shows the offset; unless its feed
is delayed.
"""

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

QUARTER_S = 900
RESIDUAL_S_MAX = 60
POLL_GAP_S_MAX = 300  # a tick that changed within a longer gap may be old
USUAL_OFFSET_S, USUAL_SUMMER_OFFSET_S = 7200, 10800
REMEMBERED_MAX = timedelta(days=120)
OFFSET_S_MAX = 14 * 3600  # no zone is further ahead
WITNESSES_MIN = 2
DAYLIGHT_S = 3600


class ServerClock:
    """What is known of one server's clock. Safe to share between threads.

    A delayed feed shows less than the offset, never more: the first offset is the largest that is shown, and it is
    replaced once two symbols agree on another one. A single symbol may replace what only a single symbol has shown, by
    a larger one, and may show the hour of a daylight change on the days of such changes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset_s: int | None = None
        self._shown_at = 0.0  # when a tick last agreed with the offset
        self._witnesses: set[str] = set()  # symbols that have ever agreed with it
        self._seen: dict[str, tuple[int, float]] = {}  # symbol → tick time in ms, when it was polled
        self._shown: dict[str, tuple[int, float]] = {}  # symbol → the offset that it showed last, and when

    @property
    def offset_s(self) -> int | None:
        """Return by how much the server is ahead of UTC, or None while that is not known."""
        return self._offset_s

    def is_known(self) -> bool:
        """Tell whether the offset is known."""
        return self._offset_s is not None

    def is_doubted(self) -> bool:
        """Tell whether a symbol showed another offset and no two agree with ours: more of them should be looked at."""
        shown = [offset_s for offset_s, _ in list(self._shown.values())]
        return any(each != self._offset_s for each in shown) and shown.count(self._offset_s or 0) < WITNESSES_MIN

    def adopt(self, offset_s: int | None, *, seen_s: float = 0.0) -> None:
        """Take over what somebody else has learned, and saw last then; their not knowing takes nothing away."""
        if offset_s is not None:
            if offset_s != self._offset_s:
                self._witnesses.clear()
            self._offset_s, self._shown_at = offset_s, seen_s

    def observe(self, ticks: dict[str, int], *, utc_s: float) -> bool:
        """Learn from one poll, and tell whether it showed the offset.

        Takes: server time in ms of the newest tick by symbol; the gateway's UTC at the poll.
        """
        with self._lock:
            moved = {symbol for symbol, server_ms in ticks.items() if self._has_moved(symbol, server_ms, utc_s)}
            shown = {symbol: _offset_s(ticks[symbol] / 1000 - utc_s) for symbol in moved}
            self._shown = {
                symbol: (offset_s, at) for symbol, (offset_s, at) in self._shown.items()
                if symbol not in shown and 0 <= utc_s - at <= POLL_GAP_S_MAX
            } | {symbol: (offset_s, utc_s) for symbol, offset_s in shown.items() if offset_s is not None}  # fmt: skip
            if not any(offset_s is not None for offset_s in shown.values()):
                return False
            agreed = self._agreed(utc_s)
            if agreed != self._offset_s:
                self._offset_s = agreed
                self._witnesses.clear()
            self._witnesses |= {symbol for symbol, (offset_s, _) in self._shown.items() if offset_s == agreed}
            if agreed in shown.values():
                self._shown_at = utc_s
            return agreed in shown.values()

    def _has_moved(self, symbol: str, server_ms: int, utc_s: float) -> bool:
        before = self._seen.get(symbol)
        self._seen[symbol] = (server_ms, utc_s)
        return before is not None and server_ms > before[0] and 0 <= utc_s - before[1] <= POLL_GAP_S_MAX

    def _agreed(self, utc_s: float) -> int:
        """Return the largest of the offsets that may hold: the one that does, and those with witnesses enough."""
        witnesses = Counter(offset_s for offset_s, _ in self._shown.values())
        holds = self._offset_s
        if holds is None:
            return max(witnesses)
        may_change = not is_still_valid(seen_s=self._shown_at, now_s=utc_s)
        able = {
            offset_s
            for offset_s, count in witnesses.items()
            if count >= WITNESSES_MIN
            or (offset_s > holds and len(self._witnesses) < WITNESSES_MIN)
            or (may_change and abs(offset_s - holds) == DAYLIGHT_S)
        }
        if witnesses[holds] or not able:
            able.add(holds)
        return max(able)

    def utc(self, server_ms: int) -> datetime:
        """Turn a time of the server into UTC; while the offset is not known, by the usual one."""
        return in_utc(server_ms, self.offset_of(server_ms))

    def offset_of(self, server_ms: int) -> int:
        """Return what `utc` takes off a time of the server now, in seconds."""
        offset_s = self._offset_s
        return _usual_offset_s(server_ms) if offset_s is None else offset_s

    def utc_of_quote(self, server_ms: int) -> datetime:
        """Turn a quote's time into UTC; while the offset is not known, never later than it can be.

        A price that seems too old is refused, and nothing happens; one that seems fresh and is not loses money.
        """
        offset_s = self._offset_s
        return in_utc(server_ms, OFFSET_S_MAX if offset_s is None else offset_s)


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
    at = in_utc(server_ms, 0)
    begins, ends = _sunday(at.year, 3, 2), _sunday(at.year, 11, 1)
    return USUAL_SUMMER_OFFSET_S if begins <= at < ends else USUAL_OFFSET_S


def _sunday(year: int, month: int, nth: int) -> datetime:
    first = datetime(year, month, 1, tzinfo=UTC)
    return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))


def in_utc(server_ms: int, offset_s: int) -> datetime:
    """Return a time of a server that is so many seconds ahead."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=server_ms - 1000 * offset_s)
