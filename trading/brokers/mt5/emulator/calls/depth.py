"""Tell about the past in bars, and about the depth of the market."""

import itertools
from typing import Any

from trading.brokers.mt5.emulator import amounts, arguments, structures
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.calls.base import answering
from trading.brokers.mt5.emulator.calls.market import DATE, MarketCalls, numpy
from trading.brokers.mt5.emulator.candles import TIMEFRAMES, Candle, Timeframe, drawn
from trading.brokers.mt5.emulator.failures import CallError
from trading.brokers.mt5.emulator.zones import DAY_S

BARS_MAX = 100_000
BAR_TICKS_MAX = 300_000  # of a longer span the generator's ticks are sampled evenly, and a tape's are too many
CLOSED_S_MAX = 14 * DAY_S  # no market is closed for longer: what lies beyond the first tick is nothing
BAR_COLUMNS = (
    ("time", "<i8"), ("open", "<f8"), ("high", "<f8"), ("low", "<f8"), ("close", "<f8"), ("tick_volume", "<u8"),
    ("spread", "<i4"), ("real_volume", "<u8"),
)  # fmt: skip


class DepthCalls(MarketCalls):
    """The functions about bars and market depth. Bars are drawn over the ticks that this broker has quoted."""

    @answering()
    def copy_rates_from(self, *args: Any, **named: Any) -> object:
        """Return the `count` bars that end with the one of a date."""
        name, value, until, count = arguments.positional(args, named, str, int, DATE, int)
        until_s = self._dates.read(until, 1)
        frame = self._frame("copy_rates_from", name, value)
        if not 0 < count <= BARS_MAX:
            raise CallError(mt5.RES_E_INVALID_PARAMS)
        return self._packed(name, self._newest(name, frame, until_s, count))

    @answering()
    def copy_rates_from_pos(self, *args: Any, **named: Any) -> object:
        """Return `count` bars into the past, from the one of a number on: 0 is the bar that is being drawn."""
        name, value, start, count = arguments.positional(args, named, str, int, int, int)
        frame = self._frame("copy_rates_from_pos", name, value)
        if start < 0 or not 0 < count <= BARS_MAX - start:
            raise CallError(mt5.RES_E_INVALID_PARAMS)
        found = self._newest(name, frame, self._now_s, start + count)
        return self._packed(name, found[: len(found) - start][-count:])

    @answering()
    def copy_rates_range(self, *args: Any, **named: Any) -> object:
        """Return the bars that begin between two dates, both included."""
        name, value, since, until = arguments.positional(args, named, str, int, DATE, DATE)
        since_s, until_s = self._dates.read(since, 1), self._dates.read(until, 2)
        frame = self._frame("copy_rates_range", name, value)
        found = self._drawn(name, frame, frame.opening(since_s), until_s)
        chosen = [each for each in found if since_s <= each.time_s <= until_s]
        if len(chosen) > BARS_MAX:
            raise CallError(mt5.RES_E_FAIL)
        return self._packed(name, chosen)

    @answering(failure=False)
    def market_book_add(self, *args: Any, **named: Any) -> bool:
        """Open the depth of a symbol; one whose liquidity has no bound has none to show."""
        (name,) = arguments.positional(args, named, str)
        self._enter("market_book_add")
        self._instrument(name)
        if not self._levels(name):
            raise CallError(mt5.RES_E_FAIL)
        self._terminal.depth.add(name)
        return True

    @answering()
    def market_book_get(self, *args: Any, **named: Any) -> tuple[structures.BookInfo, ...]:
        """Return what is offered now, the dearest first, of a symbol whose depth was opened."""
        (name,) = arguments.positional(args, named, str)
        self._enter("market_book_get")
        self._instrument(name)
        if name not in self._terminal.depth:
            raise CallError(mt5.RES_E_FAIL)
        return self._levels(name)

    @answering(failure=False)
    def market_book_release(self, *args: Any, **named: Any) -> bool:
        """Close the depth of a symbol."""
        (name,) = arguments.positional(args, named, str)
        self._enter("market_book_release")
        self._instrument(name)
        if name not in self._terminal.depth:
            raise CallError(mt5.RES_E_FAIL)
        self._terminal.depth.discard(name)
        return True

    def _frame(self, function: str, name: str, value: int) -> Timeframe:
        self._enter(function)
        self._instrument(name)
        if value not in TIMEFRAMES:
            raise CallError(mt5.RES_E_INVALID_PARAMS)
        return Timeframe(value)

    @property
    def _now_s(self) -> int:
        return self._broker.zone.to_server_ms(self._broker.now_ms) // 1_000

    def _newest(self, name: str, frame: Timeframe, until_s: int, wanted: int) -> list[Candle]:
        """Return up to `wanted` bars that begin no later than a date: further back until there are so many."""
        until_s = min(until_s, self._now_s)
        span_s = (wanted + 1) * frame.longest_s
        last_s = span_s + CLOSED_S_MAX + wanted * frame.longest_s
        while True:
            found = self._drawn(name, frame, frame.opening(max(0, until_s - span_s)), until_s)
            if len(found) >= wanted or span_s >= last_s:
                return found[-wanted:]
            span_s = min(2 * span_s + DAY_S, last_s)

    def _drawn(self, name: str, frame: Timeframe, since_s: int, until_s: int) -> list[Candle]:
        """Return the bars from the beginning of one to the end of the one that a date belongs to."""
        broker, zone = self._broker, self._broker.zone
        with broker.lock:
            after_ms = zone.to_utc_ms(since_s * 1_000) - 1
            until_ms = min(broker.now_ms, zone.to_utc_ms(frame.closing(until_s) * 1_000) - 1)
            if until_ms <= after_ms:
                return []
            ticks = broker.quotes.between(name, after_ms, until_ms, BAR_TICKS_MAX)
            rows = list(itertools.islice(ticks, BAR_TICKS_MAX + 2))
        if len(rows) > BAR_TICKS_MAX + 1:
            raise CallError(mt5.RES_E_FAIL)
        return drawn(rows, frame, zone)

    def _packed(self, name: str, candles: list[Candle]) -> object:
        digits = self._instrument(name).digits
        plain = [
            (
                each.time_s, *(amounts.as_float(price, digits) for price in each.prices), each.ticks, each.spread,
                each.volume,
            )
            for each in candles
        ]  # fmt: skip
        return numpy.array(plain, dtype=list(BAR_COLUMNS)) if numpy else plain

    def _levels(self, name: str) -> tuple[structures.BookInfo, ...]:
        with self._broker.lock:
            quote = self._quote(name) if name in self._terminal.selected else None
        if quote is None or not (quote.bid_vol or quote.ask_vol):
            return ()
        instrument = self._instrument(name)
        asks = [(mt5.BOOK_TYPE_SELL, quote.ask, 1, quote.ask_vol), (mt5.BOOK_TYPE_BUY, quote.bid, -1, quote.bid_vol)]
        rows = [
            (kind, best + way * place * instrument.tick_size, lots)
            for kind, best, way, lots in asks
            for place in range(quote.levels)
            if lots
        ]
        return tuple(
            structures.build(structures.BookInfo, {
                "type": kind, "price": amounts.as_float(price, instrument.digits),
                "volume": int(amounts.as_float(lots)), "volume_dbl": amounts.as_float(lots),
            })
            for kind, price, lots in sorted(rows, key=lambda row: -row[1])
        )  # fmt: skip
