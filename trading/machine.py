"""The brake's door: stop, show what is stopped, and ease a stop, two people together."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, cast

from django.http import HttpRequest
from django.utils.timezone import now
from ninja import Query, Router, Schema, Status
from pydantic import ConfigDict, Field, StringConstraints

from accounts.machine import allowed
from accounts.rules import Action
from accounts.types import Principal
from nexus.alerts.states import Severity
from nexus.audit.types import Actor
from risk.states import ControlScope, StopLevel, Sweep
from trading.selectors import READS_ALL
from trading.services import brakes, emergency, notices, resuming
from trading.services.brakes import Brake

router = Router(tags=["control"])

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class StopInput(Schema):
    """Why, and what to stop. Nothing but a reason stops all that the caller may stop."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason
    scope: ControlScope | None = Field(None, description="left out: the system, or of a trader the own account")
    target: str = Field("", max_length=64, description="id of the account or user, name of the broker, or symbol")


class EmergencyInput(StopInput):
    """A stop, how far it goes, and what it does to what stands."""

    level: str = Field("HALTED", pattern="^(REDUCE_ONLY|HALTED)$")
    sweep: Sweep | None = Field(None, description="left out: CANCEL when HALTED, else NONE")


class ResumeInput(Schema):
    """Either a wish to ease a stop, or the decision of a second person on one (`proposal`)."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason
    scope: ControlScope = ControlScope.SYSTEM
    target: str = Field("", max_length=64)
    level: str = Field("ACTIVE", pattern="^(ACTIVE|REDUCE_ONLY)$")
    proposal: int | None = Field(None, description="of another operator; then scope, target and level are its own")
    approve: bool = True


class PreconditionView(Schema):
    """One thing that must hold before a stop is eased, and what was found."""

    name: str
    passed: bool
    detail: str


class ReleaseView(Schema):
    """A proposal to ease a stop."""

    proposal: int
    state: str
    level: str
    reason: str
    proposed_by: str
    expires_at: datetime
    checks: list[PreconditionView]


class SweepView(Schema):
    """How far the sweep of a stop is on one account. PROVEN says what the broker itself has shown."""

    account: str
    kind: str
    state: str
    rounds: int
    detail: str
    left: dict[str, Any]
    proof: dict[str, Any]
    started_at: datetime
    canceled_at: datetime | None
    ended_at: datetime | None


class BrakeView(Schema):
    """One stop: who, when, why, what was and what is on its way."""

    scope: str
    target: str
    level: str
    sweep: str
    reason: str
    set_by: str
    set_at: datetime
    has_lock: bool = Field(description="whether the stop waited for everybody who was sending an order")
    is_listed: bool = Field(description="whether `was_in_flight` is complete")
    was_in_flight: list[dict[str, Any]] = Field(description="what might still reach the broker when it was stopped")
    in_flight: list[dict[str, Any]] = Field(description="what may now")
    sweeps: list[SweepView]
    release: ReleaseView | None


class ChannelView(Schema):
    """How well one channel takes messages: of alerts that wait, and of those that were given up."""

    name: str
    is_set: bool
    waiting: int
    given_up: int
    last_sent_at: datetime | None
    failing_since: datetime | None
    fault: str


class TellingView(Schema):
    """Whether people hear of what happens. `is_heard`: a critical alert has a channel that is not known to fail."""

    open_critical: int
    unacknowledged: int
    is_heard: bool
    channels: list[ChannelView]


class AlertView(Schema):
    """A condition that somebody must know of."""

    id: int
    severity: str
    kind: str
    text: str
    object_type: str
    object_id: str
    seen_count: int
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str
    note: str
    runbook: str = Field(description="where it is written what to do: in the console, or in the repository")


class AlertPage(Schema):
    """Alerts, the newest first. `before`: what to ask for next; null at the end."""

    items: list[AlertView]
    before: int | None


class AlertFilter(Schema):
    """Which alerts. `before`: of the page before."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200)
    before: int | None = Field(None, ge=1, lt=2**63)
    is_open: bool | None = None
    severity: Severity | None = None


class AcknowledgeInput(Schema):
    """What the person does about it."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field("", max_length=500)


class ClearInput(Schema):
    """Why: what was asked, and of whom."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class ClearedView(Schema):
    """The alert, and until when orders of its trader may look so."""

    alert: AlertView
    until: datetime


class StatusView(Schema):
    """What is stopped, of what the caller may see, and for operators whether people are told."""

    trading: str = Field(description="how far the system lets trade: ACTIVE, REDUCE_ONLY or HALTED")
    reason: str
    stops: list[BrakeView]
    alerts: TellingView | None = Field(description="of operators and compliance only")


@router.post(
    "/system/emergency-stop", response=BrakeView, operation_id="emergency_stop", auth=allowed(Action.TRADING_STOP)
)
def emergency_stop(request: HttpRequest, body: EmergencyInput) -> dict[str, Any]:
    """Stop, and cancel what works. An operator stops anything, a trader his own account. Safe to repeat."""
    level = StopLevel[body.level]
    sweep = body.sweep or (Sweep.CANCEL if level is StopLevel.HALTED else Sweep.NONE)
    return _stop(request, body, level=level, sweep=sweep)


@router.post("/trading/disable", response=BrakeView, operation_id="trading_disable", auth=allowed(Action.TRADING_STOP))
def disable(request: HttpRequest, body: StopInput) -> dict[str, Any]:
    """Switch trading off, and leave what stands as it is. Whoever may stop may do this."""
    return _stop(request, body, level=StopLevel.HALTED, sweep=Sweep.NONE)


