"""The life of an order on its three axes, and which moves exist.

Source: execution reference §2. Three axes, so that one never hides another: what has become of the order (`status`),
what we know of its delivery (`delivery`), and what has become of a wish to cancel it (`cancel`).
"""

from enum import StrEnum
from typing import NamedTuple


class Side(StrEnum):
    """Which way an order or a position looks."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def direction(self) -> int:
        """Return +1 for a buy and −1 for a sell, as formulas want it."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        """Return the other one."""
        return Side.SELL if self is Side.BUY else Side.BUY


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
    BUST = "BUST"  # the venue takes another fill back
    OTHER = "OTHER"  # rollover, split, correction: booked as it is


class OrderStatus(StrEnum):
    """What has become of the order."""

    PENDING = "PENDING"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"


class Delivery(StrEnum):
    """What we know of the order's way to the broker."""

    QUEUED = "QUEUED"  # stored, not sent
    SENDING = "SENDING"  # marked, so I/O may have started
    ACKED = "ACKED"  # the broker's id is known
    UNKNOWN = "UNKNOWN"  # it may have arrived: ask, never resend
    DONE = "DONE"


class CancelState(StrEnum):
    """What has become of a wish to cancel."""

    NONE = "NONE"
    REQUESTED = "REQUESTED"
    UNKNOWN = "UNKNOWN"
    DONE = "DONE"
    REFUSED = "REFUSED"


class OrderType(StrEnum):
    """How an order asks for its price."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"  # at its price or better
    STOP = "STOP"  # at the market once its trigger is touched
    STOP_LIMIT = "STOP_LIMIT"  # a limit once its trigger is touched


class TimeInForce(StrEnum):
    """How long an order works."""

    GTC = "GTC"  # until it is canceled
    DAY = "DAY"
    GTD = "GTD"  # until its own time
    IOC = "IOC"  # what can be filled now; the rest is canceled
    FOK = "FOK"  # all of it now, or nothing


class CashKind(StrEnum):
    """Why money moved at a venue without a trade."""

    TRANSFER = "TRANSFER"  # a deposit, or a withdrawal when negative
    CREDIT = "CREDIT"
    BONUS = "BONUS"
    CHARGE = "CHARGE"
    COMMISSION = "COMMISSION"
    INTEREST = "INTEREST"
    DIVIDEND = "DIVIDEND"
    TAX = "TAX"
    CORRECTION = "CORRECTION"


# What is paid in or out, and so is no result: all else that moves is won or lost.
PAID = frozenset({CashKind.TRANSFER, CashKind.CREDIT, CashKind.BONUS})


class CorrectionKind(StrEnum):
    """Why our books were moved to the broker's without a deal."""

    OPENING = "OPENING"  # what stood at the broker before we looked for the first time
    AUTOMATIC = "AUTOMATIC"  # small, and seen twice
    DECIDED = "DECIDED"  # by an operator


class ChangeKind(StrEnum):
    """What a request about something that stands asks for."""

    CANCEL = "CANCEL"  # of an order
    TERMS = "TERMS"  # of an order: its prices, stops and time
    STOPS = "STOPS"  # of a position


class ChangeState(StrEnum):
    """What has become of such a request. It is sent at most once, like an order."""

    SENDING = "SENDING"
    UNKNOWN = "UNKNOWN"
    DONE = "DONE"
    REFUSED = "REFUSED"


IN_FLIGHT = (ChangeState.SENDING, ChangeState.UNKNOWN)  # of a change: nobody knows yet what becomes of it


class DecisionState(StrEnum):
    """What has become of an operator's proposal about an unknown order."""

    PROPOSED = "PROPOSED"
    APPLIED = "APPLIED"
    REFUSED = "REFUSED"
    STALE = "STALE"  # the broker was faster


class SweepState(StrEnum):
    """Where the sweep of a stop stands on one account. It is over only by proof, or when two people have said so."""

    RUNNING = "RUNNING"
    PROVEN = "PROVEN"  # the broker's own view showed that nothing was left
    ABANDONED = "ABANDONED"  # its stop was eased while the account stays stopped by another


class RejectedBy(StrEnum):
    """Who rejected an order."""

    LOCAL = "LOCAL"
    BROKER = "BROKER"


class State(NamedTuple):
    """Where an order stands: status and delivery together."""

    status: OrderStatus
    delivery: Delivery

    def __str__(self) -> str:
        return f"{self.status}/{self.delivery}"


QUEUED = State(OrderStatus.PENDING, Delivery.QUEUED)
SENDING = State(OrderStatus.PENDING, Delivery.SENDING)
ACKED = State(OrderStatus.PENDING, Delivery.ACKED)
UNKNOWN = State(OrderStatus.PENDING, Delivery.UNKNOWN)
PARTIAL = State(OrderStatus.PARTIALLY_FILLED, Delivery.ACKED)
FILLED = State(OrderStatus.FILLED, Delivery.DONE)
CANCELED = State(OrderStatus.CANCELED, Delivery.DONE)
EXPIRED = State(OrderStatus.EXPIRED, Delivery.DONE)
REJECTED = State(OrderStatus.REJECTED, Delivery.DONE)

# Where an order may go from where it stands. The numbers are those of execution reference §2; a move that is not here
# is a report that came too late (16) and changes nothing.
TRANSITIONS: dict[State, frozenset[State]] = {
    QUEUED: frozenset({SENDING, REJECTED, CANCELED, EXPIRED, PARTIAL, FILLED}),  # 3, 4; 11, 12 from anywhere
    SENDING: frozenset({ACKED, REJECTED, UNKNOWN, PARTIAL, FILLED, CANCELED, EXPIRED}),  # 5, 6, 7, 11, 12, 5 with 13
    UNKNOWN: frozenset({ACKED, REJECTED, CANCELED, EXPIRED, PARTIAL, FILLED}),  # 8, 9, 10, 11, 12
    ACKED: frozenset({PARTIAL, FILLED, CANCELED, EXPIRED, REJECTED}),  # 11, 12, 13, and a refusal after acceptance
    PARTIAL: frozenset({PARTIAL, FILLED, CANCELED, EXPIRED, ACKED}),  # 11, 12, 13, 15
    CANCELED: frozenset({CANCELED, FILLED}),  # 14
    EXPIRED: frozenset({CANCELED, FILLED}),  # 14
    REJECTED: frozenset({CANCELED, FILLED}),  # 14
    FILLED: frozenset({FILLED, CANCELED}),  # 12: an overfill is booked too; 15: what is closed stays closed
}

# The cancel axis: what may follow what. DONE needs the broker's own word that the order has ended, or that the order
# had not left us. What was lost or refused may be asked for anew.
CANCEL_TRANSITIONS: dict[CancelState, frozenset[CancelState]] = {
    CancelState.NONE: frozenset({CancelState.REQUESTED, CancelState.DONE}),
    CancelState.REQUESTED: frozenset({CancelState.UNKNOWN, CancelState.REFUSED, CancelState.DONE}),
    CancelState.UNKNOWN: frozenset({CancelState.REQUESTED, CancelState.REFUSED, CancelState.DONE}),
    CancelState.REFUSED: frozenset({CancelState.REQUESTED}),
    CancelState.DONE: frozenset({CancelState.REFUSED}),  # it had filled before: told late
}

OPEN_DELIVERIES = (Delivery.QUEUED, Delivery.SENDING, Delivery.ACKED, Delivery.UNKNOWN)
PUBLIC_STATUSES = (*(status.value for status in OrderStatus), Delivery.UNKNOWN.value)
