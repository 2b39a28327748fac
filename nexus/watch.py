"""What the roof watches: one platform app tells of another, since neither imports the other."""

from datetime import datetime, timedelta

from django.db import transaction

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit import selectors as audit

SEAL_LAG_MAX = timedelta(seconds=60)

_LATE = "AUDIT_SEAL_LATE"


@transaction.atomic
def watch_seals(*, at: datetime) -> None:
    """Wake people when events wait for their seal: what is not sealed yet could still be changed unseen."""
    lag = audit.seal_lag(at=at)
    if lag <= SEAL_LAG_MAX:
        alerts.close_alert(dedupe_key=_LATE, at=at)
        return
    alerts.open_alert(
        severity=Severity.CRITICAL,
        kind=_LATE,
        dedupe_key=_LATE,
        text=f"Audit events have waited for {lag.total_seconds():.0f} s to be sealed. Does the sealer run?",
        at=at,
    )
