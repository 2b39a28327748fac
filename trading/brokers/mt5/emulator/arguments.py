"""Judge arguments exactly as the compiled module does, before anything is sent.

Raises everywhere: CallError (-2), or SystemError for integers that do not fit, as the original does.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator.failures import (
    INVALID_ARGUMENTS,
    INVALID_COUNT,
    UNNAMED,
    invalid,
    invalid_named,
    invalid_unnamed,
)
from trading.brokers.mt5.emulator.requests import Request
from trading.brokers.mt5.emulator.structures import TradeRequest

TEXT_UNITS_MAX = 29
DATE_END = 2**31
UNSIGNED_32 = frozenset({"action", "type", "type_filling", "type_time"})
SIGNED_64 = frozenset({"expiration"})


def request(args: tuple[Any, ...], named: Mapping[str, Any]) -> Request:
    """Read a trade request from one dict or from keywords; unknown keys are dropped, missing ones are zero."""
    if len(args) > 1:
        raise invalid(INVALID_COUNT)
    if args and named:
        raise invalid(UNNAMED)
    given = args[0] if args else named
    if not isinstance(given, Mapping) or not given:
        raise invalid(INVALID_ARGUMENTS)
    values: dict[str, Any] = {}
    for name, kind in TradeRequest.FIELDS.items():
        if name in given:
            values[name] = _field(name, kind, given[name])
    return Request(**values)


def _field(name: str, kind: type, value: object) -> int | str | Decimal:
    if kind is float and isinstance(value, float):
        return amounts.exact(value)
    if kind is str and isinstance(value, str) and fits_text(value):
        return str(value)
    if kind is int and isinstance(value, int):
        low, high = (-(2**63), 2**63) if name in SIGNED_64 else (0, 2**32 if name in UNSIGNED_32 else 2**64)
        return fitting(value, low, high)
    raise invalid_named(name)


def fits_text(text: str) -> bool:
    """Say whether a comment or symbol is short enough; characters beyond the basic plane count twice."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2 <= TEXT_UNITS_MAX


def fitting(value: int, low: int, high: int) -> int:
    """Return the value if `low <= value < high`, or raise the SystemError of the original."""
    if not low <= value < high:
        overflow = OverflowError("Python int too large to convert to C integer")
        raise SystemError("<built-in function> returned a result with an exception set") from overflow
    return int(value)


def positional(args: tuple[Any, ...], named: Mapping[str, Any], *kinds: type | tuple[type, ...]) -> tuple[Any, ...]:
    """Check arguments that must come unnamed, one kind each."""
    if named:
        raise invalid(INVALID_ARGUMENTS)
    if len(args) != len(kinds):
        raise invalid(INVALID_COUNT)
    for index, (value, kind) in enumerate(zip(args, kinds, strict=True)):
        if not isinstance(value, kind):
            raise invalid_unnamed(index)
    return args


def keywords(args: tuple[Any, ...], named: Mapping[str, Any], **kinds: type) -> dict[str, Any]:
    """Check arguments that must come named. Names that the module does not know are refused too."""
    if args:
        raise invalid(UNNAMED)
    if named.keys() - kinds.keys():
        raise invalid(INVALID_ARGUMENTS)
    for name, kind in kinds.items():
        if name not in named:
            continue
        if not isinstance(named[name], kind):
            raise invalid_named(name)
        if kind is int:
            fitting(named[name], 0, 2**64)
    return dict(named)


class Dates:
    """Read date arguments as seconds of server time; a zero leaves a bound as the call before left it."""

    def __init__(self, *, strict: bool, host_offset_s: int) -> None:
        self._strict = strict
        self._host = timezone(timedelta(seconds=host_offset_s)) if host_offset_s else UTC
        self._bounds: dict[int, int] = {}

    def read(self, value: object, index: int) -> int:
        """Read the date argument at a position."""
        seconds = self._seconds(value, index)
        if seconds:
            self._bounds[index] = seconds
            return seconds
        if self._strict:
            raise AssertionError("date 0 is ignored by the package and leaves the bound undefined")
        return self._bounds.get(index, 0)

    def _seconds(self, value: object, index: int) -> int:
        if isinstance(value, int):
            return fitting(value, 0, DATE_END)
        if isinstance(value, datetime):
            moment = value if value.tzinfo else value.replace(tzinfo=self._host)
            value = moment.timestamp()
        if isinstance(value, float) and 0 <= value < DATE_END:
            return int(value)
        raise invalid_unnamed(index)
