"""Count first, then let try: a row a bucket, charged in a statement of its own that commits before anything is tried.

Source: security reference §4, whose statement this is. A rollback elsewhere never gives an attempt back.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

from django.db import connection, transaction

from accounts.models import KnownPair, LoginGate
from nexus.core import statements
from nexus.core.http import TooManyRequests

PURGED_AFTER = timedelta(days=1)

CHARGE: LiteralString = """
INSERT INTO login_gate AS g
       (bucket, kind, subject, failures, max_failures, window_s, lock_s, window_started_at, locked_until)
SELECT x.bucket, x.kind, x.subject, 1, x.max_failures, x.window_s, x.lock_s, clock_timestamp(), NULL
  FROM unnest(%(buckets)s::bytea[], %(kinds)s::text[], %(subjects)s::bytea[], %(limits)s::int[], %(windows)s::int[],
              %(locks)s::int[]) AS x(bucket, kind, subject, max_failures, window_s, lock_s)
 ORDER BY x.bucket
ON CONFLICT (bucket) DO UPDATE SET (failures, window_started_at, locked_until) = (
  SELECT CASE s.state WHEN 'locked' THEN g.failures WHEN 'stale' THEN 1 ELSE g.failures + 1 END,
         CASE s.state WHEN 'stale' THEN clock_timestamp() ELSE g.window_started_at END,
         CASE WHEN s.state = 'locked' THEN g.locked_until
              WHEN s.state = 'open' AND g.failures + 1 > g.max_failures
              THEN clock_timestamp() + make_interval(secs => g.lock_s) END
    FROM (SELECT CASE WHEN g.locked_until > clock_timestamp() THEN 'locked'
                      WHEN g.locked_until IS NOT NULL
                        OR g.window_started_at < clock_timestamp() - make_interval(secs => g.window_s) THEN 'stale'
                      ELSE 'open' END AS state) s)
RETURNING kind, greatest(0, ceil(extract(epoch FROM locked_until - clock_timestamp())))::int
"""
GIVE_BACK: LiteralString = """
UPDATE login_gate SET failures = greatest(0, failures - 1)
 WHERE bucket = %(bucket)s AND (locked_until IS NULL OR locked_until <= clock_timestamp())
"""


@dataclass(frozen=True, slots=True)
class Gate:
    """How often one sort of thing may be tried in a window, and for how long it is shut when that is passed."""

    kind: str
    most: int
    window: timedelta
    lock: timedelta


@dataclass(frozen=True, slots=True)
class Charge:
    """One try at a gate. `subject`: whom it is about, where an operator may have to open it again."""

    gate: Gate
    name: str
    subject: str = ""

    @property
    def bucket(self) -> bytes:
        """Return the row's key: nobody reads an address or a name out of it."""
        return digest(self.gate.kind, self.name)


def digest(*words: str) -> bytes:
    """Hash words so that no two lists of words give the same."""
    return hashlib.sha256(json.dumps(words).encode()).digest()


def charge(charges: Sequence[Charge]) -> dict[str, int]:
    """Count a try at each gate, and return by its kind for how many seconds it is shut: 0 lets it be tried.

    It commits by itself, before the caller may raise. A try at a shut gate changes nothing.
    """
    with transaction.atomic(durable=True):
        return count(charges)


def count(charges: Sequence[Charge]) -> dict[str, int]:
    """Do what `charge` does in one round trip. The caller sees to it that no transaction is open."""
    given = {
        "buckets": [each.bucket for each in charges],
        "kinds": [each.gate.kind for each in charges],
        "subjects": [digest(each.subject) if each.subject else None for each in charges],
        "limits": [each.gate.most for each in charges],
        "windows": [int(each.gate.window.total_seconds()) for each in charges],
        "locks": [int(each.gate.lock.total_seconds()) for each in charges],
    }
    return dict(statements.fetch(CHARGE, given))


def give_back(charges: Sequence[Charge], *, forget: Sequence[Charge] = ()) -> None:
    """Take a try back that came to a good end; a bucket in `forget` begins anew. Locks are taken in the one order."""
    forgotten = {each.bucket for each in forget}
    with transaction.atomic(durable=True):
        for bucket in sorted({each.bucket for each in charges} | forgotten):
            if bucket in forgotten:
                statements.fetch("DELETE FROM login_gate WHERE bucket = %(bucket)s", {"bucket": bucket})
            else:
                statements.fetch(GIVE_BACK, {"bucket": bucket})


def open_again(*, subjects: Sequence[str] = (), buckets: Sequence[bytes] = ()) -> int:
    """Open every gate that is about these, in the caller's transaction. Returns how many were shut."""
    assert connection.in_atomic_block
    rows = statements.fetch(
        "DELETE FROM login_gate WHERE bucket IN (SELECT bucket FROM login_gate WHERE subject = ANY(%(subjects)s)"
        " OR bucket = ANY(%(buckets)s) ORDER BY bucket FOR UPDATE) RETURNING locked_until > clock_timestamp()",
        {"subjects": [digest(each) for each in subjects], "buckets": list(buckets)},
    )
    return sum(bool(row[0]) for row in rows)


def shut(gate: Gate, retry_after_s: int, refusal: type[TooManyRequests] = TooManyRequests) -> TooManyRequests:
    """Return the refusal of a try at a shut gate, with when to come back."""
    words = "Too many attempts. Come back when `Retry-After` says."
    wait = timedelta(seconds=retry_after_s)
    return refusal.until(words, policy=gate.kind, most=gate.most, window=gate.window, wait=wait)


@transaction.atomic(durable=True)
def purge(*, at: datetime) -> int:
    """Delete what counts no more. A gate that is shut stays."""
    old = at - PURGED_AFTER
    stale = LoginGate.objects.filter(window_started_at__lt=old).exclude(locked_until__gt=at)
    deleted, _ = stale.delete()
    return deleted


def forget_pairs(*, before: datetime) -> None:
    """Delete the pairs whose owner has not come in since."""
    KnownPair.objects.filter(last_success_at__lt=before).delete()
