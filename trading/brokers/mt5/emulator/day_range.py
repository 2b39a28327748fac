"""Tell the highest and lowest quotes of the server's day, from its script and a look every five minutes."""

from dataclasses import dataclass, field

from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.scripted import ScriptedQuotes
from trading.brokers.mt5.emulator.zones import DAY_S, ServerZone

DAY_MS = DAY_S * 1_000
LOOK_MS = 300_000


@dataclass(slots=True)
class Range:
    """The extremes of one symbol's day so far, in points: looks before `next_ms`, the script up to `script_ms`."""

    day: int
    next_ms: int
    script_ms: int
    open: int = 0
    open_ms: int = 0
    bidhigh: int = 0
    bidlow: int = 0
    askhigh: int = 0
    asklow: int = 0

    def take(self, tick: Tick) -> None:
        """Widen the range to a tick."""
        if not self.open:
            self.bidlow, self.asklow = tick.bid, tick.ask
        if not self.open or tick.time_ms < self.open_ms:
            self.open, self.open_ms = tick.bid, tick.time_ms
        self.bidhigh, self.bidlow = max(self.bidhigh, tick.bid), min(self.bidlow, tick.bid)
        self.askhigh, self.asklow = max(self.askhigh, tick.ask), min(self.asklow, tick.ask)


@dataclass(slots=True)
class DayRanges:
    """The ranges of all symbols."""

    quotes: ScriptedQuotes
    _ranges: dict[str, Range] = field(default_factory=dict)

    def at(self, symbol: str, time_ms: int, zone: ServerZone) -> Range | None:
        """Return the day's range at an instant, None on a day without a quote."""
        day, into_ms = divmod(zone.to_server_ms(time_ms), DAY_MS)
        begin_ms = time_ms - into_ms
        found = self._ranges.get(symbol)
        if found is None or found.day != day or found.next_ms > time_ms + LOOK_MS:
            found = self._ranges[symbol] = Range(day, begin_ms, begin_ms)
        seen = self.quotes.scripted(symbol, found.script_ms - 1, time_ms)
        found.script_ms = time_ms
        while found.next_ms <= time_ms:
            seen += [tick] if (tick := self.quotes.at(symbol, found.next_ms)) else []
            found.next_ms += LOOK_MS
        seen += [last] if (last := self.quotes.at(symbol, time_ms)) else []
        for tick in seen:
            if tick.time_ms >= begin_ms:
                found.take(tick)
        return found if found.open else None
