"""What the roof watches: one platform app tells of another, since neither imports the other."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit import selectors as audit
from nexus.audit.services import verdicts
from nexus.audit.types import Actor
from nexus.core import statements
from nexus.core.errors import NexusError

SEAL_LAG_MAX = timedelta(seconds=60)
ANCHOR_LAG_MAX = timedelta(seconds=60)
UNVERIFIED_MAX = timedelta(hours=26)  # a night and two hours
SEAL_LATE, ANCHOR_LATE = "AUDIT_SEAL_LATE", "AUDIT_ANCHOR_LATE"
NOT_CLEAN, UNVERIFIED = "AUDIT_NOT_CLEAN", "AUDIT_UNVERIFIED"
UNVERIFIABLE = f"{UNVERIFIED}:tonight"
CONNECTIONS_LOW = "DATABASE_CONNECTIONS_LOW"
CONNECTIONS_LEFT = 5  # one of so many must be left
# Of the server, of our role and of our database, whichever has the least left: an ordinary role gets none of those that
# are kept for others. It is not told what kind a stranger's session is: a standby's and the server's own are known
# by what they lack, and one that helps a query for a moment counts.
CONNECTIONS = """
WITH held AS MATERIALIZED (
    SELECT usesysid, datid, coalesce(nullif(application_name, ''), usename) AS name
    FROM pg_stat_activity
    WHERE usesysid IS NOT NULL AND datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
      AND pid NOT IN (SELECT pid FROM pg_stat_replication)
), bounds (room, used) AS (
    SELECT current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
           - coalesce(current_setting('reserved_connections', true), '0')::integer, (SELECT count(*) FROM held)
    UNION ALL
    SELECT rolconnlimit, (SELECT count(*) FROM held WHERE usesysid = pg_roles.oid)
    FROM pg_roles WHERE rolname = session_user AND rolconnlimit >= 0
    UNION ALL
    SELECT datconnlimit, (SELECT count(*) FROM held WHERE datid = pg_database.oid)
    FROM pg_database WHERE datname = current_database() AND datconnlimit >= 0
), most AS (SELECT name, count(*) AS of_it FROM held GROUP BY name ORDER BY count(*) DESC, name LIMIT 3)
SELECT room, used::integer, (SELECT string_agg(name || ': ' || of_it, ', ' ORDER BY of_it DESC, name) FROM most)
FROM bounds ORDER BY (room - used)::numeric / greatest(room, 1) LIMIT 1
"""


class Connections(NamedTuple):
    """How many connections our role may have, how many of them are taken, and who has most."""

    room: int
    used: int
    held_by: str

    @property
    def left(self) -> int:
        """Return how many more may be opened."""
        return max(0, self.room - self.used)


def connections() -> Connections:
    """Count the database's connections."""
    return Connections(*statements.fetch_only(CONNECTIONS))


@transaction.atomic
def watch_connections(*, at: datetime) -> None:
    """Wake people while there still is a connection for them: without one nobody logs in, trades or stops."""
    found = connections()
    _tell(
        CONNECTIONS_LOW,
        CONNECTIONS_LOW,
        text=f"{found.left} of {found.room} connections to the database are left; without one nobody can log in, trade"
        " or stop. Restart the process that holds more than its share, or raise max_connections. Must trading stop?"
        f" Do it now: later it needs a superuser's DATABASE_URL. Most are held by {found.held_by}.",
        holds=found.left * CONNECTIONS_LEFT < found.room,
        severity=Severity.CRITICAL,
        at=at,
    )


@transaction.atomic
def watch_seals(*, at: datetime) -> None:
    """Wake people when events wait for their seal: what is not sealed yet could still be changed unseen."""
    lag = audit.seal_lag(at=at)
    _tell(
        SEAL_LATE,
        SEAL_LATE,
        text=f"Audit events have waited for {lag.total_seconds():.0f} s to be sealed. Does the sealer run?",
        holds=lag > SEAL_LAG_MAX,
        severity=Severity.CRITICAL,
        at=at,
    )
    for each in audit.anchor_lags(at=at):
        late_s = each.lag.total_seconds()
        why = each.fault or "nobody brings them"
        _tell(
            ANCHOR_LATE,
            f"{ANCHOR_LATE}:{each.name}"[:160],
            text=f"The audit log's anchor {each.name} lacks seals of {late_s:.0f} s ago: {why}",
            holds=each.lag > ANCHOR_LAG_MAX,
            severity=Severity.WARNING,
            at=at,
        )


@transaction.atomic
def watch_verification(*, at: datetime) -> None:
    """Wake people when nobody has verified the log for a night: a verification that was stopped finds nothing."""
    last = audit.last_verification()
    since = last.finished_at if last else audit.log_began_at()
    when = f"at {last.finished_at:%Y-%m-%d %H:%M}Z" if last else "never"
    _tell(
        UNVERIFIED,
        UNVERIFIED,
        text=f"The audit log was last verified {when}. Does the worker of the queue `audit` run?",
        holds=since is not None and at - since > UNVERIFIED_MAX,
        severity=Severity.CRITICAL,
        at=at,
    )


def verify_log(*, at: datetime, clock: Callable[[], datetime], asked_by: Actor | None = None) -> None:
    """Verify the whole log, and wake people when it is not clean or cannot be verified.

    Takes: `asked_by`, the person who wants to know now; without one, it is done once a night.
    """
    try:
        if asked_by is None:
            done = verdicts.verify_nightly(at=at, clock=clock)
        else:
            done = verdicts.verify_all(asked_by=asked_by, at=at, clock=clock)
    except Exception as exc:  # whatever it is: somebody may have put it there so that nobody looks
        why = exc.detail if isinstance(exc, NexusError) else f"{type(exc).__name__}: {exc}"
        with transaction.atomic():
            _tell(
                UNVERIFIED,
                UNVERIFIABLE,
                text=f"The audit log cannot be verified: {why}",
                holds=True,
                severity=Severity.CRITICAL,
                at=clock(),
            )
        raise
    if done is None:
        return
    counts = ", ".join(f"{name} {count}" for name, count in done.counts.items())
    with transaction.atomic():
        alerts.close_alert(dedupe_key=UNVERIFIABLE, at=clock())
        _tell(
            NOT_CLEAN,
            NOT_CLEAN,
            text=f"The audit log is not what was sealed ({counts}). Verification {done.pk} has the places:"
            " docs/audit.md.",
            holds=bool(done.counts),
            severity=Severity.CRITICAL,
            at=clock(),
        )


def _tell(kind: str, key: str, *, text: str, holds: bool, severity: Severity, at: datetime) -> None:
    if not holds:
        alerts.close_alert(dedupe_key=key, at=at)
        return
    alerts.open_alert(severity=severity, kind=kind, dedupe_key=key, text=text, at=at)
