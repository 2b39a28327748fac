"""Read bars as ticks: a month of minutes in HistData's format, four ticks a bar.

A line is `YYYYMMDD HHMMSS;open;high;low;close;volume` in Eastern standard time (UTC-5) all year; prices are bids. A bar
that rose is taken to have seen its low first, one that fell its high: what happened within a minute nobody recorded.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.recordings import EASTERN, EPOCH, BadRecordingError
from trading.brokers.mt5.emulator.records import Tick

QUARTER_MS = 15_000
COLUMNS = 6


def are_bars(path: Path) -> bool:
    """Tell by its first line whether a file holds bars."""
    with path.open(encoding="utf-8") as file:
        return ";" in file.readline()


def read(path: Path, symbol: str, instruments: Mapping[str, Instrument]) -> Iterator[Tick]:
    """Read a file of bars, with the symbol's usual spread. Raises: BadRecordingError, which names the line."""
    instrument, number, before_ms = instruments[symbol], 0, -1
    with path.open(encoding="utf-8") as file:
        for line_number, line in enumerate(file, start=1):
            try:
                at_ms, bids = _bar(line.strip().split(";"), instrument)
                if at_ms <= before_ms:
                    raise ValueError("time runs backwards")
            except (ValueError, InvalidOperation) as exc:
                raise BadRecordingError(f"{path.name}, line {line_number}: {exc!r} in {line.strip()!r}") from exc
            before_ms = at_ms
            for quarter, bid in enumerate(bids):
                number += 1
                yield Tick(symbol, number, at_ms + quarter * QUARTER_MS, bid, bid + instrument.spread)


def _bar(cells: list[str], instrument: Instrument) -> tuple[int, tuple[int, int, int, int]]:
    if len(cells) != COLUMNS:
        raise ValueError(f"{len(cells)} columns, not {COLUMNS}")
    moment = datetime.strptime(cells[0], "%Y%m%d %H%M%S").replace(tzinfo=EASTERN).astimezone(UTC)
    opened, high, low, closed = (_points(text, instrument) for text in cells[1:5])
    if not 0 < low <= min(opened, closed) <= max(opened, closed) <= high:
        raise ValueError("low and high do not enclose the bar")
    way = (low, high) if closed >= opened else (high, low)
    return (moment - EPOCH) // timedelta(milliseconds=1), (opened, *way, closed)


def _points(text: str, instrument: Instrument) -> int:
    points = amounts.scaled(Decimal(text), instrument.digits)
    if points is None or points % instrument.tick_size:
        raise ValueError(f"{text} is not a price of {instrument.name}")
    return points
