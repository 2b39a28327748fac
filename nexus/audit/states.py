"""How far an export has come."""

from enum import StrEnum


class ExportState(StrEnum):
    """How far an export has come."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    READY = "READY"
    FAILED = "FAILED"
    TAKEN = "TAKEN"  # its file was handed over, and removed
    EXPIRED = "EXPIRED"  # its file was removed
