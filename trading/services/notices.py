"""Taking an alert in hand: who, and what they do about it, kept with the alert and in the audit log.

One that tells of suspicious orders can be cleared: taken in hand, and such orders of its trader pass for a while.
"""

from datetime import datetime
from typing import Any

from django.db import transaction

from accounts import selectors as people
from accounts.services import refusals
from accounts.states import Role
from accounts.types import Principal
from nexus.alerts import rules
from nexus.alerts import selectors as alerts_read
from nexus.alerts.services import alerts, telling
from nexus.alerts.services.telling import Telling
from nexus.alerts.states import Severity
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, Denied
from risk.services import clearances
from risk.states import Suspicion
from trading import selectors


class AlertTaken(Conflict):
    """Somebody else was faster: the first one stays."""

    code = "alert_taken"
    title = "Somebody has it in hand already"


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
    target = _require_operator(alert_id, by=by)
    with transaction.atomic():
        alert = alerts.acknowledge(alert_id=alert_id, by=str(by.public_id), note=note, at=at)
        if alert.acknowledged_at == at:
            detail = {"kind": alert.kind, "note": note}
            trail.record(action="alert.acknowledged", actor=Actor.user(by.public_id), target=target, detail=detail)
    return alert


def clearable(alert: Any) -> Suspicion | None:
    """Return what a person may let pass of what an alert tells: a suspicion for which orders are refused now."""
    name = alert.kind.removeprefix(rules.SUSPICION)
    if name == alert.kind or name not in list(Suspicion) or not clearances.is_reviewed(Suspicion(name)):
        return None
    return Suspicion(name)


def held_back(alert: Any) -> tuple[Suspicion, Any]:
    """Return the same, and the trader whose orders are. Raises: NotReviewed."""
    suspicion = clearable(alert)
    trader = people.user_by_public_id(alert.object_id) if suspicion else None
    if suspicion is None or trader is None:
        raise clearances.NotReviewed("This alert tells of no orders that are held back.")
    return suspicion, trader


def clear(*, alert_id: int, by: Principal, note: str, at: datetime) -> tuple[Any, datetime]:
    """Take an alert about suspicious orders in hand, and let its trader's orders look so for an hour.

    Returns the alert, and until when. Raises: Denied, NotFound, AlertTaken, NotReviewed.
    """
    _require_operator(alert_id, by=by)
    with transaction.atomic(durable=True):
        alert = acknowledge(alert_id=alert_id, by=by, note=note, at=at)
        if alert.acknowledged_at != at:
            raise AlertTaken("Somebody has taken it in hand already. The next such order opens another.")
        suspicion, trader = held_back(alert)
        return alert, clearances.grant(user_id=trader.pk, suspicion=suspicion, reason=note, by=by, at=at)


def _require_operator(alert_id: int, *, by: Principal) -> Target:
    target = Target("alert", str(alert_id))
    if by.role != Role.OPERATOR:
        refusals.keep(action="alert.acknowledge_denied", actor=Actor.user(by.public_id), target=target)
        raise Denied("Only operators take alerts in hand.")
    return target
