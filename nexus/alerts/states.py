"""How loud an alert is."""

from enum import StrEnum


class Severity(StrEnum):
    """How loud an alert is: CRITICAL wakes somebody up."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
