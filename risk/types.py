"""What crosses the border between trading, which knows the facts, and risk, which judges them."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nexus.core import money
from risk.states import LimitKind, LimitScope


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit in force, and whose it is."""

    kind: LimitKind
    value: Decimal
    scope: LimitScope


@dataclass(frozen=True, slots=True)
class Exposure:
    """The facts about one order and everything that stands beside it.

    Units: USD, but `position_*` in base units. `is_known` is False when a fact could not be had: then nothing passes.
    """

    loss_today: Decimal
    open_risk: Decimal
    reserved: Decimal
    order_risk: Decimal
    order_value: Decimal
    position_now: Decimal
    position_order: Decimal


@dataclass(frozen=True, slots=True)
class Check:
    """One judgement with its figures: what is allowed, what is used, what this order asks for."""

    name: str
    reason: str  # the reason code when it fails
    passed: bool
    limit: Decimal | None = None
    used: Decimal | None = None
    asked: Decimal | None = None
    unit: str = ""
    scope: str = ""
    detail: str = ""

    @property
    def headroom(self) -> Decimal | None:
        """Return what was left before this order, never below zero."""
        if self.limit is None or self.used is None:
            return None
        return max(Decimal(0), self.limit - self.used)

    def as_dict(self) -> dict[str, Any]:
        """Return the check as it is stored beside the order and shown to people; numbers are texts."""
        figures = {"limit": self.limit, "used": self.used, "asked": self.asked, "headroom": self.headroom}
        return {
            "name": self.name,
            "passed": self.passed,
            "reason": "" if self.passed else self.reason,
            "unit": self.unit,
            "scope": self.scope,
            "detail": self.detail,
            **{name: None if figure is None else money.as_text(figure) for name, figure in figures.items()},
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every check, evaluated; the first that failed gives the reason."""

    checks: tuple[Check, ...]

    @property
    def allowed(self) -> bool:
        """Tell whether every check passed. No check at all is not a pass."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """Return the reason code of the first failure, or an empty text."""
        return next((check.reason for check in self.checks if not check.passed), "")

    def preceded_by(self, checks: Iterable[Check]) -> "Verdict":
        """Return this verdict with `checks` judged before it."""
        return Verdict((*checks, *self.checks))
