"""How loud an alert is, and how far the word of it has come."""

from enum import StrEnum


class Severity(StrEnum):
    """How loud an alert is: CRITICAL wakes somebody up, INFO waits for the digest."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Word(StrEnum):
    """Why a message goes out."""

    OPENED = "OPENED"
    ESCALATED = "ESCALATED"  # nobody has acknowledged it in time


class DeliveryState(StrEnum):
    """How far one message to one channel has come."""

    WAITING = "WAITING"  # to be sent, again or for the first time
    SENT = "SENT"
    QUIET = "QUIET"  # it goes into the next digest
    FAILED = "FAILED"  # given up; the alert itself stays
