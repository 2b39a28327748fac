"""One fault against one adapter: what the order's sender is told, and what turns out to be true."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from trading.brokers.base import Broker, OrderReport, OrderRequest, VenueState

SETTLE_S, ABSENT_S = 6.0, 1.6
FINAL = frozenset({
    VenueState.FILLED, VenueState.CANCELED, VenueState.EXPIRED, VenueState.REJECTED, VenueState.NEVER_SENT,
})  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One fault as it is injected. `doubles` when the broker itself executes twice, `hides` when it shows no deal."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)
    doubles: bool = False
    hides: bool = False

    def __str__(self) -> str:
        params = " ".join(f"{name}={value}" for name, value in self.params.items())
        return f"`{self.name}`{' ' if params else ''}{params}"


@dataclass(frozen=True)
class Outcome:
    """What the sender was told, what was found afterwards, and what the broker's books say."""

    told: str
    found: OrderReport
    executed: Decimal
    orders: int

    def __str__(self) -> str:
        found = self.found.state.value + (" (stops missing)" if self.found.stops_missing else "")
        return found if self.told in {found, self.found.state.value} else f"{self.told} → {found}"

    def faults_of(self, fault: Fault) -> str:
        """Return what is wrong with this outcome, empty when nothing is."""
        filled = sum((fill.quantity for fill in self.found.fills), Decimal(0))
        if self.orders > 1 + fault.doubles:
            return f"executed {self.orders} times"
        if fault.hides:  # the position alone says that something was executed: it stays open, and is asked for
            return "" if self.found.state is VenueState.WORKING and not filled else f"{self.found.state} without a deal"
        if filled != self.executed:
            return f"we know of {filled} , the broker of {self.executed}"
        if self.found.state not in FINAL | {VenueState.NO_TRACE}:
            return f"still {self.found.state}"
        if self.told.startswith("refused") and self.executed:
            return "refused, and executed"
        return ""


@dataclass
class World:
    """One adapter over one emulator: what is ordered, how a fault is planned and healed, and what the books say.

    `books` returns what was executed, and by how many orders.
    """

    broker: Broker
    order: Callable[[Broker], OrderRequest]
    plan: Callable[[Fault], None]
    heal: Callable[[], None]
    books: Callable[[], tuple[Decimal, int]]


def play(world: World, fault: Fault) -> Outcome:
    """Submit one order under the fault, and ask for it until nothing changes any more."""
    broker = world.broker
    order = world.order(broker)
    sent_at = datetime.now(UTC)
    world.plan(fault)
    told = _tell(broker, order)
    world.heal()
    found = _find(broker, order, sent_at)
    executed, orders = world.books()
    return Outcome(told, found, executed, orders)


def _tell(broker: Broker, order: OrderRequest) -> str:
    try:
        return broker.submit(order).state.value
    except Refused as exc:
        return f"refused {exc.code}{' (halts)' if exc.halts else ''}"
    except Unreachable:
        return "unreachable"
    except OutcomeUnknown:
        return "unknown"


def _find(broker: Broker, order: OrderRequest, sent_at: datetime) -> OrderReport:
    began = time.monotonic()
    report = OrderReport(order.client_order_id, VenueState.NO_TRACE)
    while (elapsed_s := time.monotonic() - began) < SETTLE_S:
        with contextlib.suppress(Unreachable, OutcomeUnknown):
            report = broker.order_report(client_order_id=order.client_order_id, symbol=order.symbol, sent_at=sent_at)
            if report.state in FINAL or (report.state is VenueState.NO_TRACE and elapsed_s > ABSENT_S):
                return report
        time.sleep(0.1)
    return report


def table(
    faults: Sequence[Fault],
    modes: Sequence[str],
    *,
    run: Callable[[str, Fault], Outcome],
    is_possible: Callable[[str, Fault], bool] = lambda _mode, _fault: True,
) -> tuple[str, int]:
    """Play every fault in every mode. Returns the table and how many outcomes are wrong."""
    lines = [f"| fault | {' | '.join(modes)} |", "|---" * (len(modes) + 1) + "|"]
    wrong = 0
    for fault in faults:
        cells = []
        for mode in modes:
            if not is_possible(mode, fault):
                cells.append("")
                continue
            with contextlib.redirect_stdout(io.StringIO()):
                outcome = run(mode, fault)
            problem = outcome.faults_of(fault)
            wrong += bool(problem)
            cells.append(f"{outcome}{f' **{problem}**' if problem else ''}")
        lines.append(f"| {fault} | {' | '.join(cells)} |")
        sys.stderr.write(f"{lines[-1]}\n")
    return "\n".join(lines), wrong
