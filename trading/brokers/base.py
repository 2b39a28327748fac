"""One protocol for every venue, small enough to remember, in our words and no vendor's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol


class Side(StrEnum):
    """Which way an order or a position looks."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def direction(self) -> int:
        """Return +1 for a buy and −1 for a sell, as formulas want it."""
        return 1 if self is Side.BUY else -1


class PositionMode(StrEnum):
    """How an account keeps its positions."""

    NETTING = "NETTING"
    HEDGING = "HEDGING"


class VenueState(StrEnum):
    """What a venue says has become of one order of ours."""

    WORKING = "WORKING"  # accepted and live; it may have fills already
    FILLED = "FILLED"  # nothing left to fill
    CANCELED = "CANCELED"  # closed with a rest, for whatever reason but time
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"  # refused for certain; nothing was executed
    NEVER_SENT = "NEVER_SENT"  # proven: the request never reached the venue, and now it never can
    NO_TRACE = "NO_TRACE"  # one complete search, link up throughout, found nothing; not yet a proof


class FillKind(StrEnum):
    """Why a fill happened."""

    ORDER = "ORDER"  # an order of ours, or anybody's ordinary order
    STOP_LOSS = "STOP_LOSS"
    TAKE_PROFIT = "TAKE_PROFIT"
    STOP_OUT = "STOP_OUT"
    OTHER = "OTHER"  # rollover, split, correction: booked as it is


@dataclass(frozen=True, slots=True)
class Link:
    """How to reach one account at one venue. `settings` holds what the adapter alone understands (address, server)."""

    venue: str
    account: str
    settings: dict[str, str]


@dataclass(frozen=True, slots=True)
class Quote:
    """The price now. `at` is the source's own time in UTC, never the time of asking.

    Units: prices in the instrument's quote currency.
    """

    symbol: str
    bid: Decimal
    ask: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class Instrument:
    """What can be traded and in which steps.

    Units: quantities in lots, `contract_size` in base units a lot, `tick_size` in price, `stops_distance_min` in price.
    """

    symbol: str
    base_currency: str
    profit_currency: str
    margin_currency: str
    contract_size: Decimal
    tick_size: Decimal
    digits: int
    quantity_min: Decimal
    quantity_max: Decimal
    quantity_step: Decimal
    stops_distance_min: Decimal
    is_tradable: bool


@dataclass(frozen=True, slots=True)
class VenuePosition:
    """One position as the venue holds it. `venue_position_id` never changes while the position lives."""

    venue_position_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price_open: Decimal
    price_current: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    profit: Decimal  # floating, swap included, in account currency
    swap: Decimal
    client_order_id: str  # of the order that opened it; empty when it is not ours
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """The account, its positions and the quotes asked for, read from the venue as one unit.

    Units: amounts in `currency`.
    """

    account: str
    currency: str
    mode: PositionMode
    is_live: bool
    balance: Decimal
    equity: Decimal
    margin_used: Decimal
    margin_free: Decimal
    leverage: int
    positions: tuple[VenuePosition, ...]
    quotes: dict[str, Quote]


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order to send, once. `client_order_id` is ours, unique for ever, and travels with it.

    Units: `quantity` in lots; `price_limit` is the worst price the caller accepts (the collar), or None.
    """

    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    reference_price: Decimal
    deviation: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None


@dataclass(frozen=True, slots=True)
class FillReport:
    """One execution. `venue_fill_id` is the only key that makes two reports the same fill.

    Units: `quantity` in lots; `commission`, `swap`, `fee` and `profit` in account currency, negative when we pay.
    """

    venue_fill_id: str
    venue_order_id: str
    venue_position_id: str
    client_order_id: str  # empty when the fill carries no id of ours
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal
    swap: Decimal
    fee: Decimal
    profit: Decimal
    kind: FillKind
    filled_at: datetime  # UTC


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What the venue knows of one order of ours, with every fill it has of it so far."""

    client_order_id: str
    state: VenueState
    venue_order_id: str = ""
    fills: tuple[FillReport, ...] = ()
    reason: str = ""  # the venue's own words for a refusal
    code: str = ""  # the venue's own code


class Broker(Protocol):
    """One account at one venue, in our words.

    Raises: Refused, Unreachable or OutcomeUnknown (`nexus.core.errors`), and nothing else.
    """

    def snapshot(self, *, symbols: Sequence[str]) -> AccountSnapshot:
        """Read the account, its positions and the quotes of `symbols` as one unit, or raise."""
        ...

    def instrument(self, *, symbol: str) -> Instrument:
        """Read one instrument. Raises: Refused when the venue does not know it."""
        ...

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send the order, exactly once for its `client_order_id` however often this is called.

        Raises: Refused for a definitive refusal, Unreachable when nothing left us, OutcomeUnknown for all else.
        """
        ...

    def order_report(self, *, client_order_id: str, sent_at: datetime) -> OrderReport:
        """Search the venue for the order, over a padded window around `sent_at`.

        A report of `NO_TRACE` comes only from a complete search. Raises: Unreachable or OutcomeUnknown when the
        search was not complete: that proves nothing.
        """
        ...

    def fills_since(self, at: datetime) -> Sequence[FillReport]:
        """Read every trade fill of the account since `at`, ours or not; repeats are harmless."""
        ...
