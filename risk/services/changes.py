"""Changing limits: lowering acts at once; raising needs a reason and a second person. Every change is a new version."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from accounts.services import approvals
from accounts.services.approvals import ApprovalClosed, ApprovalStale, Executed, Request
from accounts.states import ApprovalState, Role
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import money
from nexus.core.errors import Conflict, Denied, FieldError, Invalid, NotFound
from risk.models import LimitChange, RiskLimit
from risk.rules import limits as rules
from risk.services import limits
from risk.states import ChangeState, LimitKind, LimitScope

SecondPersonNeeded = approvals.SecondPersonNeeded
KIND = "LIMIT_RAISE"
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


class LimitChanged(Conflict):
    """The limit is another one than the one that was looked at."""

    code = "limit_changed_since"
    title = "The limit has changed since you looked"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would come to: the version in force, None without one, and whether it takes a second person."""

    current: RiskLimit | None
    gives_room: bool

    @property
    def seen(self) -> int:
        """Return the version that this rests on; 0 for none."""
        return 0 if self.current is None else int(self.current.pk)


def preview(*, scope: LimitScope, key: str, kind: LimitKind, value: Decimal) -> Preview:
    """Say what a change would come to as things stand, and do nothing."""
    current = _current(scope=scope, key=key, kind=kind)
    return Preview(current, _gives_room(current, scope=scope, kind=kind, value=value))


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
    seen: int | None = None,
) -> RiskLimit:
    """Tighten a limit, at once. The version it replaces is kept with the time it ended.

    Takes: `by` for a person, whose role is checked; a process of ours has none; `seen`, the version that was looked at,
    0 for none, where one was. Raises: LimitNotLowered, LimitChanged, Invalid, Denied.
    """
    if by is not None:
        _require_operator(by)
    _require_sense(scope=scope, key=key, value=value, reason=reason)
    _lock(scope=scope, key=key, kind=kind)
    current = _current(scope=scope, key=key, kind=kind)
    _require_seen(current, seen)
    if _gives_room(current, scope=scope, kind=kind, value=value):
        raise LimitNotLowered("This gives more room. Propose it, and let a second person approve.")
    row = _replace(current, scope=scope, key=key, kind=kind, value=value, reason=reason, by=by, at=at)
    _tell("risk.limit_lowered", actor=actor, row=row, before=current, reason=reason, at=at)
    return row


@transaction.atomic(durable=True)
def propose(
    *,
    scope: LimitScope,
    key: str,
    kind: LimitKind,
    value: Decimal,
    reason: str,
    by: Principal,
    at: datetime,
    seen: int | None = None,
) -> LimitChange:
    """Ask for a limit to be raised. Nothing changes until another person approves. Takes: `seen` as `lower`.

    Raises: ChangePending while another proposal for the limit is open; LimitNotRaised, LimitChanged, Invalid, Denied.
    """
    _require_operator(by)
    _require_sense(scope=scope, key=key, value=value, reason=reason)
    _lock(scope=scope, key=key, kind=kind)
    _expire(at=at)
    if LimitChange.objects.filter(scope=scope, key=key, kind=kind, state=ChangeState.PROPOSED).exists():
        raise ChangePending("Another proposal for this limit is open. Decide it first.")
    current = _current(scope=scope, key=key, kind=kind)
    _require_seen(current, seen)
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
    approvals.ask(
        kind=KIND,
        target=Target("limit_change", str(change.pk)),
        payload=_payload(change, current=current),
        by=by,
        reason=reason,
        at=at,
        expires_at=change.expires_at,
    )
    trail.record(
        action="risk.limit_change_proposed",
        actor=Actor.user(by.public_id),
        target=_target(change),
        detail={"change": change.pk, "before": change.before, "after": value, "reason": reason},
        occurred_at=at,
    )
    return change


def approve(*, change_id: int, by: Principal, reason: str, at: datetime) -> RiskLimit:
    """Put a proposed limit in force. Raises: SecondPersonNeeded, ChangeDecided, NotFound, Denied."""
    executed = _say(change_id, approve=True, by=by, reason=reason, at=at)
    assert executed is not None
    row: RiskLimit = executed.made
    return row


def refuse(*, change_id: int, by: Principal, reason: str, at: datetime) -> LimitChange:
    """Refuse a proposal: the limit stays. Raises as `approve`."""
    _say(change_id, approve=False, by=by, reason=reason, at=at)
    return LimitChange.objects.get(pk=change_id)


