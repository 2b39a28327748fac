"""How often somebody may ask in a minute: reads of one caller, and requests of one address that show nobody we know.

Exact, however many ask at once: one row each, counted by the database in one round trip. Its table is unlogged, so that
no read waits for a disk; after a crash everybody begins a new minute. Source: security reference §12.
"""

from datetime import datetime, timedelta
from typing import LiteralString

from django.conf import settings
from django.http import HttpRequest

from accounts.models import RequestRate
from accounts.rules import MATRIX, Action, Reach
from accounts.services import gates, lockout
from accounts.services.gates import Gate
from accounts.services.tokens import TokenInvalid
from nexus.audit.types import Actor
from nexus.core import statements
from nexus.core.http import client_ip

MINUTE = timedelta(minutes=1)

# What stops, eases, and shows what stands: nobody is told there to come back later, whatever else was asked.
BRAKE = frozenset({
    Action.TRADING_STOP, Action.TRADING_RESUME, Action.STATUS_READ, Action.ALERT_READ, Action.ALERT_ACKNOWLEDGE,
})  # fmt: skip

COUNT: LiteralString = """
INSERT INTO request_rate AS r (bucket, window_started_at, used) VALUES (%(bucket)s, clock_timestamp(), 1)
ON CONFLICT (bucket) DO UPDATE SET (window_started_at, used) = (
  SELECT CASE WHEN s.is_over THEN s.now ELSE r.window_started_at END,
         CASE WHEN s.is_over THEN 1 ELSE least(r.used, %(most)s) + 1 END
    FROM (SELECT n.now, r.window_started_at <= n.now - %(window)s::interval AS is_over
            FROM (SELECT clock_timestamp() AS now) n) s)
RETURNING used, greatest(1, ceil(extract(epoch FROM window_started_at + %(window)s::interval - clock_timestamp())))::int
"""


def reads() -> Gate:
    """Return how often one caller may read."""
    return Gate("reads", settings.READS_PER_MINUTE, MINUTE, MINUTE)


def strangers() -> Gate:
    """Return how often one address may ask without showing who it is."""
    return Gate("anonymous", settings.ANONYMOUS_PER_MINUTE, MINUTE, MINUTE)


def count_read(actor: Actor, *, role: str, action: Action) -> None:
    """Count a read, but none of the brake by whoever may stop everything. Raises: TooManyRequests."""
    if action in BRAKE and MATRIX[Action.TRADING_STOP].reach(role) is Reach.ALL:
        return
    _count(reads(), f"{actor.type} {actor.id}")


def count_stranger(request: HttpRequest) -> None:
    """Count a request that shows nobody we know, by where it comes from. Raises: TooManyRequests."""
    _count(strangers(), lockout.network_of(client_ip(request)))


def count_refused(request: HttpRequest, refusal: TokenInvalid) -> None:
    """Count a token that lets nobody in. One that we signed counts for its own session: its address is no stranger's.

    Raises: TooManyRequests.
    """
    if refusal.family_id is None:
        count_stranger(request)
    else:
        _count(strangers(), f"session {refusal.family_id}")


def used(kind: str, name: str, *, most: int) -> int:
    """Count one more of something in its minute, and return the how many-th it is: `most` + 1 for all that follow."""
    given = {"bucket": gates.digest(kind, name), "most": most, "window": MINUTE}
    number, _wait = statements.fetch_only(COUNT, given)
    return int(number)


def purge(*, at: datetime) -> None:
    """Delete the minutes that are long over."""
    RequestRate.objects.filter(window_started_at__lt=at - gates.PURGED_AFTER).delete()


def _count(gate: Gate, name: str) -> None:
    bucket = gates.digest(gate.kind, name)
    used, wait = statements.fetch_only(COUNT, {"bucket": bucket, "most": gate.most, "window": gate.window})
    if used > gate.most:
        raise gates.shut(gate, wait)
