"""What the roof watches: one platform app tells of another, since neither imports the other."""

from datetime import datetime, timedelta

from django.db import transaction

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit import selectors as audit

SEAL_LAG_MAX = timedelta(seconds=60)
ANCHOR_LAG_MAX = timedelta(seconds=60)
SEAL_LATE, ANCHOR_LATE = "AUDIT_SEAL_LATE", "AUDIT_ANCHOR_LATE"


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


def _tell(kind: str, key: str, text: str, *, holds: bool, severity: Severity, at: datetime) -> None:
    if not holds:
        alerts.close_alert(dedupe_key=key, at=at)
        return
    alerts.open_alert(severity=severity, kind=kind, dedupe_key=key, text=text, at=at)
