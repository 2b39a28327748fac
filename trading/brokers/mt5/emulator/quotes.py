"""Make quotes from a seed: the same seed gives the same ticks on every machine.

A tick is a function of its number alone, so that any tick can be had without those before it: the middle price is an
anchor plus waves of several lengths, each drawn between hashed points. This keeps it within `reach` of the anchor (the
reversion), lets it wander like a walk at every scale, and lets a broker that slept for a month wake up in an instant.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.zones import ServerZone

MASK = (1 << 64) - 1
WAVES = ((8, 1), (64, 3), (512, 8), (4_096, 23), (32_768, 64))  # ticks between points, share of the reach
SHARES = sum(share for _, share in WAVES) + 4  # the rest belongs to the gaps
CALM_SLOTS = 1_024  # a period this long is quiet or fast as a whole
GENERATED_LEVELS = 3
KEPT = 1_024  # ticks that are made and asked for again and again: the newest of each symbol at every call
SURE_SLOT = 4  # every 4th slot has its tick, also in quiet periods: no open market looks like a dead one


class Quotes(Protocol):
    """Answer what a symbol was quoted at. Times are milliseconds of UTC."""

    def at(self, symbol: str, time_ms: int) -> Tick | None:
        """Return the tick in force at an instant."""

    def between(self, symbol: str, after_ms: int, until_ms: int, limit: int) -> Iterable[Tick]:
        """Return ticks later than `after_ms` up to `until_ms`, oldest first; thinned out if they exceed `limit`."""


def splitmix64(state: int) -> int:
    """Return the 64-bit hash of a 64-bit counter. Source: Steele, Lea, Flood: Fast splittable generators (2014)."""
    mixed = (state + 0x9E3779B97F4A7C15) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return mixed ^ (mixed >> 31)


class GeneratedQuotes:
    """Quote every instrument, once per slot of `interval_ms` at most, inside its sessions only."""

    def __init__(
        self, seed: int, instruments: Mapping[str, Instrument], zone: ServerZone, interval_ms: int, lots: int = 0
    ) -> None:
        """Take what makes the quotes. Takes: `lots`: how much a price level offers on average, 0 without limit."""
        self._instruments, self._zone, self._interval_ms = instruments, zone, interval_ms
        self._lots = lots
        self._keys = {name: _key(seed, name) for name in instruments}
        self._made: dict[tuple[str, int], Tick | None] = {}

    def at(self, symbol: str, time_ms: int) -> Tick | None:
        """Return the newest tick whose time is not after `time_ms`."""
        instrument = self._instruments[symbol]
        for _ in range(4):  # each round leaves one closed period behind
            slot = self._last_open_ms(instrument, time_ms) // self._interval_ms
            for number in range(slot, slot - SURE_SLOT - 2, -1):
                tick = self._tick(instrument, number)
                if tick is not None and tick.time_ms <= time_ms:
                    return tick
            time_ms = (slot - SURE_SLOT - 1) * self._interval_ms
        raise AssertionError(f"no tick of {symbol} before {time_ms}")

    def between(self, symbol: str, after_ms: int, until_ms: int, limit: int) -> Iterable[Tick]:
        """Return the ticks of the period; a longer one than `limit` slots is sampled evenly, the last tick included."""
        instrument = self._instruments[symbol]
        first, last = after_ms // self._interval_ms, until_ms // self._interval_ms
        stride = -(-(last - first + 1) // limit)
        last_tick = None
        for number in range(first, last + 1, stride):
            tick = self._tick(instrument, number)
            if tick is not None and after_ms < tick.time_ms <= until_ms:
                last_tick = tick
                yield tick
        newest = self.at(symbol, until_ms)
        if newest is not None and newest.time_ms > after_ms and newest != last_tick:
            yield newest

    def _last_open_ms(self, instrument: Instrument, time_ms: int) -> int:
        server_ms = self._zone.to_server_ms(time_ms)
        return min(time_ms, self._zone.to_utc_ms(instrument.sessions.last_open_ms(server_ms)))

    def _tick(self, instrument: Instrument, number: int) -> Tick | None:
        """Return the tick of a slot, or None if the slot is silent or the market closed."""
        name = (instrument.name, number)
        try:
            return self._made[name]
        except KeyError:
            if len(self._made) >= KEPT:
                self._made.clear()
            return self._made.setdefault(name, self._make(instrument, number))

    def _make(self, instrument: Instrument, number: int) -> Tick | None:
        key = self._keys[instrument.name]
        luck = splitmix64(key ^ (number & MASK))
        time_ms = number * self._interval_ms + luck % self._interval_ms
        if not instrument.sessions.is_open(self._zone.to_server_ms(time_ms)):
            return None
        quiet = splitmix64(key + 1 ^ (number // CALM_SLOTS)) % 3 == 0
        if quiet and number % SURE_SLOT and (luck >> 20) % 4:
            return None
        base = instrument.spread // instrument.tick_size
        widening = (luck >> 30) % (base + 1) if (luck >> 40) % 8 == 0 else 0
        bid = instrument.anchor // instrument.tick_size + self._drift(instrument, key, number)
        bid *= instrument.tick_size
        tick = Tick(instrument.name, number, time_ms, bid, bid + (base + widening) * instrument.tick_size)
        return self._limited(tick, instrument, key) if self._lots else tick

    def _limited(self, tick: Tick, instrument: Instrument, key: int) -> Tick:
        """Offer between a half and one and a half of the usual lots on each side, at each of three levels."""
        luck, step = splitmix64(key + 3 ^ (tick.number & MASK)), instrument.volume_step
        sides = (self._lots * (500 + (luck >> shift) % 1_001) // 1_000 for shift in (0, 32))
        bid_vol, ask_vol = (max(step, each - each % step) for each in sides)
        return replace(tick, bid_vol=bid_vol, ask_vol=ask_vol, levels=GENERATED_LEVELS)

    @staticmethod
    def _drift(instrument: Instrument, key: int, number: int) -> int:
        """Return how far the bid stands from the anchor, in whole ticks."""
        reach = instrument.reach // instrument.tick_size
        total = 0
        for period, share in WAVES:
            point, into = divmod(number, period)
            here, there = _height(key, period, point), _height(key, period, point + 1)
            total += share * (here * (period - into) + there * into) // period
        jump = splitmix64(key + 2 ^ (number // 4_093))
        if jump % 4 == 0:  # a gap: the price jumps here and later jumps back
            total += 4 * ((jump >> 8) % 2_001 - 1_000)
        return reach * total // (1_000 * SHARES)


def _height(key: int, period: int, point: int) -> int:
    """Return the hashed height of a wave at one of its points, in thousandths from -1000 to 1000."""
    return splitmix64(key + period ^ (point & MASK)) % 2_001 - 1_000


def _key(seed: int, symbol: str) -> int:
    """Mix seed and name: one 64-bit key per symbol."""
    key = splitmix64(seed & MASK)
    for byte in symbol.encode():
        key = splitmix64(key ^ byte)
    return key
