"""Let terminals learn later than the broker what has happened."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from trading.brokers.mt5.emulator.faults import Fault
from trading.brokers.mt5.emulator.profiles import BrokerProfile

V = TypeVar("V")
VERSIONS_MAX = 256
NEVER_US = 2**61
MS_US = 1_000
SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Late:
    """How much later than the commit a change shows. Units: microseconds."""

    orders_us: int = 0
    positions_us: int = 0
    history_us: int = 0


NOT_LATE = Late()


@dataclass(slots=True)
class Delayed(Generic[V]):
    """Rows by ticket as they were shown and will be shown: each version from its instant on."""

    _versions: list[tuple[int, dict[int, V]]] = field(default_factory=list)

    def put(self, visible_us: int, rows: dict[int, V]) -> None:
        """Show these rows from an instant on; versions far behind the newest are forgotten."""
        if self._versions and self._versions[-1][1] == rows:
            return
        self._versions.append((visible_us, dict(rows)))
        del self._versions[:-VERSIONS_MAX]

    def at(self, now_us: int) -> dict[int, V]:
        """Return what is shown at an instant."""
        return next((rows for visible_us, rows in reversed(self._versions) if visible_us <= now_us), {})


def late_of(house: BrokerProfile, fault: Fault | None = None) -> Late:
    """Return the delays of the house, or of one fault that makes a single change later than usual."""
    delays = {
        "orders": house.orders_delay_ms * MS_US,
        "positions": house.positions_delay_ms * MS_US,
        "history": house.history_delay_ms * MS_US,
    }
    if fault is not None and fault.name.endswith("_delay"):
        delays[fault.name.removesuffix("_delay")] = round(fault.params["seconds"] * SECOND_US)
    if fault is not None and fault.name == "history_none":
        delays["history"] = NEVER_US
    return Late(delays["orders"], delays["positions"], delays["history"])
