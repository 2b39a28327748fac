"""Play a recording at the present time, again and again: paper trading on a market that somebody has recorded."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from trading.brokers.mt5.emulator.quotes import Quotes
from trading.brokers.mt5.emulator.recordings import RecordedQuotes
from trading.brokers.mt5.emulator.records import Tick

PAUSE_MS = 1_000  # between the last tick and the first


class LoopedQuotes:
    """Quote a tape as if its first tick had been made at `begin_ms`, and begin anew when it ends.

    Where end and beginning differ the price jumps, as after a weekend. Symbols that were not recorded are quoted by
    `others`.
    """

    def __init__(self, tape: RecordedQuotes, begin_ms: int, others: Quotes) -> None:
        self._tape, self._begin_ms, self._others = tape, begin_ms, others
        self._period_ms = tape.last_ms - tape.first_ms + PAUSE_MS

    def at(self, symbol: str, time_ms: int) -> Tick | None:
        """Return the last tick not after `time_ms`."""
        if not self._tape.count(symbol):
            return self._others.at(symbol, time_ms)
        round_, into_ms = divmod(time_ms - self._begin_ms, self._period_ms)
        if round_ < 0:
            return None
        found = self._tape.at(symbol, self._tape.first_ms + into_ms)
        if found is not None:
            return self._moved(found, round_)
        last = self._tape.at(symbol, self._tape.last_ms) if round_ else None
        return self._moved(last, round_ - 1) if last else None

    def between(self, symbol: str, after_ms: int, until_ms: int, limit: int) -> Iterable[Tick]:
        """Return the ticks of the period. Of one that is longer than the tape the newest `limit` are enough."""
        if not self._tape.count(symbol):
            return self._others.between(symbol, after_ms, until_ms, limit)
        ticks = self._ticks(symbol, max(after_ms, until_ms - self._period_ms), until_ms)
        if until_ms - after_ms <= self._period_ms:
            return ticks
        return list(ticks)[-limit:]

    def _ticks(self, symbol: str, after_ms: int, until_ms: int) -> Iterator[Tick]:
        first, last = ((each - self._begin_ms) // self._period_ms for each in (after_ms, until_ms))
        for round_ in range(max(first, 0), last + 1):
            moved_ms = self._begin_ms + round_ * self._period_ms - self._tape.first_ms
            for tick in self._tape.between(symbol, after_ms - moved_ms, until_ms - moved_ms, 0):
                yield self._moved(tick, round_)

    def _moved(self, tick: Tick, round_: int) -> Tick:
        """Return the tick as it is quoted in a round, with a number of its own."""
        moved_ms = self._begin_ms + round_ * self._period_ms - self._tape.first_ms
        number = tick.number + round_ * self._tape.count(tick.symbol)
        return replace(tick, time_ms=tick.time_ms + moved_ms, number=number)
