"""A log that is sealed by the tests' own key, which is the same in every test and every process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, transaction

from nexus.audit.rules.findings import Report
from nexus.audit.rules.keys import Signer
from nexus.audit.services import keys, sealing, trail, verification
from nexus.audit.services.sealing import Sealed
from nexus.audit.types import Actor, Target

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(sha256(b"the tests' key").digest()))
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(sha256(b"another key").digest()))
KNOWN = {SIGNER.key_id: SIGNER.public}


def record(count: int = 1, **given: Any) -> list[int]:
    """Append events and return their ids."""
    with transaction.atomic():
        return [
            trail.record(
                **{"action": "tests.thing.done", "actor": Actor.system("tests"), "target": Target("thing", str(number)),
                   "detail": {"number": number}, **given}
            )
            for number in range(count)
        ]  # fmt: skip


def seal(*, by: Signer = SIGNER) -> list[Sealed]:
    """Seal everything that waits."""
    keys.stand(by)
    return list(sealing.seal_all(signer=by))


def run(statement: str, given: Any = None) -> Any:
    """Run one statement; return its first row when it has rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        return cursor.fetchone() if cursor.description else None


def tamper(statement: str, given: Any = None) -> int:
    """Do what only a superuser can: change the log with its triggers off. Returns how many rows were hit."""
    tables = ("event", "pii", "batch", "leaf")
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute(";".join(f"ALTER TABLE audit.{table} DISABLE TRIGGER ALL" for table in tables))
        cursor.execute(statement, given)
        count = int(cursor.rowcount)
        cursor.execute(";".join(f"ALTER TABLE audit.{table} ENABLE TRIGGER ALL" for table in tables))
    assert count, "nothing was tampered with"
    return count


@contextmanager
def as_superuser() -> Iterator[None]:
    """Be a superuser for a while, in the open transaction."""
    if not _knows_superuser():
        pytest.skip("this server's tests cannot become a superuser")
    run("SET LOCAL ROLE postgres")
    yield
    run("RESET ROLE")


def _knows_superuser() -> bool:
    (found,) = run("SELECT count(*) FROM pg_roles WHERE rolname = 'postgres' AND pg_has_role(oid, 'SET')")
    return bool(found)


def verify(**given: Any) -> Report:
    """Verify by the tests' key."""
    return verification.verify(**{"trusted": KNOWN, **given})


def places(report: Report) -> set[tuple[str, int | None, int | None, int | None]]:
    """Return what was found and where: (name, batch, index, event)."""
    return {(str(found.kind), found.batch_no, found.log_index, found.event_id) for found in report.findings}


def insert(event_id: int, at: Any) -> None:
    """Insert an event as a superuser can: with any id and any time."""
    canonical = json.dumps(
        {"v": 1, "id": event_id, "recorded_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "action": "tests.forged.done",
         "outcome": "success", "actor_type": "system", "actor_id": "a", "object_type": "b", "object_id": "c",
         "request_id": "", "detail": {}, "pii_sha256": None}
    )  # fmt: skip
    tamper(
        "INSERT INTO audit.event OVERRIDING SYSTEM VALUE VALUES"
        " (%s, %s, 'tests.forged.done', 'success', 'system', 'a', 'b', 'c', '', %s)",
        [event_id, at, canonical],
    )


def cut(first: int) -> None:
    """Remove every seal from a batch on."""
    tamper("DELETE FROM audit.leaf WHERE batch_no >= %s", [first])
    tamper("DELETE FROM audit.batch WHERE batch_no >= %s", [first])
