"""Replay recorded quotes. A bad row is an error that names its line; no row is ever skipped.

Four formats are read:

* own: `# zone=utc` or `# zone=server`, then the header `time_msc,symbol,bid,ask,last,volume`, perhaps with
  `,bid_vol,ask_vol`: the lots that can be traded at bid and ask, 0 without limit;
* HistData: no header, `YYYYMMDD HHMMSSmmm,bid,ask,volume` in Eastern standard time (UTC-5) all year;
* HistData's minutes, whose cells stand between semicolons: `bars`;
* TrueFX: header `timestamp,bid,ask`, ISO times with their offset.
"""

import csv
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.zones import ServerZone

OWN_HEADER = ["time_msc", "symbol", "bid", "ask", "last", "volume"]
LIQUIDITY_HEADER = [*OWN_HEADER, "bid_vol", "ask_vol"]
TRUEFX_HEADER = ["timestamp", "bid", "ask"]
EASTERN = timezone(timedelta(hours=-5))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RowReader = Callable[[list[str]], tuple[str, int, list[str]]]  # row → symbol, UTC ms, bid ask last volume and lots


class BadRecordingError(ValueError):
    """Name the file and the line that cannot be replayed."""


class RecordedQuotes:
    """Quote from memory what was recorded."""

    def __init__(self, ticks: Iterable[Tick]) -> None:
        self._ticks: dict[str, list[Tick]] = {}
        for tick in ticks:
            self._ticks.setdefault(tick.symbol, []).append(tick)
        self._times = {symbol: [tick.time_ms for tick in rows] for symbol, rows in self._ticks.items()}

    @property
    def first_ms(self) -> int:
        """Return the time of the earliest tick of all."""
        return min(times[0] for times in self._times.values())

    @property
    def last_ms(self) -> int:
        """Return the time of the latest tick of all."""
        return max(times[-1] for times in self._times.values())

    @property
    def total(self) -> int:
        """Return how many ticks there are."""
        return sum(map(len, self._ticks.values()))

    def count(self, symbol: str) -> int:
        """Return how many ticks of a symbol there are."""
        return len(self._ticks.get(symbol, ()))

    def next_ms(self, time_ms: int) -> int | None:
        """Return the time of the first tick after `time_ms`, or None at the end of the tape."""
        later = (times[at] for times in self._times.values() if (at := bisect_right(times, time_ms)) < len(times))
        return min(later, default=None)

    def at(self, symbol: str, time_ms: int) -> Tick | None:
        """Return the last tick not after `time_ms`; of several in one millisecond, the last."""
        index = bisect_right(self._times.get(symbol, []), time_ms)
        return self._ticks[symbol][index - 1] if index else None

    def between(self, symbol: str, after_ms: int, until_ms: int, limit: int) -> Iterable[Tick]:
        """Return every recorded tick of the period: a tape is never thinned out."""
        times = self._times.get(symbol, [])
        return self._ticks.get(symbol, [])[bisect_right(times, after_ms) : bisect_right(times, until_ms)]


def load(
    files: Mapping[str, Path],
    instruments: Mapping[str, Instrument],
    zone: ServerZone,
    *,
    also: Iterable[Tick] = (),
) -> RecordedQuotes:
    """Read one file per symbol; a file in our own format names its symbols itself, under any key.

    Takes: `also`, ticks that come from elsewhere.
    """
    ticks = [*also]
    ticks += [tick for symbol, path in files.items() for tick in read(path, symbol, instruments, zone)]
    if not ticks:
        raise BadRecordingError("the recordings hold no tick")
    return RecordedQuotes(ticks)


def read(path: Path, symbol: str, instruments: Mapping[str, Instrument], zone: ServerZone) -> Iterator[Tick]:
    """Read one file, whichever of the formats it has.

    Raises: BadRecordingError.
    """
    latest: dict[str, Tick] = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        row_reader: RowReader | None = None
        for row in rows:
            try:
                if row_reader is None:
                    row_reader, is_data = _choose(row, rows, symbol, zone)
                    if not is_data:
                        continue
                tick = _tick(*row_reader(row), instruments, latest)
            except (ValueError, KeyError, IndexError, InvalidOperation) as exc:
                raise BadRecordingError(f"{path.name}, line {rows.line_num}: {exc!r} in {','.join(row)!r}") from exc
            latest[tick.symbol] = tick
            yield tick


def _choose(first: list[str], rows: Iterator[list[str]], symbol: str, zone: ServerZone) -> tuple[RowReader, bool]:
    """Tell the format by the first row, and whether that row is already data."""
    if first == TRUEFX_HEADER:
        return lambda row: _truefx(row, symbol), False
    if first in (["# zone=utc"], ["# zone=server"]):
        header = next(rows, None)
        if header not in (OWN_HEADER, LIQUIDITY_HEADER):
            raise ValueError(f"the second line is not {','.join(OWN_HEADER)}")
        to_utc = zone.to_utc_ms if first == ["# zone=server"] else lambda ms: ms
        columns = len(header)
        return lambda row: _own(row, to_utc, columns), False
    return lambda row: _histdata(row, symbol), True


def _own(row: list[str], to_utc: Callable[[int], int], columns: int) -> tuple[str, int, list[str]]:
    if len(row) != columns:
        raise ValueError(f"{len(row)} columns, not {columns}")
    time_msc, symbol, *figures = row
    return symbol, to_utc(int(time_msc)), figures


def _histdata(row: list[str], symbol: str) -> tuple[str, int, list[str]]:
    stamp, bid, ask, volume = row
    if len(stamp) != len("20200101 170000065"):
        raise ValueError("the time is not YYYYMMDD HHMMSSmmm")
    moment = datetime.strptime(stamp + "000", "%Y%m%d %H%M%S%f").replace(tzinfo=EASTERN)
    return symbol, (moment - EPOCH) // timedelta(milliseconds=1), [bid, ask, "0", volume]


def _truefx(row: list[str], symbol: str) -> tuple[str, int, list[str]]:
    stamp, bid, ask = row
    moment = datetime.fromisoformat(stamp)
    if moment.tzinfo is None:
        raise ValueError("the time has no offset")
    return symbol, (moment - EPOCH) // timedelta(milliseconds=1), [bid, ask, "0", "0"]


def _tick(
    symbol: str, time_ms: int, figures: list[str], instruments: Mapping[str, Instrument], latest: Mapping[str, Tick]
) -> Tick:
    """Build the tick, or raise ValueError for what no market could have quoted."""
    instrument, before = instruments[symbol], latest.get(symbol)
    bid, ask, last = (_points(text, instrument) for text in figures[:3])
    volume = int(figures[3])
    if not 0 < bid <= ask:
        raise ValueError("bid and ask are crossed or not positive")
    if before is not None and time_ms < before.time_ms:
        raise ValueError("time runs backwards")
    bid_vol, ask_vol = (amounts.units(text) for text in (figures[4:] or ("0", "0")))
    if min(bid_vol, ask_vol) < 0:
        raise ValueError("negative lots")
    number = before.number + 1 if before else 1
    return Tick(symbol, number, time_ms, bid, ask, last, volume, bid_vol, ask_vol)


def _points(text: str, instrument: Instrument) -> int:
    points = amounts.scaled(Decimal(text), instrument.digits)
    if points is None or points % instrument.tick_size:
        raise ValueError(f"{text} is not a price of {instrument.name}")
    return points
