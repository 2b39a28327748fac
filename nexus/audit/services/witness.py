"""Remember the log's head elsewhere, and notice when it moves backwards, changes, or stops."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nexus.audit import selectors
from nexus.audit.models import Batch
from nexus.audit.rules import header, keys
from nexus.audit.services.anchoring import header_of


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look at the log found: its head, and what is wrong with it."""

    head: dict[str, Any] | None
    wrong: list[str]


def look(
    remembered: dict[str, Any] | None, *, known: dict[str, Ed25519PublicKey], stale_after: timedelta, at: datetime
) -> Sight:
    """Look at the head, beside the one that was seen last. Takes: in `known` the keys that may have signed it."""
    head = selectors.head()
    if head is None:
        return Sight(None, ["The log has no seal at all."])
    wrong = [] if remembered is None else _against(remembered)
    text, key = header.to_bytes(header_of(head)), known.get(head.key_id)
    if key is None or not keys.is_signed(text, signature=bytes(head.signature), by=key):
        wrong.append(f"The seal of batch {head.batch_no} is not by a known key.")
    if at - head.sealed_at > stale_after:
        wrong.append(f"The log stands still: its newest seal is of {header.moment(head.sealed_at)}.")
    seen = {"batch_no": head.batch_no, "batch_hash": header.digest(header_of(head)).hex(), "seen_at": at.isoformat()}
    return Sight(seen, wrong)


def _against(remembered: dict[str, Any]) -> list[str]:
    number, seen_at = remembered["batch_no"], remembered["seen_at"]
    same = Batch.objects.filter(batch_no=number).first()
    if same is None:
        return [f"The log moved backwards: batch {number}, seen at {seen_at}, is not there any more."]
    if header.digest(header_of(same)).hex() != remembered["batch_hash"]:
        return [f"History was rewritten: batch {number} is not the one that was seen at {seen_at}."]
    return []
