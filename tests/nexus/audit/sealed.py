"""A log that is sealed by the tests' own key, which is the same in every test and every process."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, transaction

from nexus.audit.rules.keys import Signer
from nexus.audit.services import keys, sealing, trail
from nexus.audit.services.sealing import Sealed
from nexus.audit.types import Actor, Target

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(sha256(b"the tests' key").digest()))
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(sha256(b"another key").digest()))


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
