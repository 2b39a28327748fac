"""What the roof watches: one platform app tells of another, since neither imports the other."""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit import selectors as audit
from nexus.audit.services import verdicts
from nexus.audit.types import Actor
from nexus.core.errors import NexusError

SEAL_LAG_MAX = timedelta(seconds=60)
ANCHOR_LAG_MAX = timedelta(seconds=60)
UNVERIFIED_MAX = timedelta(hours=26)  # a night and two hours
SEAL_LATE, ANCHOR_LATE = "AUDIT_SEAL_LATE", "AUDIT_ANCHOR_LATE"
NOT_CLEAN, UNVERIFIED = "AUDIT_NOT_CLEAN", "AUDIT_UNVERIFIED"
UNVERIFIABLE = f"{UNVERIFIED}:tonight"


@transaction.atomic
def watch_seals(*, at: datetime) -> None:
    """Wake people when events wait for their seal: what is not sealed yet could still be changed unseen."""
    lag = audit.seal_lag(at=at)
    text = f"Audit events have waited for {lag.total_seconds():.0f} s to be sealed. Does the sealer run?"
    _tell(SEAL_LATE, SEAL_LATE, text, holds=lag > SEAL_LAG_MAX, severity=Severity.CRITICAL, at=at)
    for each in audit.anchor_lags(at=at):
        late_s = each.lag.total_seconds()
        why = each.fault or "nobody brings them"
        text = f"The audit log's anchor {each.name} lacks seals of {late_s:.0f} s ago: {why}"
        key = f"{ANCHOR_LATE}:{each.name}"[:160]
        _tell(ANCHOR_LATE, key, text, holds=each.lag > ANCHOR_LAG_MAX, severity=Severity.WARNING, at=at)


@transaction.atomic
def watch_verification(*, at: datetime) -> None:
    """Wake people when nobody has verified the log for a night: a verification that was stopped finds nothing."""
    last = audit.last_verification()
    since = last.finished_at if last else audit.log_began_at()
    when = f"at {last.finished_at:%Y-%m-%d %H:%M}Z" if last else "never"
    text = f"The audit log was last verified {when}. Does the worker of the queue `audit` run?"
    is_due = since is not None and at - since > UNVERIFIED_MAX
    _tell(UNVERIFIED, UNVERIFIED, text, holds=is_due, severity=Severity.CRITICAL, at=at)


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
            text = f"The audit log cannot be verified: {why}"
            _tell(UNVERIFIED, UNVERIFIABLE, text, holds=True, severity=Severity.CRITICAL, at=clock())
        raise
    if done is None:
        return
    counts = ", ".join(f"{name} {count}" for name, count in done.counts.items())
    text = f"The audit log is not what was sealed ({counts}). Verification {done.pk} has the places: docs/audit.md."
    with transaction.atomic():
        alerts.close_alert(dedupe_key=UNVERIFIABLE, at=clock())
        _tell(NOT_CLEAN, NOT_CLEAN, text, holds=bool(done.counts), severity=Severity.CRITICAL, at=clock())


def _tell(kind: str, key: str, text: str, *, holds: bool, severity: Severity, at: datetime) -> None:
    if not holds:
        alerts.close_alert(dedupe_key=key, at=at)
        return
    alerts.open_alert(severity=severity, kind=kind, dedupe_key=key, text=text, at=at)
