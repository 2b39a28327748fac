"""Say what can be traded at which price, and remember what has been taken from the tick in force."""

import json
from dataclasses import dataclass

from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.records import BUY, Tick


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution: so much at this price. Units: points, 10^-8 lots."""

    price: int
    volume: int


@dataclass(frozen=True, slots=True)
class Depth:
    """How much each of some price levels offers."""

    volume: int
    levels: int = 1


ENDLESS = Depth(10**18)


class Liquidity:
    """Count down the lots that a tick offers as they are taken; a new tick brings new ones."""

    def __init__(self, text: str = "{}") -> None:
        self._taken: dict[str, list[int]] = json.loads(text)  # symbol → time and number of the tick, at bid, at ask

    @property
    def text(self) -> str:
        """Return the state as one text, for the file."""
        return json.dumps(self._taken, sort_keys=True)

    def fills(
        self,
        tick: Tick,
        instrument: Instrument,
        side: int,
        volume: int,
        *,
        limit: int | None = None,
        slip: int = 0,
        depth: Depth | None = None,
    ) -> tuple[Fill, ...]:
        """Return the executions of an order now, best price first, at `limit` or better; perhaps not all of it.

        Takes: `slip`: how many ticks worse the first price is than the quoted one; `depth` replaces the tick's own.
        """
        step = instrument.tick_size if side == BUY else -instrument.tick_size
        first = tick.entry_price(side) + slip * step
        if limit is not None and (first - limit) * step > 0:
            first = tick.entry_price(side) if slip else first
        offered = depth or _depth(tick, side)
        if offered is None:
            return (Fill(first, volume),) if limit is None or (first - limit) * step <= 0 else ()
        gone, found = (0 if depth else self.taken(tick, side)), []
        for level in range(offered.levels):
            price, here = first + level * step, max(0, offered.volume - gone)
            gone = max(0, gone - offered.volume)
            if limit is not None and (price - limit) * step > 0:
                break
            here = min(here - here % instrument.volume_step, volume)
            if here:
                found.append(Fill(price, here))
                volume -= here
        return tuple(found)

    def taken(self, tick: Tick, side: int) -> int:
        """Return what has been taken from one side of a tick."""
        row = self._taken.get(tick.symbol)
        return row[2 + (side == BUY)] if row and row[:2] == [tick.time_ms, tick.number] else 0

    def after(self, tick: Tick, side: int, volume: int) -> "Liquidity | None":
        """Return the state after a trade, or None if the tick offers without limit."""
        if _depth(tick, side) is None:
            return None
        row = [tick.time_ms, tick.number, self.taken(tick, 1 - BUY), self.taken(tick, BUY)]
        row[2 + (side == BUY)] += volume
        return Liquidity(json.dumps(self._taken | {tick.symbol: row}))


def _depth(tick: Tick, side: int) -> Depth | None:
    volume = tick.ask_vol if side == BUY else tick.bid_vol
    return Depth(volume, tick.levels) if volume else None
