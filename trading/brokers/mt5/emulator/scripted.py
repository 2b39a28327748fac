"""Lay single ticks, set by a test, over another source of quotes."""

import heapq
from bisect import bisect_right
from collections.abc import Iterable

from trading.brokers.mt5.emulator.quotes import Quotes
from trading.brokers.mt5.emulator.records import Tick


class ScriptedQuotes:
    """Answer with the newer of the last scripted tick and the last tick beneath."""

    def __init__(self, beneath: Quotes | None, script: Iterable[Tick] = ()) -> None:
        self._beneath = beneath
        self._ticks: dict[str, list[Tick]] = {}
        self.rewrite(script)

    def rewrite(self, script: Iterable[Tick]) -> None:
        """Replace the whole script."""
        self._ticks.clear()
        for tick in sorted(script, key=lambda each: each.time_ms):
            self.add(tick)

    def add(self, tick: Tick) -> None:
        """Append a tick, not older than the last of its symbol."""
        rows = self._ticks.setdefault(tick.symbol, [])
        if rows and tick.time_ms < rows[-1].time_ms:
            raise AssertionError("a script runs forwards")
        rows.append(tick)

    def last_scripted(self, symbol: str) -> Tick | None:
        """Return the newest scripted tick of a symbol."""
        return self._ticks[symbol][-1] if symbol in self._ticks else None

    def scripted(self, symbol: str, after_ms: int, until_ms: int) -> list[Tick]:
        """Return the ticks of the script alone."""
        rows = self._ticks.get(symbol, [])
        first, last = (bisect_right(rows, each, key=lambda tick: tick.time_ms) for each in (after_ms, until_ms))
        return rows[first:last]

    def at(self, symbol: str, time_ms: int) -> Tick | None:
        """Return the tick in force; on equal times the script wins."""
        rows = self._ticks.get(symbol, [])
        index = bisect_right(rows, time_ms, key=lambda tick: tick.time_ms)
        scripted = rows[index - 1] if index else None
        below = self._beneath.at(symbol, time_ms) if self._beneath else None
        if scripted is None or (below is not None and below.time_ms > scripted.time_ms):
            return below
        return scripted

    def between(self, symbol: str, after_ms: int, until_ms: int, limit: int) -> Iterable[Tick]:
        """Return the ticks of both sources in the order of time."""
        scripted = self.scripted(symbol, after_ms, until_ms)
        below = self._beneath.between(symbol, after_ms, until_ms, limit) if self._beneath else ()
        return heapq.merge(below, scripted, key=lambda tick: tick.time_ms)