def _say(change_id: int, *, approve: bool, by: Principal, reason: str, at: datetime) -> Executed | None:
    """Decide by the number of the proposal, and refuse in its words."""
    _require_operator(by)
    approvals.require_reason(reason)
    change = LimitChange.objects.filter(pk=change_id).first()
    public_id = approvals.about(kind=KIND, object_id=change_id)
    if change is None or public_id is None:
        raise NotFound("There is no such proposal.")
    if change.state != ChangeState.PROPOSED:
        raise ChangeDecided(f"This proposal is {change.state.lower()}.")
    try:
        return approvals.decide(public_id=public_id, approve=approve, by=by, reason=reason, at=at).executed
    except ApprovalStale as exc:
        raise ChangeDecided("The limit was changed since. The proposal is void; propose again.") from exc
    except ApprovalClosed as exc:
        raise ChangeDecided(exc.detail) from exc


class Raise:
    """How a proposal to raise a limit is looked at and done."""

    def payload(self, request: Request) -> dict[str, Any] | None:
        """Lock the proposal and the limit, and say what would be changed from what."""
        change: LimitChange | None = LimitChange.objects.locked().filter(pk=int(request.object_id)).first()
        if change is None or change.state != ChangeState.PROPOSED:
            return None
        scope, kind = LimitScope(change.scope), LimitKind(change.kind)
        _lock(scope=scope, key=change.key, kind=kind)
        return _payload(change, current=_current(scope=scope, key=change.key, kind=kind))

    def examine(self, request: Request, *, by: Principal, at: datetime) -> None:
        """Ask for nothing else here: whose account a limit is of, those above know."""

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed:
        """Put the limit in force."""
        change: LimitChange = LimitChange.objects.get(pk=int(request.object_id))
        scope, kind = LimitScope(change.scope), LimitKind(change.kind)
        current = _current(scope=scope, key=change.key, kind=kind)
        row = _replace(
            current, scope=scope, key=change.key, kind=kind, value=change.value, reason=change.reason, by=by, at=at
        )
        _decide(change, ChangeState.APPLIED, by=by, reason=reason, at=at)
        actor = Actor.user(by.public_id)
        _tell("risk.limit_raised", actor=actor, row=row, before=current, reason=reason, at=at, change=change)
        return Executed(row)

    def close(self, request: Request, *, state: ApprovalState, by: Principal | None, reason: str, at: datetime) -> None:
        """End the proposal: the limit stays."""
        change: LimitChange | None = LimitChange.objects.locked().filter(pk=int(request.object_id)).first()
        if change is None or change.state != ChangeState.PROPOSED:
            return
        if state != ApprovalState.REJECTED or by is None:
            to = ChangeState.EXPIRED if state == ApprovalState.EXPIRED else ChangeState.STALE
            LimitChange.objects.filter(pk=change.pk).update(state=to, decided_at=at)
            return
        _decide(change, ChangeState.REFUSED, by=by, reason=reason, at=at)
        trail.record(
            action="risk.limit_change_refused",
            actor=Actor.user(by.public_id),
            target=_target(change),
            detail={"change": change.pk, "reason": reason},
            occurred_at=at,
        )


def _payload(change: LimitChange, *, current: RiskLimit | None) -> dict[str, Any]:
    return {
        "scope": change.scope,
        "key": change.key,
        "kind": change.kind,
        "before": None if current is None else money.as_text(current.value),
        "value": money.as_text(change.value),
    }


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


def _require_seen(current: RiskLimit | None, seen: int | None) -> None:
    if seen is not None and seen != (0 if current is None else current.pk):
        raise LimitChanged("Somebody has changed this limit since you looked. Look at it, and decide again.")


def _gives_room(current: RiskLimit | None, *, scope: LimitScope, kind: LimitKind, value: Decimal) -> bool:
    """Tell whether a new value gives more room than now.

    The first row of a scope can only take room away where the platform has a limit of that kind; where it has none,
    orders are refused, and a first limit opens them. Of an order's quantity the venue's own maximum always holds.
    """
    if current is not None:
        return rules.is_tighter(kind, current.value, than=value)
    if kind is LimitKind.ORDER_QUANTITY_MAX:
        return False
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
