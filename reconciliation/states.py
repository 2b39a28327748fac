"""The words of reconciliation: what a run has found, what was done, and where a review stands."""

from enum import StrEnum


class Trigger(StrEnum):
    """What made a run begin."""

    CLOCK = "CLOCK"
    LINK = "LINK"  # the account has just been linked
    REQUEST = "REQUEST"  # somebody asked through the API
    COMMAND = "COMMAND"
    REVIEW = "REVIEW"  # an operator wants fresh evidence


class Entry(StrEnum):
    """What a row of the log tells."""

    RUN = "RUN"
    DIFFERENCE = "DIFFERENCE"
    DECISION = "DECISION"


class Status(StrEnum):
    """How a run ended."""

    CLEAN = "CLEAN"
    DIFFERENT = "DIFFERENT"
    FAILED = "FAILED"  # no complete snapshot, an exception, or a slot that nobody ran
    BUSY = "BUSY"  # another run of the account is under way; it is not logged


class Impact(StrEnum):
    """How much a difference is worth: below the review band, in it, above it or beyond valuing."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class Action(StrEnum):
    """What was done about a difference, or after a run."""

    NONE = "NONE"
    OPENED = "OPENED"  # it stood at the broker before we looked for the first time
    EXCLUDED = "EXCLUDED"  # an order is in flight on it, or it has just moved
    OBSERVED = "OBSERVED"  # small, and seen once: the next run decides
    BROKER_SYNCED = "BROKER_SYNCED"  # our books were moved to the broker's
    REVIEW = "REVIEW"
    KEPT = "KEPT"  # an operator keeps ours
    TRADING_STOPPED = "TRADING_STOPPED"
    RUN_AGAIN = "RUN_AGAIN"  # an operator wants fresh evidence


class ReviewState(StrEnum):
    """Where a review stands."""

    OPEN = "OPEN"
    SYNCED = "SYNCED"
    KEPT = "KEPT"
    GONE = "GONE"  # a later run no longer finds the difference


class Decision(StrEnum):
    """What an operator can decide of a difference."""

    ACCEPT_BROKER = "ACCEPT_BROKER"
    KEEP_OURS = "KEEP_OURS"
    RUN_AGAIN = "RUN_AGAIN"
