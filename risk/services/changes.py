"""Changing limits: lowering acts at once; raising needs a reason and a second person. Every change is a new version."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import connection, transaction

from accounts.states import Role
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, Denied, FieldError, Invalid, NotFound
from risk.models import LimitChange, RiskLimit
from risk.rules import limits as rules
from risk.services import limits
from risk.states import ChangeState, LimitKind, LimitScope

CHANGE_LOCK = 0x4C494D54  # beside a hash of which limit: one change of a limit at a time


class LimitNotLowered(Conflict):
    """The change gives more room, and one person may only take room away."""

    code = "limit_not_lowered"
    title = "Raising a limit needs a second person"


class LimitNotRaised(Conflict):
    """The proposal gives no more room, and nobody has to wait for less."""

    code = "limit_not_raised"
    title = "Lowering a limit needs no second person"


class ChangeDecided(Conflict):
    """The proposal has been applied, refused or has expired."""

    code = "limit_change_decided"
    title = "This proposal is no longer open"


class ChangePending(Conflict):
    """Another proposal for the same limit waits for its decision."""

    code = "limit_change_pending"
    title = "This limit has an open proposal already"


class SecondPersonNeeded(Denied):
    """Whoever proposed a change does not decide it."""

    code = "second_person_needed"
    title = "A second person has to decide"


@transaction.atomic(durable=True)
def lower(
    *,
    scope: LimitScope,
    key: str,
    kind: LimitKind,
    value: Decimal,
    reason: str,
    actor: Actor,
    at: datetime,
    by: Principal | None = None,
) -> RiskLimit:
    """Tighten a limit, at once. The version it replaces is kept with the time it ended.

    Takes: `by` for a person, whose role is checked; a process of ours has none. Raises: LimitNotLowered, Invalid,
    Denied.
    """
    if by is not None:
        _require_operator(by)
    _require_sense(scope=scope, key=key, value=value, reason=reason)
    _lock(scope=scope, key=key, kind=kind)
    current = _current(scope=scope, key=key, kind=kind)
    if _gives_room(current, scope=scope, kind=kind, value=value):
        raise LimitNotLowered("This gives more room. Propose it, and let a second person approve.")
    row = _replace(current, scope=scope, key=key, kind=kind, value=value, reason=reason, by=by, at=at)
    _tell("risk.limit_lowered", actor=actor, row=row, before=current, reason=reason, at=at)
    return row


@transaction.atomic(durable=True)
def propose(
    *, scope: LimitScope, key: str, kind: LimitKind, value: Decimal, reason: str, by: Principal, at: datetime
) -> LimitChange:
    """Ask for a limit to be raised. Nothing changes until another person approves.

    Raises: ChangePending while another proposal for the limit is open; LimitNotRaised, Invalid, Denied.
    """
    _require_operator(by)
    _require_sense(scope=scope, key=key, value=value, reason=reason)
    _lock(scope=scope, key=key, kind=kind)
    _expire(at=at)
    if LimitChange.objects.filter(scope=scope, key=key, kind=kind, state=ChangeState.PROPOSED).exists():
        raise ChangePending("Another proposal for this limit is open. Decide it first.")
    current = _current(scope=scope, key=key, kind=kind)
    if not _gives_room(current, scope=scope, kind=kind, value=value):
        raise LimitNotRaised("This gives no more room than now. Lower the limit instead: that acts at once.")
    change: LimitChange = LimitChange.objects.create(
        scope=scope,
        key=key,
        kind=kind,
        before=None if current is None else current.value,
        value=value,
        reason=reason,
        state=ChangeState.PROPOSED,
        proposed_by_id=by.pk,
        proposed_at=at,
        expires_at=at + timedelta(hours=settings.LIMIT_CHANGE_HOURS),
    )
    trail.record(
        action="risk.limit_change_proposed",
        actor=Actor.user(by.public_id),
        target=_target(change),
        detail={"change": change.pk, "before": change.before, "after": value, "reason": reason},
        occurred_at=at,
    )
    return change


@transaction.atomic(durable=True)
def approve(*, change_id: int, by: Principal, reason: str, at: datetime) -> RiskLimit:
    """Put a proposed limit in force. Raises: SecondPersonNeeded, ChangeDecided, NotFound, Denied."""
    change = _open_change(change_id, by=by, reason=reason, at=at)
    scope, kind = LimitScope(change.scope), LimitKind(change.kind)
    _lock(scope=scope, key=change.key, kind=kind)
    current = _current(scope=scope, key=change.key, kind=kind)
    is_raised = _gives_room(current, scope=scope, kind=kind, value=change.value)  # it may have moved since
    row = _replace(
        current, scope=scope, key=change.key, kind=kind, value=change.value, reason=change.reason, by=by, at=at
    )
    _decide(change, ChangeState.APPLIED, by=by, reason=reason, at=at)
    actor = Actor.user(by.public_id)
    action = "risk.limit_raised" if is_raised else "risk.limit_lowered"
    _tell(action, actor=actor, row=row, before=current, reason=reason, at=at, change=change)
    return row


@transaction.atomic(durable=True)
def refuse(*, change_id: int, by: Principal, reason: str, at: datetime) -> LimitChange:
    """Refuse a proposal: the limit stays. Raises as `approve`."""
    change = _open_change(change_id, by=by, reason=reason, at=at)
    _decide(change, ChangeState.REFUSED, by=by, reason=reason, at=at)
    trail.record(
        action="risk.limit_change_refused",
        actor=Actor.user(by.public_id),
        target=_target(change),
        detail={"change": change.pk, "reason": reason},
        occurred_at=at,
    )
    return change


def _open_change(change_id: int, *, by: Principal, reason: str, at: datetime) -> LimitChange:
    """Lock a proposal for its decision by a second person."""
    _require_operator(by)
    if not reason.strip():
        raise Invalid("Give a reason.", errors=[FieldError("/reason", "required", "a reason is required")])
    change: LimitChange | None = LimitChange.objects.locked().filter(pk=change_id).first()
    if change is None:
        raise NotFound("There is no such proposal.")
    if change.state != ChangeState.PROPOSED or change.expires_at <= at:
        has_expired = change.state == ChangeState.PROPOSED
        raise ChangeDecided(f"This proposal is {'expired' if has_expired else change.state.lower()}.")
    if change.proposed_by_id == by.pk:
        raise SecondPersonNeeded("You proposed this change. Another operator decides it.")
    return change


def _decide(change: LimitChange, to: ChangeState, *, by: Principal, reason: str, at: datetime) -> None:
    change.state, change.decided_by_id, change.decided_at, change.decision = to, by.pk, at, reason
    change.save(update_fields=["state", "decided_by", "decided_at", "decision"])


def _expire(*, at: datetime) -> None:
    LimitChange.objects.filter(state=ChangeState.PROPOSED, expires_at__lte=at).update(
        state=ChangeState.EXPIRED, decided_at=at
    )


def _require_operator(by: Principal) -> None:
    if by.role != Role.OPERATOR:
        raise Denied("Only operators change limits.")


def _require_sense(*, scope: LimitScope, key: str, value: Decimal, reason: str) -> None:
    faults = []
    if not value.is_finite() or value <= 0:
        faults.append(FieldError("/value", "not_positive", "must be a finite number above zero"))
    if bool(key) == (scope is LimitScope.PLATFORM):
        faults.append(FieldError("/key", "wrong", "names whose limit it is; the platform's has none"))
    if not reason.strip():
        faults.append(FieldError("/reason", "required", "a reason is required"))
    if faults:
        raise Invalid(f"{faults[0].pointer[1:]} {faults[0].detail}.", errors=faults)


def _gives_room(current: RiskLimit | None, *, scope: LimitScope, kind: LimitKind, value: Decimal) -> bool:
    """Tell whether a new value gives more room than now.

    The first row of a scope can only take room away where the platform has a limit of that kind; where it has none,
    orders are refused, and a first limit opens them.
    """
    if current is not None:
        return rules.is_tighter(kind, current.value, than=value)
    has_ceiling = any(limit.kind is kind for limit in limits.ceilings())
    has_row = RiskLimit.objects.filter(scope=LimitScope.PLATFORM, kind=kind, ended_at__isnull=True).exists()
    return not (has_ceiling or has_row)


def _lock(*, scope: LimitScope, key: str, kind: LimitKind) -> None:
    """Let one change of a limit happen at a time, also of one that has no row yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [CHANGE_LOCK, f"{scope}:{key}:{kind}"])


