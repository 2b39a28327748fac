"""What crosses reconciliation's borders: what a broker showed, what differs, what follows from it."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from nexus.core import money
from reconciliation.states import Action, Impact, Status
from trading.types import AccountSnapshot, CashReport, Conversion, Difference, FillReport

CASH = "CASH"  # the key of the balance, beside those of positions


@dataclass(frozen=True, slots=True)
class Reading:
    """A complete answer of a broker: read twice, the same both times.

    `started_at` is the database's clock before the first question. `as_of` names the newest deal that it shows.
    """

    snapshot: AccountSnapshot
    fills: tuple[FillReport, ...]
    cash: tuple[CashReport, ...]
    started_at: datetime
    as_of: str


@dataclass(frozen=True, slots=True)
class Policy:
    """How differences are judged: settings, as the pure rules see them. Units: USD."""

    review_from: Decimal
    stop_above: Decimal
    synced_max: Decimal  # of automatic corrections in 24 h


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference with its worth. A difference of money has no `position`.

    Units: `value` in USD, None when it cannot be valued; `amount` in account currency, what our books lack.
    `sightings` counts complete runs in a row that found just this, and `is_apart` tells whether this one counts. What
    is busy, as it has just moved or may be moving, is left out for some runs.
    """

    key: str
    symbol: str
    position: Difference | None
    amount: Decimal
    value: Decimal | None
    sightings: int = 1
    is_excluded: bool = False
    is_kept: bool = False
    is_apart: bool = True
    is_busy: bool = False

    @property
    def signature(self) -> str:
        """Return what makes two sightings the same difference: both sides, and never the market's price."""
        if self.position is None:
            return money.as_text(self.amount)
        sides = self.position
        figures = (sides.quantity, sides.price, sides.venue_quantity, sides.venue_price)
        return f"{sides.venue_position_id}|" + "|".join(
            "-" if each is None else money.as_text(each) for each in figures
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a run's findings: D, and an action for each of them, in their order."""

    total: Decimal
    is_unvalued: bool
    actions: tuple[Action, ...]
    stops: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, for whoever asked for it."""

    account_id: int
    account: uuid.UUID
    status: Status
    run_id: uuid.UUID | None = None
    detail: str = ""
    discrepancy_usd: Decimal = Decimal(0)
    is_unvalued: bool = False
    risk_impact: Impact = Impact.LOW
    new_fills: int = 0
    findings: tuple[tuple[Finding, Action], ...] = ()


def as_evidence(difference: Difference) -> dict[str, Any]:
    """Write a difference down for the log, a review or the audit; numbers are texts."""
    figures = {
        name: getattr(difference, name)
        for name in ("quantity", "price", "venue_quantity", "venue_price", "mark", "contract_size")
    }
    return {
        "key": difference.key,
        "symbol": difference.symbol,
        "venue_position_id": difference.venue_position_id,
        **{name: None if figure is None else money.as_text(figure) for name, figure in figures.items()},
        "conversion": None if difference.conversion is None else list(difference.conversion),
    }


def from_evidence(written: dict[str, Any]) -> Difference:
    """Read a difference as `as_evidence` wrote it."""

    def figure(name: str) -> Decimal | None:
        return None if written[name] is None else Decimal(written[name])

    conversion = written["conversion"]
    return Difference(
        key=written["key"],
        symbol=written["symbol"],
        venue_position_id=written["venue_position_id"],
        quantity=Decimal(written["quantity"]),
        price=figure("price"),
        venue_quantity=Decimal(written["venue_quantity"]),
        venue_price=figure("venue_price"),
        mark=figure("mark"),
        contract_size=figure("contract_size"),
        conversion=None if conversion is None else Conversion(*conversion),
    )
