"""Bars over ticks, as the terminal draws them: by bid, in the server's wall clock, none where nothing was quoted."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.zones import DAY_S, ServerZone

MINUTE_S = 60
HOURLY = 1 << 14  # this bit says hours, below it are minutes
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SUNDAY = 4  # 1 January 1970 was a Thursday: four days later a week of the terminal began
TIMEFRAMES = frozenset(value for name, value in vars(mt5).items() if name.startswith("TIMEFRAME_"))


@dataclass(slots=True)
class Candle:
    """One bar. Units: server seconds, and points."""

    time_s: int
    open: int
    high: int
    low: int
    close: int
    ticks: int
    spread: int
    volume: int

    @property
    def prices(self) -> tuple[int, int, int, int]:
        """Return open, high, low and close."""
        return self.open, self.high, self.low, self.close


@dataclass(frozen=True, slots=True)
class Timeframe:
    """How long a bar lasts, and where it begins."""

    value: int

    def opening(self, server_s: int) -> int:
        """Return when the bar begins that an instant belongs to."""
        if self.value == mt5.TIMEFRAME_MN1:
            return int((EPOCH + timedelta(seconds=server_s)).replace(day=1, hour=0, minute=0, second=0).timestamp())
        if self.value == mt5.TIMEFRAME_W1:
            day = server_s // DAY_S
            return (day - (day + SUNDAY) % 7) * DAY_S
        return server_s - server_s % self.longest_s

    def closing(self, server_s: int) -> int:
        """Return when the bar ends that an instant belongs to."""
        return self.opening(self.opening(server_s) + self.longest_s)

    @property
    def longest_s(self) -> int:
        """Return how long a bar lasts at the most."""
        if self.value == mt5.TIMEFRAME_MN1:
            return 31 * DAY_S
        if self.value == mt5.TIMEFRAME_W1:
            return 7 * DAY_S
        return self.value % HOURLY * (3_600 if self.value & HOURLY else MINUTE_S)


def drawn(ticks: Iterable[Tick], frame: Timeframe, zone: ServerZone) -> list[Candle]:
    """Return the bars of ticks that are in the order of time."""
    candles: list[Candle] = []
    ends_s = 0
    for tick in ticks:
        server_s = zone.to_server_ms(tick.time_ms) // 1_000
        if not candles or server_s >= ends_s:  # in autumn the clock goes back: the hour belongs to the bar before
            began_s, ends_s = frame.opening(server_s), frame.closing(server_s)
            candles.append(Candle(began_s, tick.bid, tick.bid, tick.bid, tick.bid, 0, 0, 0))
        last = candles[-1]
        last.high, last.low, last.close = max(last.high, tick.bid), min(last.low, tick.bid), tick.bid
        last.ticks, last.spread, last.volume = last.ticks + 1, tick.ask - tick.bid, last.volume + tick.volume
    return candles