def _current(*, scope: LimitScope, key: str, kind: LimitKind) -> RiskLimit | None:
    row: RiskLimit | None = RiskLimit.objects.filter(scope=scope, key=key, kind=kind, ended_at__isnull=True).first()
    return row


def _replace(
    current: RiskLimit | None,
    *,
    scope: LimitScope,
    key: str,
    kind: LimitKind,
    value: Decimal,
    reason: str,
    by: Principal | None,
    at: datetime,
) -> RiskLimit:
    if current is not None:
        RiskLimit.objects.filter(pk=current.pk).update(ended_at=at)
    row: RiskLimit = RiskLimit.objects.create(
        scope=scope,
        key=key,
        kind=kind,
        value=value,
        reason=reason,
        set_by_id=None if by is None else by.pk,
        created_at=at,
    )
    return row


def _tell(
    action: str,
    *,
    actor: Actor,
    row: RiskLimit,
    before: RiskLimit | None,
    reason: str,
    at: datetime,
    change: LimitChange | None = None,
) -> None:
    trail.record(
        action=action,
        actor=actor,
        target=_target(row),
        detail={
            "before": None if before is None else before.value,
            "after": row.value,
            "reason": reason,
            "change": None if change is None else change.pk,
        },
        occurred_at=at,
    )


def _target(row: RiskLimit | LimitChange) -> Target:
    return Target("risk_limit", f"{row.scope}:{row.key}:{row.kind}")
