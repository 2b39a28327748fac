"""Taking an alert in hand: who, and what they do about it, kept with the alert and in the audit log."""

from datetime import datetime
from typing import Any

from django.db import transaction

from accounts.services import refusals
from accounts.states import Role
from accounts.types import Principal
from nexus.alerts import selectors as alerts_read
from nexus.alerts.services import alerts, telling
from nexus.alerts.services.telling import Telling
from nexus.alerts.states import Severity
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Denied
from trading import selectors


def listed(
    user: Principal, *, limit: int, before: int | None, is_open: bool | None, severity: Severity | None
) -> list[Any]:
    """Return alerts, the newest first, for somebody who may see all. Raises: Denied."""
    if user.role not in selectors.READS_ALL:
        raise Denied("Alerts are for operators and compliance.")
    return alerts_read.page(limit=limit, before=before, is_open=is_open, severity=severity)


def state() -> Telling:
    """Return whether people hear of what happens."""
    return telling.state()


def acknowledge(*, alert_id: int, by: Principal, note: str, at: datetime) -> Any:
    """Say that an operator has taken an alert in hand; the first one stays. Raises: Denied, NotFound."""
    target = Target("alert", str(alert_id))
    if by.role != Role.OPERATOR:
        refusals.keep(action="alert.acknowledge_denied", actor=Actor.user(by.public_id), target=target)
        raise Denied("Only operators take alerts in hand.")
    with transaction.atomic():
        alert = alerts.acknowledge(alert_id=alert_id, by=str(by.public_id), note=note, at=at)
        if alert.acknowledged_at == at:
            detail = {"kind": alert.kind, "note": note}
            trail.record(action="alert.acknowledged", actor=Actor.user(by.public_id), target=target, detail=detail)
    return alert
