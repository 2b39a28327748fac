"""Tell about symbols, quotes and their past."""

import fnmatch
import importlib
import importlib.util
import itertools
from typing import Any

from trading.brokers.mt5.emulator import arguments, structures, views
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.calls.base import Calls, answering
from trading.brokers.mt5.emulator.failures import INVALID_COUNT, CallError, invalid, invalid_unnamed

numpy: Any = importlib.import_module("numpy") if importlib.util.find_spec("numpy") else None

DATE = (int, float, object)  # judged by `Dates`
TICKS_MAX = 100_000
TICK_COLUMNS = (
    ("time", "<i8"), ("bid", "<f8"), ("ask", "<f8"), ("last", "<f8"), ("volume", "<u8"), ("time_msc", "<i8"),
    ("flags", "<u4"), ("volume_real", "<f8"),
)  # fmt: skip


class MarketCalls(Calls):
    """The functions about symbols and ticks."""

    @answering()
    def symbols_total(self) -> int:
        """Return how many symbols the broker offers."""
        self._enter("symbols_total")
        return len(self._names())

    @answering(failure=False)
    def symbols_get(self, *args: Any, **named: Any) -> tuple[structures.SymbolInfo, ...]:
        """Return the symbols, all or those of a group."""
        if len(args) > 1:
            raise invalid(INVALID_COUNT)
        if args and not isinstance(args[0], str):
            raise invalid_unnamed(0)
        group = args[0] if args else arguments.keywords((), named, group=str).get("group", "*")
        login = self._enter("symbols_get")
        with self._broker.lock:
            names = [name for name in self._names() if in_group(name, group)]
            return tuple(self._symbol(login, name) for name in names)

    @answering()
    def symbol_info(self, *args: Any, **named: Any) -> structures.SymbolInfo:
        """Return one symbol."""
        (name,) = arguments.positional(args, named, str)
        login = self._enter("symbol_info")
        with self._broker.lock:
            return self._symbol(login, name)

    @answering()
    def symbol_info_tick(self, *args: Any, **named: Any) -> structures.Tick:
        """Return the last tick of a watched symbol."""
        (name,) = arguments.positional(args, named, str)
        self._enter("symbol_info_tick")
        self._instrument(name)
        with self._broker.lock:
            quote = self._quote(name) if name in self._terminal.selected else None
            if quote is None:
                raise CallError(mt5.RES_E_FAIL)
            return views.tick(self._broker, quote)

    @answering(failure=False)
    def symbol_select(self, *args: Any, **named: Any) -> bool:
        """Watch a symbol, or stop watching it; one with a position or a working order stays watched."""
        name, enable = arguments.positional((*args, True) if len(args) == 1 else args, named, str, (bool, int))
        login = self._enter("symbol_select")
        self._instrument(name)
        with self._broker.lock:
            books = self._broker.books[login]
            if not enable and (books.of_symbol(name) or books.waiting(name)):
                raise CallError(mt5.RES_E_FAIL)
            self._broker.watch(self._terminal, name, enable=bool(enable))
        return True

    @answering()
    def copy_ticks_from(self, *args: Any, **named: Any) -> object:
        """Return up to `count` ticks from a date on."""
        name, since, count, flags = arguments.positional(args, named, str, DATE, int, int)
        since_s = self._dates.read(since, 1)
        self._enter("copy_ticks_from")
        if not 0 < count <= TICKS_MAX:
            raise CallError(mt5.RES_E_INVALID_PARAMS)
        return self._ticks(name, since_s, None, count, flags)

    @answering()
    def copy_ticks_range(self, *args: Any, **named: Any) -> object:
        """Return the ticks between two dates; more than the terminal can carry is a failure, not a part."""
        name, since, until, flags = arguments.positional(args, named, str, DATE, DATE, int)
        since_s, until_s = self._dates.read(since, 1), self._dates.read(until, 2)
        self._enter("copy_ticks_range")
        return self._ticks(name, since_s, until_s, None, flags)

    def _symbol(self, login: int, name: str) -> structures.SymbolInfo:
        selected = name in self._terminal.selected
        quote = self._quote(name) if selected else None
        return views.symbol(self._broker, self._profile(login), self._instrument(name), quote, selected=selected)

    def _names(self) -> list[str]:
        """Return the symbols that are offered."""
        return [name for name in self._broker.instruments if self._broker.offers(name)]

    def _ticks(self, name: str, since_s: int, until_s: int | None, count: int | None, flags: int) -> object:
        self._instrument(name)
        broker, zone = self._broker, self._broker.zone
        with broker.lock:
            until_ms = broker.now_ms
            if until_s is not None:
                until_ms = min(until_ms, zone.to_utc_ms(until_s * 1_000))
            found = broker.quotes.between(name, zone.to_utc_ms(since_s * 1_000) - 1, until_ms, 2**62)
            if flags == mt5.COPY_TICKS_TRADE:
                found = (tick for tick in found if tick.last)
            rows = list(itertools.islice(found, TICKS_MAX + 1 if count is None else count))
            if len(rows) > TICKS_MAX:
                raise CallError(mt5.RES_E_FAIL)
            plain = [tuple(views.tick_values(broker, row)[column] for column, _ in TICK_COLUMNS) for row in rows]
        return numpy.array(plain, dtype=list(TICK_COLUMNS)) if numpy else plain


def in_group(name: str, group: str) -> bool:
    """Say whether a symbol belongs to a group: a comma list, `*` stands for anything, `!` excludes."""
    included = False
    for part in group.split(","):
        pattern = part.strip()
        excludes = pattern.startswith("!")
        if fnmatch.fnmatchcase(name, pattern.removeprefix("!")):
            included = not excludes
    return included
