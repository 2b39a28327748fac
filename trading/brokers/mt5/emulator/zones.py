"""Tell the broker's wall clock, which the package writes as if it were UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

DAY_S, HOUR_S = 86_400, 3_600
LAST_S = 253_402_300_799  # the end of the year 9999: a request may name any number, and later there are no dates


@dataclass(frozen=True, slots=True)
class ServerZone:
    """Add `winter_s` to UTC, and one hour more while the United States keep daylight time, if `us_daylight`."""

    winter_s: int = 7_200
    us_daylight: bool = True

    def offset_s(self, utc_s: int) -> int:
        """Return server time minus UTC at an instant."""
        return self.winter_s + (3_600 if self.us_daylight and _us_daylight(utc_s) else 0)

    def to_server_ms(self, utc_ms: int) -> int:
        """Return server time for an instant."""
        return utc_ms + self.offset_s(utc_ms // 1_000) * 1_000

    def to_utc_ms(self, server_ms: int) -> int:
        """Return the instant of a server time; the hour that happens twice is read as the first time."""
        winter_ms = server_ms - self.winter_s * 1_000
        if self.us_daylight and _us_daylight(winter_ms // 1_000 - 3_600):
            return winter_ms - 3_600_000
        return winter_ms


def _us_daylight(utc_s: int) -> bool:
    """Say whether New York keeps daylight time, which begins and ends with an hour."""
    return _us_daylight_in(utc_s // HOUR_S)


@lru_cache(maxsize=1_024)  # every tick asks
def _us_daylight_in(hour: int) -> bool:
    """Say it of an hour: second Sunday of March 07:00 UTC to first of November 06:00 UTC."""
    utc_s = min(hour * HOUR_S, LAST_S)
    year = datetime.fromtimestamp(utc_s, UTC).year
    begin = _sunday(year, month=3, earliest_day=8) + timedelta(hours=7)
    end = _sunday(year, month=11, earliest_day=1) + timedelta(hours=6)
    return begin.timestamp() <= utc_s < end.timestamp()


def _sunday(year: int, *, month: int, earliest_day: int) -> datetime:
    first = datetime(year, month, earliest_day, tzinfo=UTC)
    return first + timedelta(days=(6 - first.weekday()) % 7)