@router.post(
    "/system/resume",
    response={200: BrakeView, 202: ReleaseView},
    operation_id="resume",
    auth=allowed(Action.TRADING_RESUME),
)
def resume(request: HttpRequest, body: ResumeInput) -> Status[dict[str, Any]]:
    """Propose to ease a stop (202), or decide the proposal of another operator (200, or 202 when it is refused)."""
    return _ease(_person(request), body)


@router.post(
    "/trading/enable",
    response={200: BrakeView, 202: ReleaseView},
    operation_id="trading_enable",
    auth=allowed(Action.TRADING_RESUME),
)
def enable(request: HttpRequest, body: ResumeInput) -> Status[dict[str, Any]]:
    """Switch trading on again: the same as resume, for there is one switch."""
    return _ease(_person(request), body)


@router.get("/system/status", response=StatusView, operation_id="system_status", auth=allowed(Action.STATUS_READ))
def system_status(request: HttpRequest) -> dict[str, Any]:
    """Show what is stopped, since when, by whom and why, and what is on its way."""
    return _status(request)


@router.get("/trading/status", response=StatusView, operation_id="trading_status", auth=allowed(Action.STATUS_READ))
def trading_status(request: HttpRequest) -> dict[str, Any]:
    """Show what is stopped of what the caller may see."""
    return _status(request)


@router.get("/system/alerts", response=AlertPage, operation_id="alerts", auth=allowed(Action.ALERT_READ))
def alerts(request: HttpRequest, wanted: Query[AlertFilter]) -> dict[str, Any]:
    """List alerts, the newest first. Operators and compliance."""
    rows = notices.listed(_person(request), **wanted.dict())
    return {"items": rows, "before": rows[-1].pk if len(rows) == wanted.limit else None}


@router.post(
    "/system/alerts/{int:alert_id}/acknowledge",
    response=AlertView,
    operation_id="acknowledge_alert",
    auth=allowed(Action.ALERT_ACKNOWLEDGE),
)
def acknowledge(request: HttpRequest, alert_id: int, body: AcknowledgeInput) -> Any:
    """Take an alert in hand: it is not escalated any more. Operators. The first one who does stays."""
    return notices.acknowledge(alert_id=alert_id, by=_person(request), note=body.note, at=now())


@router.post(
    "/system/alerts/{int:alert_id}/clear",
    response=ClearedView,
    operation_id="clear_suspicion",
    auth=allowed(Action.SUSPICION_CLEAR),
)
def clear(request: HttpRequest, alert_id: int, body: ClearInput) -> dict[str, Any]:
    """Let orders pass for an hour that look suspicious in the way the alert tells; the alert is taken in hand with it.

    Of one trader, where `REVIEWED_SUSPICIONS` refuses such orders; every limit holds as before. Operators.
    """
    alert, until = notices.clear(alert_id=alert_id, by=_person(request), note=body.reason, at=now())
    return {"alert": alert, "until": until}


def _person(request: HttpRequest) -> Principal:
    return cast("Principal", request.user)


def _stop(request: HttpRequest, body: StopInput, *, level: StopLevel, sweep: Sweep) -> dict[str, Any]:
    user, at = _person(request), now()
    scope, key = brakes.aim(user, scope=body.scope, target=body.target)
    actor = Actor.user(user.public_id)
    stopped = emergency.stop(scope=scope, key=key, level=level, sweep=sweep, reason=body.reason, actor=actor, at=at)
    return _brake(brakes.show(stopped.switch, at=at))


def _ease(user: Principal, body: ResumeInput) -> Status[dict[str, Any]]:
    if body.proposal is None:
        scope, key = brakes.find_key(body.scope, body.target)
        level = StopLevel[body.level]
        release, checks = resuming.propose(scope=scope, key=key, level=level, reason=body.reason, by=user, at=now())
        return Status(202, _release(release, checks=[check.as_dict() for check in checks]))
    if not body.approve:
        refused = resuming.refuse(release_id=body.proposal, by=user, reason=body.reason, at=now())
        return Status(202, _release(refused, checks=refused.checks))
    _, eased = resuming.approve(release_id=body.proposal, by=user, reason=body.reason, at=now())
    return Status(200, _brake(brakes.show(eased, at=now())))


def _status(request: HttpRequest) -> dict[str, Any]:
    state = brakes.state()
    return {
        "trading": state.level.name,
        "reason": state.reason,
        "stops": [_brake(each) for each in brakes.standing(_person(request), at=now())],
        "alerts": asdict(notices.state()) if _person(request).role in READS_ALL else None,
    }


def _brake(brake: Brake) -> dict[str, Any]:
    row = brake.switch
    return {
        "scope": row.scope,
        "target": brake.target,
        "level": StopLevel(row.level).name,
        "sweep": row.sweep,
        "reason": row.reason,
        "set_by": brake.set_by,
        "set_at": row.set_at,
        "has_lock": row.has_lock,
        "is_listed": row.followed_version >= row.version,
        "was_in_flight": brake.was_in_flight,
        "in_flight": brake.in_flight,
        "sweeps": [_sweep(each) for each in brake.sweeps],
        "release": None if brake.release is None else _release(brake.release, checks=brake.release.checks),
    }


def _sweep(sweep: Any) -> dict[str, Any]:
    names = ("kind", "state", "rounds", "detail", "left", "proof", "started_at", "canceled_at", "ended_at")
    return {"account": str(sweep.account.public_id)} | {name: getattr(sweep, name) for name in names}


def _release(release: Any, *, checks: list[Any]) -> dict[str, Any]:
    return {
        "proposal": release.pk,
        "state": release.state,
        "level": StopLevel(release.level).name,
        "reason": release.reason,
        "proposed_by": str(release.proposed_by),
        "expires_at": release.expires_at,
        "checks": checks,
    }
