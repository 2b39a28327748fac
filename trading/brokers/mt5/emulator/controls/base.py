"""Hold one broker, for everything that pulls its strings."""

from dataclasses import fields, is_dataclass
from typing import Any

from trading.brokers.mt5.emulator.broker import Broker


class Strings:
    """One broker, seen from behind the scenes."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @property
    def now_us(self) -> int:
        """Return the broker's present in microseconds of UTC."""
        return self._broker.now_us


def plain(row: object) -> dict[str, Any]:
    """Return a record by the names of its fields."""
    if not is_dataclass(row):
        raise AssertionError(f"{row!r} is no record")
    return {each.name: getattr(row, each.name) for each in fields(row)}
