"""What crosses the wire: structures of the terminal to plain data, and plain data to arguments."""

import math
from typing import Any

# JSON numbers are exact only up to here for many readers; tickets and magic numbers go past it.
EXACT_INTEGER_MAX = 2**53

# The integers of a request, and of the keyword arguments of readings, that may arrive as text.
INTEGER_KEYS = frozenset({"magic", "order", "position", "position_by", "ticket", "deviation", "expiration"})


def of_value(value: Any) -> Any:
    """Return `value` as plain data: structures as objects, wide integers as text, what is not finite as null."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= EXACT_INTEGER_MAX else str(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "_asdict"):
        return {name: of_value(item) for name, item in value._asdict().items()}
    names = getattr(getattr(value, "dtype", None), "names", None)
    if names:  # numpy records: prices and ticks
        return [dict(zip(names, map(of_value, row), strict=True)) for row in value.tolist()]
    if isinstance(value, (tuple, list)):
        return [of_value(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no plain form")


def arguments(values: dict[str, Any]) -> dict[str, Any]:
    """Return the keyed arguments with wide integers, which may arrive as text, as integers again."""
    return {
        key: int(value) if key in INTEGER_KEYS and isinstance(value, str) and value.isdecimal() else value
        for key, value in values.items()
    }
