"""One protocol for every venue, small enough to remember, in our words and no vendor's."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol, TypeAlias

from nexus.core.errors import Unreachable
from trading.states import CashKind, FillKind, OrderType, PositionMode, Side, TimeInForce, VenueState
from trading.types import (
    AccountSnapshot,
    CashReport,
    FillReport,
    Instrument,
    Link,
    MarginQuestion,
    Mark,
    News,
    OrderChange,
    OrderReport,
    OrderRequest,
    ProfitQuestion,
    Quote,
    StopsChange,
    VenueOrder,
    VenuePosition,
)

__all__ = [
    "AccountSnapshot",
    "Broker",
    "CashKind",
    "CashReport",
    "FillKind",
    "FillReport",
    "Instrument",
    "Link",
    "MarginQuestion",
    "Mark",
    "News",
    "OrderChange",
    "OrderReport",
    "OrderRequest",
    "OrderType",
    "PositionMode",
    "ProfitQuestion",
    "Purpose",
    "Quote",
    "Side",
    "StopsChange",
    "TimeInForce",
    "VenueOrder",
    "VenuePosition",
    "VenueState",
    "answering",
    "at_once",
    "is_patient",
    "patiently",
    "purpose",
    "require_in_time",
    "sharing",
    "time_left",
]

Purpose: TypeAlias = Literal["CLOSE", "PROTECT"]  # a close or cancel, a change of stops: what takes risk away

_answer_by: ContextVar[float] = ContextVar("answer_by", default=math.inf)  # by this process's steady clock
_purpose: ContextVar[Purpose | None] = ContextVar("purpose", default=None)
_at_once: ContextVar[int | None] = ContextVar("at_once", default=None)


@contextmanager
def answering(*, within_s: float, at_once: int | None = None) -> Iterator[None]:
    """Let all that is read inside be over within this time: somebody waits for an answer. What is sent has its own.

    Takes: how many such requests of this process may wait for brokers at once (`waits.py`), if not as outside.
    """
    tokens = _answer_by.set(time.monotonic() + within_s), _at_once.set(at_once or _at_once.get())
    try:
        yield
    finally:
        _answer_by.reset(tokens[0])
        _at_once.reset(tokens[1])


@contextmanager
def sharing(*, most_s: float = math.inf) -> Iterator[None]:
    """Leave half of the time that is left to those who are asked afterwards: one that hangs hides no other. Takes: how
    long it may be at most.
    """
    with answering(within_s=min(most_s, (_answer_by.get() - time.monotonic()) / 2)):
        yield


@contextmanager
def patiently(*, within_s: float, purpose: Purpose = "CLOSE") -> Iterator[None]:
    """Give all of this time to what is read inside, and ask also whoever let others wait in vain a moment ago: it is to
    take risk away, and late is better than not at all. Takes: whether for a close or cancel, or for a change of stops.
    """
    tokens = _answer_by.set(max(_answer_by.get(), time.monotonic() + within_s)), _purpose.set(purpose)
    try:
        yield
    finally:
        _answer_by.reset(tokens[0])
        _purpose.reset(tokens[1])


def at_once() -> int | None:
    """Return how many requests of this process may wait for brokers at once; None where nobody waits for an answer."""
    return _at_once.get()


def is_patient() -> bool:
    """Tell whether what is read now is to take risk away."""
    return _purpose.get() is not None


def purpose() -> Purpose | None:
    """Return for what is read now, when it is to take risk away."""
    return _purpose.get()


def time_left(deadline_s: float) -> float:
    """Return how long a reading with such a deadline may take now. Raises: Unreachable when no time is left."""
    left_s = min(deadline_s, _answer_by.get() - time.monotonic())
    if left_s <= 0:
        raise Unreachable("there is no time left to ask before the answer is due")
    return left_s


def require_in_time(send_by_s: float | None) -> None:
    """Send nothing after its time: others may have been told by then that it never was. Raises: Unreachable."""
    if send_by_s is not None and time.monotonic() > send_by_s:
        raise Unreachable("it was held up for too long after it was marked, and is not sent")


class Broker(Protocol):
    """One account at one venue, in our words.

    Raises: Refused, Unreachable or OutcomeUnknown (`nexus.core.errors`), and nothing else.
    """

    def snapshot(
        self, *, symbols: Sequence[str], margin: MarginQuestion | None = None, profit: ProfitQuestion | None = None
    ) -> AccountSnapshot:
        """Read the account, its positions and orders and the quotes of `symbols` as one unit, or raise.

        A symbol that the venue does not offer, or has no price for, is left out of the quotes: it hides nothing else.
        Takes: questions on `margin` and `profit` about one of `symbols`, which a venue may leave to the methods of
        those names.
        """
        ...

    def instrument(self, *, symbol: str) -> Instrument:
        """Read one instrument. Raises: Refused when the venue does not know it."""
        ...

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send the order, exactly once for its `client_order_id` however often this is called.

        After its `send_by_s` nothing leaves us: it may be proven absent.
        Raises: Refused for a definitive refusal, Unreachable when nothing left us, OutcomeUnknown for all else.
        """
        ...

    def cancel(self, *, cancel_id: str, venue_order_id: str) -> None:
        """Ask the venue to cancel a working order, once for its `cancel_id`. Only `order_report` proves that it did.

        Repeating it never cancels twice: it returns or raises what is known of the first.

        Raises: Refused (too late, unknown there), Unreachable when nothing left us, OutcomeUnknown for all else.
        """
        ...

    def change_order(self, change: OrderChange) -> None:
        """Change a working order, once for its `change_id`. Its `venue_order_id` stays, whatever the venue does inside.

        After its `send_by_s` nothing leaves us; so it is with the stops of a position.
        Raises: Refused, Unreachable, OutcomeUnknown.
        """
        ...

    def change_stops(self, change: StopsChange) -> None:
        """Change a position's stops, once for its `change_id`; only where the instrument `takes_stops`.

        Raises: Refused, Unreachable, OutcomeUnknown.
        """
        ...

    def close_by(
        self,
        *,
        client_order_id: str,
        venue_position_id: str,
        other_position_id: str,
        send_by_s: float | None = None,
    ) -> OrderReport:
        """Close a position against an opposite one of the same instrument, once for its `client_order_id`.

        The report carries one fill for each of the two positions. After its `send_by_s` it is as with `submit`.
        Raises: Refused, also where the venue knows no such thing; Unreachable; OutcomeUnknown.
        """
        ...

    def margin(self, *, symbol: str, side: Side, quantity: Decimal, price: Decimal) -> Decimal:
        """Say how much margin an order would take, in account currency: the venue's word, or its own terms reckoned.

        Raises: Refused, Unreachable.
        """
        ...

    def profit(
        self, *, symbol: str, side: Side, quantity: Decimal, price_open: Decimal, price_close: Decimal
    ) -> Decimal:
        """Say what a trade between two prices would earn, in account currency, negative for a loss. As `margin`.

        Raises: Refused, Unreachable.
        """
        ...

    def order_report(self, *, client_order_id: str, symbol: str, sent_at: datetime) -> OrderReport:
        """Search the venue for the order, over a padded window around `sent_at`.

        A report of `NO_TRACE` comes only from a complete search, of a venue whose view is known to be newer than the
        sending. Where a price has to show that, it is one of `symbol`. `NEVER_SENT` is said only where it can be sworn
        to; then the id is refused for ever. Elsewhere the proof is left to whoever asks again later.
        Raises: Unreachable or OutcomeUnknown when the search was not complete, or its view may be older than the order:
        that proves nothing.
        """
        ...

    def fills_since(self, at: datetime) -> Sequence[FillReport]:
        """Read every trade fill of the account since `at`, ours or not; repeats are harmless.

        A fill that the venue has taken back is told together with the BUST that reverses it, wherever fills are told.
        """
        ...

    def cash_since(self, at: datetime) -> Sequence[CashReport]:
        """Read every movement of money without a trade since `at`; repeats are harmless. Raises: Unreachable."""
        ...

    def news(self, *, symbols: Sequence[str], since: datetime, mark: Mark | None = None) -> News:
        """Read what was not told up to `mark`: fills, movements of money, and the prices of `symbols` that changed.

        Without a mark, everything since `since`; so too where a mark cannot be trusted any more. What a venue lists
        late is told when it is listed near the newest (each adapter says how near): whoever must miss nothing reads
        without a mark now and then. A symbol without a price is left out. It waits behind everything else that the
        venue is asked, orders first. Raises: Unreachable.
        """
        ...

    def close(self) -> None:
        """Let go of connections. The broker is of no use afterwards."""
        ...
