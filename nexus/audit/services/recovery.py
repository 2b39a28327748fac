"""After a recovery to an earlier moment: what was sealed since is gone, and the log says so itself."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connections, transaction

from nexus.audit.rules import evidence, keys
from nexus.audit.services import trail
from nexus.audit.services.keys import SEALER
from nexus.audit.types import Target

RECOVERED = "audit.recovery"


@dataclass(frozen=True, slots=True)
class Lost:
    """Batches that a recovery has lost, by a sealed event that says so."""

    event_id: int
    first: int
    last: int
    head_hash: str
    reason: str

    def covers(self, batch_no: int) -> bool:
        """Tell whether this batch is one of them."""
        return self.first <= batch_no <= self.last

    def __str__(self) -> str:
        return f"batches {self.first} to {self.last} were lost in a recovery, says event {self.event_id}: {self.reason}"


def known(trusted: keys.Keys, *, using: str = "default") -> list[Lost]:
    """Return what sealed events say was lost, each signed by a known key: whoever may append could say it otherwise."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT e.id, e.canonical FROM audit.event e JOIN audit.leaf l ON l.event_id = e.id"
            " WHERE e.action = %s AND e.actor_type = 'system' ORDER BY e.id",
            [RECOVERED],
        )
        rows = cursor.fetchall()
    found = (_read(event_id, evidence.detail_of(canonical), trusted) for event_id, canonical in rows)
    return [lost for lost in found if lost is not None]


def _read(event_id: int, said: Any, trusted: keys.Keys) -> Lost | None:
    try:
        first, last, head_hash = int(said["first_lost"]), int(said["last_lost"]), str(said["lost_head_hash"])
        signature, key = bytes.fromhex(said["authorization"]), trusted.get(said["signed_by"])
    except (KeyError, TypeError, ValueError):
        return None
    if key is None or not keys.is_signed(_statement(first, last, head_hash), signature=signature, by=key):
        return None
    return Lost(event_id, first, last, head_hash, str(said.get("reason", "")))


def _statement(first: int, last: int, head_hash: str) -> bytes:
    return f"nexus-audit-recovery v1\n{settings.DEPLOYMENT_ID}\n{first}\n{last}\n{head_hash}\n".encode()


@transaction.atomic(durable=True)
def note(*, first_lost: int, last_lost: int, head_hash: str, reason: str, by: keys.Signer) -> int:
    """Append that batches were lost, with the hash of the lost head, signed. Returns the event's id."""
    detail = {
        "first_lost": first_lost, "last_lost": last_lost, "lost_head_hash": head_hash, "reason": reason,
        "signed_by": by.key_id, "authorization": by.sign(_statement(first_lost, last_lost, head_hash)).hex(),
    }  # fmt: skip
    return trail.record(action=RECOVERED, actor=SEALER, target=Target("audit_batch", str(last_lost)), detail=detail)
