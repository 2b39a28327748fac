"""The header of a batch: nine lines, exactly these bytes, which are hashed, chained and signed."""

from datetime import UTC, datetime
from hashlib import sha256

from nexus.audit.types import Header

VERSION = "nexus-audit-batch v1"
LINES = 9
KEY_ID_LINE = 8

_MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"


def to_bytes(header: Header) -> bytes:
    """Write a header."""
    lines = (
        VERSION,
        header.deployment,
        str(header.batch_no),
        str(header.first_index),
        str(header.leaf_count),
        header.merkle_root.hex(),
        header.prev_hash.hex(),
        moment(header.sealed_at),
        header.key_id,
    )
    return "".join(f"{line}\n" for line in lines).encode()


def digest(header: Header) -> bytes:
    """Return a header's hash, which the next one names."""
    return sha256(to_bytes(header)).digest()


def genesis(deployment: str) -> bytes:
    """Return what the first batch names as the hash before it."""
    return sha256(f"nexus-audit-genesis v1\n{deployment}\n".encode()).digest()


def moment(at: datetime) -> str:
    """Write a time as headers and events do: UTC, microseconds."""
    return at.astimezone(UTC).strftime(_MOMENT)
