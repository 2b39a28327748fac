"""What crosses the border between trading, which knows the facts, and risk, which judges them."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from nexus.core import money
from risk.states import LimitKind, LimitScope, StopLevel, Suspicion


@dataclass(frozen=True, slots=True)
class Unknown:
    """A fact that could not be had, and the reason code for it. What cannot be known is refused."""

    reason: str
    detail: str = ""


Figure = Decimal | Unknown
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit in force, and whose it is."""

    kind: LimitKind
    value: Decimal
    scope: LimitScope


@dataclass(frozen=True, slots=True)
class Context:
    """What the door knows of the caller, beside who it is. A door that knows nothing says nothing.

    `network` is the address the request came from; `stepped_up` tells that the second factor was shown just now;
    `is_sweep` that the sweep of a stop closes a position, which nothing but the market may hold back. `process` names
    what of ours asks, and nobody's hand: it only takes risk away, whatever its owner may do now. `is_request` tells
    that a door of the API asks, which is told that it asks too often instead of being given an order that was refused.
    """

    network: str | None = None
    stepped_up: bool = False
    is_sweep: bool = False
    process: str = ""
    is_request: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks, for which account (group 1)."""

    user_is_active: bool
    may_trade: bool
    account_is_usable: bool  # the user's own, and not put aside
    account_is_live: bool
    stepped_up: bool = False
    is_armed: bool = False  # an account with real money takes new exposure only while its owner has armed it
    knows_network: bool | None = None  # None: nobody can tell, or nobody had to


@dataclass(frozen=True, slots=True)
class Stop:
    """The strictest stop that covers the order (group 2)."""

    level: StopLevel
    scope: str
    reason: str
    is_sweep: bool = False  # the order is the stop's own: it closes what the stop is to close


@dataclass(frozen=True, slots=True)
class Freshness:
    """How well the broker and the account are known now (group 3). An empty fault is none."""

    broker_fault: str
    broker_detail: str
    snapshot_age_s: Figure
    sight_age_s: Figure  # since the account was last looked at with success
    lost_orders: str  # those on the instrument, and changes of netted stops, of which nobody knows whether they arrived


@dataclass(frozen=True, slots=True)
class Shape:
    """What is wrong with the order itself, as a reason code, or nothing (group 4)."""

    symbol_fault: str
    quantity_fault: str
    price_fault: str
    instrument_is_tradable: bool
    entry_fault: str  # of the price that a pending order waits at
    stops_fault: str
    reduction_fault: str = ""


@dataclass(frozen=True, slots=True)
class Market:
    """The quote around the order (group 6). `collar_used` is |price − reference| / reference, 0 without a price."""

    quote_fault: str
    quote_detail: str
    collar_used: Figure
    conversion_fault: str
    conversion_detail: str = ""
    implausible: str = ""  # what is set for the instrument says that nobody can have meant this quote


@dataclass(frozen=True, slots=True)
class Exposure:
    """What one order adds to everything that stands beside it (groups 7 to 10).

    Units: USD; `position_*` in base units, `*quantity` and `*one_way*` in lots, `positions_now` counted.
    """

    order_quantity: Decimal
    venue_quantity_max: Decimal | None  # None where nobody asks about an instrument
    order_value: Figure
    order_risk: Figure
    position_order: Figure
    position_now: Figure
    positions_now: Figure
    loss_today: Figure
    open_risk: Figure
    reserved: Decimal
    margin_required: Figure
    margin_working: Figure
    margin_free: Figure
    venue_one_way_max: Decimal | None = None  # None where the venue sets none
    one_way_now: Figure = Decimal(0)  # on one account: held and waiting, less what the order would first close
    aside: Decimal = Decimal(0)  # what of `loss_today` was lost, or may still be, on accounts that were put aside


@dataclass(frozen=True, slots=True)
class Usage:
    """What the user has done until now, read under the lock of the user's day (groups 5, 9 and 11)."""

    orders_today: Decimal
    orders_this_hour: Decimal
    orders_last_second: Decimal
    quantity_today: Figure
    value_today: Figure
    twins: Decimal  # the same order, admitted within the duplicate window
    failures: int  # how many of the newest closed orders the broker rejected, in a row
    failed_ago_s: Decimal | None
    burst: int
    opposites: int
    past_orders: int
    past_value: Decimal


@dataclass(frozen=True, slots=True)
class Policy:
    """How the rules are tuned: settings, as the pure rules see them."""

    snapshot_age_max_s: Decimal
    sight_age_max_s: Decimal
    duplicate_window_s: int
    margin_buffer: Decimal
    cooldown_s: int
    cooldown_failures: int
    burst_orders: int
    burst_window_s: int
    opposite_window_s: int
    unusual_size_factor: Decimal
    unusual_size_orders: int  # fewer than these are no history
    network_value: Decimal  # USD, from which a trade is large
    reviewed: frozenset[Suspicion]
    cleared: frozenset[Suspicion] = frozenset()  # of these a person has said that they are the user's own


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that one judgement rests on. What could not be had is in it as `Unknown`, never left out.

    `is_reducing` is said of an order that was verified to reduce a position and nothing else: limits on exposure do
    not hold it back.
    """

    access: Access
    stop: Stop
    freshness: Freshness
    shape: Shape
    market: Market
    exposure: Exposure
    usage: Usage
    limits: Mapping[LimitKind, Limit]
    policy: Policy
    is_reducing: bool = False


class Check(NamedTuple):
    """One judgement with its figures: what is allowed, what is used, what this order asks for.

    An order has some forty: as frozen dataclasses they took three times as long to make.
    """

    name: str
    reason: str  # the reason code when it fails
    passed: bool
    limit: Decimal | None = None
    used: Decimal | None = None
    asked: Decimal | None = None
    unit: str = ""
    scope: str = ""
    detail: str = ""
    suspicion: Suspicion | None = None  # people are told, also when it passed

    @property
    def headroom(self) -> Decimal | None:
        """Return what was left before this order, never below zero."""
        if self.limit is None or self.used is None:
            return None
        return max(ZERO, self.limit - self.used)

    def as_dict(self) -> dict[str, Any]:
        """Return the check as it is stored beside the order and shown to people; numbers are texts."""
        return {
            "name": self.name,
            "passed": self.passed,
            "reason": "" if self.passed else self.reason,
            "unit": self.unit,
            "scope": self.scope,
            "detail": self.detail,
            "limit": _as_text(self.limit),
            "used": _as_text(self.used),
            "asked": _as_text(self.asked),
            "headroom": _as_text(self.headroom),
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

    @property
    def suspicions(self) -> tuple[Check, ...]:
        """Return what people are to be told of."""
        return tuple(check for check in self.checks if check.suspicion is not None)


@dataclass(frozen=True, slots=True)
class Reduction:
    """The position that an order says it reduces.

    Units: lots. `pending` is what other orders already take from it; `fault` why it cannot be reduced now at all.
    """

    volume: Decimal
    pending: Decimal
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Precondition:
    """One thing that must hold before a stop is eased, and what was found."""

    name: str
    passed: bool
    detail: str

    def as_dict(self) -> dict[str, object]:
        """Return the check as it is stored and shown."""
        return {"name": self.name, "passed": self.passed, "detail": self.detail}


def _as_text(figure: Decimal | None) -> str | None:
    return None if figure is None else money.as_text(figure)
