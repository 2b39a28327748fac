"""Four eyes: what one person asks for is done when others agree to exactly that, once, in one transaction.

An app that has something to be agreed to writes a `Kind` and names it in `KINDS`. A request keeps the hash of what it
was about; when that is another one by the time somebody agrees, the request is stale and nothing is done.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.utils.module_loading import import_string

from accounts.models import ApprovalDecision, ApprovalRequest, User
from accounts.rules import Action, may
from accounts.states import ApprovalState, ApprovalVerdict
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Outcome, Target
from nexus.core import money
from nexus.core.errors import Conflict, Denied, FieldError, Invalid, NexusError, NotFound

LIFETIME = timedelta(hours=24)
REASON_LENGTH_MAX = 500
EXPIRED_A_ROUND = 500
KINDS = {  # name → dotted path: accounts stands below whoever has something to be agreed to
    "USER_CREATE": "accounts.services.staffing.CREATE",
    "USER_ROLE": "accounts.services.staffing.ROLE",
    "USER_DEACTIVATE": "accounts.services.staffing.DEACTIVATE",
    "USER_ACTIVATE": "accounts.services.staffing.ACTIVATE",
    "SECOND_FACTOR_RESET": "accounts.services.staffing.RESET",
    "PASSWORD_RESET": "accounts.services.staffing.PASSWORD_RESET",
    "LIMIT_RAISE": "trading.services.raises.RAISE",
    "CONTROL_RELEASE": "trading.services.resuming.RELEASE",
    "ORDER_DECISION": "trading.services.decisions.DECISION",
    "CHANGE_DECISION": "trading.services.change_decisions.DECISION",
    "ACCOUNT_PUT_ASIDE": "reconciliation.services.putting_aside.PUT_ASIDE",
    "ACCOUNT_TAKE_UP": "reconciliation.services.putting_aside.TAKE_UP",
    "REVIEW_DECISION": "reconciliation.services.decisions.AGREED",
}
PERSONAL = frozenset({"email", "full_name"})  # in a payload: the audit keeps these where they can be erased

Request = ApprovalRequest  # for those above, who hold a row and never the table


class SecondPersonNeeded(Denied):
    """Whoever asked, or has a part in it, does not decide."""

    code = "second_person_needed"
    title = "A second person has to decide"


class ApprovalClosed(Conflict):
    """The request was executed, rejected, canceled, found stale, or has expired."""

    code = "approval_closed"
    title = "This request is no longer open"


class ApprovalStale(Conflict):
    """What was asked for is no longer what would be done."""

    code = "approval_stale"
    title = "What the request is about has changed"


class ApprovalPending(Conflict):
    """The same waits for its decision already."""

    code = "approval_pending"
    title = "There is an open request for this already"


class AlreadyDecided(Conflict):
    """One person has one voice."""

    code = "approval_already_decided"
    title = "You have decided on this already"


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of an execution: `made` for the caller in this process, `shown` for the one who approved, once."""

    made: Any = None
    shown: Mapping[str, str] = field(default_factory=dict)


class Kind(Protocol):
    """One sort of act that takes two people. Everything here runs in the decision's own transaction."""

    def payload(self, request: Request) -> Mapping[str, Any] | None:
        """Lock the object, and say what would be done to it as it stands now; None when it is gone."""
        ...

    def examine(self, request: Request, *, by: Principal, at: datetime) -> NexusError | None:
        """Raise to refuse this person; return an error to refuse after what was noted has been kept."""
        ...

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed | None:
        """Do it. None when the object moved at the last moment: then the request is stale."""
        ...

    def close(self, request: Request, *, state: ApprovalState, by: Principal | None, reason: str, at: datetime) -> None:
        """Let the object follow a request that ended without being executed."""
        ...


@dataclass(frozen=True, slots=True)
class Decided:
    """A request after somebody's word, and what was done when that was the last one needed."""

    request: Request
    executed: Executed | None
    refusal: NexusError | None = None


def ask(
    *,
    kind: str,
    target: Target,
    payload: Mapping[str, Any],
    by: Principal,
    reason: str,
    at: datetime,
    expires_at: datetime | None = None,
    required: int = 1,
) -> Request:
    """Keep a request in the caller's transaction. Raises: ApprovalPending, Invalid, Denied."""
    assert connection.in_atomic_block
    assert kind in KINDS
    require_operator(by)
    require_reason(reason)
    text = canonical(payload)
    try:
        with transaction.atomic():
            request = ApprovalRequest.objects.create(
                kind=kind,
                object_type=target.type,
                object_id=target.id,
                payload=json.loads(text),
                payload_sha256=digest(text),
                requested_by_id=by.pk,
                requested_at=at,
                reason=reason,
                required=required,
                expires_at=min(expires_at or at + LIFETIME, at + LIFETIME),
            )
    except IntegrityError as exc:
        raise ApprovalPending("Another request for the same is open. Decide it first.") from exc
    _tell("approval.requested", request, by=by, reason=reason, at=at)
    return request


def decide(*, public_id: UUID, approve: bool, by: Principal, reason: str, at: datetime) -> Decided:
    """Say yes or no as another person. The last yes that was needed executes, in the same transaction.

    Raises: SecondPersonNeeded, ApprovalStale, ApprovalClosed, AlreadyDecided, NotFound, Denied, Invalid, and whatever
    the kind refuses by.
    """
    decided = _decide(public_id=public_id, approve=approve, by=by, reason=reason, at=at)
    if decided.refusal is not None:
        raise decided.refusal
    return decided


@transaction.atomic(durable=True)
def _decide(*, public_id: UUID, approve: bool, by: Principal, reason: str, at: datetime) -> Decided:
    require_operator(by)
    require_reason(reason)
    request = _take(public_id)
    if request.state == ApprovalState.PENDING and request.expires_at <= at:
        _close(request, ApprovalState.EXPIRED, by=None, reason="", at=at)
        return Decided(request, None, ApprovalClosed("This request is expired. Ask again."))
    if request.state != ApprovalState.PENDING:
        raise ApprovalClosed(f"This request is {request.state.lower()}.")
    if request.requested_by_id == by.pk:
        raise SecondPersonNeeded("You asked for this. Another operator decides it.")
    if request.decisions.filter(decided_by_id=by.pk).exists():
        raise AlreadyDecided("You have agreed to this already. Somebody else is needed.")
    if approve:
        return _approve(request, by=by, reason=reason, at=at)
    _note(request, ApprovalVerdict.REJECT, by=by, reason=reason, at=at)
    _close(request, ApprovalState.REJECTED, by=by, reason=reason, at=at)
    return Decided(request, None)


def _approve(request: Request, *, by: Principal, reason: str, at: datetime) -> Decided:
    kind = kind_of(request)
    payload = kind.payload(request)
    if not _has_asker(request) or payload is None or digest(canonical(payload)) != bytes(request.payload_sha256):
        return _stale(request, by=by, at=at)
    refusal = kind.examine(request, by=by, at=at)
    if refusal is not None:
        return Decided(request, None, refusal)
    agreed = request.decisions.filter(decision=ApprovalVerdict.APPROVE).count() + 1
    if agreed < request.required:
        _note(request, ApprovalVerdict.APPROVE, by=by, reason=reason, at=at)
        return Decided(request, None)
    executed = kind.execute(request, by=by, reason=reason, at=at)
    if executed is None:
        return _stale(request, by=by, at=at)
    _note(request, ApprovalVerdict.APPROVE, by=by, reason=reason, at=at)
    _settle(request, ApprovalState.EXECUTED, by=by, reason=reason, at=at)
    return Decided(request, executed)


@transaction.atomic(durable=True)
def cancel(*, public_id: UUID, by: Principal, reason: str, at: datetime) -> Request:
    """Take back what one asked for oneself. Raises: NotFound, ApprovalClosed, Denied, Invalid."""
    require_operator(by)
    require_reason(reason)
    request = _take(public_id)
    if request.requested_by_id != by.pk:
        raise Denied("Only who asked for it takes it back. You may reject it.")
    if request.state != ApprovalState.PENDING:
        raise ApprovalClosed(f"This request is {request.state.lower()}.")
    _close(request, ApprovalState.CANCELED, by=by, reason=reason, at=at)
    return request


def about(*, kind: str, object_id: object) -> UUID | None:
    """Return the newest request about an object, or None."""
    rows = ApprovalRequest.objects.filter(kind=kind, object_id=str(object_id)).order_by("-pk")
    return rows.values_list("public_id", flat=True).first()


def expire(*, at: datetime) -> int:
    """Close the requests that nobody may decide any more, each by itself with what it is about. Returns how many."""
    late = ApprovalRequest.objects.filter(state=ApprovalState.PENDING, expires_at__lte=at).order_by("pk")
    return sum(_expire(public_id, at=at) for public_id in late.values_list("public_id", flat=True)[:EXPIRED_A_ROUND])


@transaction.atomic(durable=True)
def _expire(public_id: UUID, *, at: datetime) -> bool:
    request = _take(public_id)
    if request.state != ApprovalState.PENDING:
        return False
    _close(request, ApprovalState.EXPIRED, by=None, reason="", at=at)
    return True


def kind_of(request: Request) -> Kind:
    """Return how a request's kind is looked at and done."""
    kind: Kind = import_string(KINDS[request.kind])
    return kind


def canonical(payload: Mapping[str, Any]) -> str:
    """Write a payload the one way in which it is hashed."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), default=_plain)


def digest(text: str) -> bytes:
    """Hash a canonical payload."""
    return hashlib.sha256(text.encode()).digest()


def require_operator(by: Principal) -> None:
    """Refuse who may not ask or decide. Raises: Denied."""
    if not may(by.role, Action.APPROVAL_DECIDE):
        raise Denied("Only operators ask for this and decide it.")


def require_reason(reason: str) -> None:
    """Refuse an act without a word of why. Raises: Invalid."""
    if not reason.strip() or len(reason) > REASON_LENGTH_MAX:
        detail = f"a reason of at most {REASON_LENGTH_MAX} characters is required"
        raise Invalid("Give a reason.", errors=[FieldError("/reason", "required", detail)])


def _take(public_id: UUID) -> Request:
    request = ApprovalRequest.objects.locked().filter(public_id=public_id).first()
    if request is None:
        raise NotFound("There is no such request.")
    return request


def _has_asker(request: Request) -> bool:
    """Tell whether whoever asked may still ask: somebody who was shut out meanwhile is not the first of two."""
    rows = User.objects.filter(pk=request.requested_by_id, is_active=True)
    role = rows.values_list("role", flat=True).first()
    return role is not None and may(role, Action.APPROVAL_DECIDE)


def _stale(request: Request, *, by: Principal, at: datetime) -> Decided:
    _close(request, ApprovalState.STALE, by=by, reason="It has changed since.", at=at)
    return Decided(request, None, ApprovalStale("What this is about has changed since it was asked for. Ask again."))


def _close(request: Request, state: ApprovalState, *, by: Principal | None, reason: str, at: datetime) -> None:
    """End a request that was not executed, and what it was about with it."""
    kind_of(request).close(request, state=state, by=by, reason=reason, at=at)
    _settle(request, state, by=by, reason=reason, at=at)


def _settle(request: Request, state: ApprovalState, *, by: Principal | None, reason: str, at: datetime) -> None:
    request.state, request.closed_at = state, at
    request.save(update_fields=["state", "closed_at"])
    _tell(f"approval.{state.lower()}", request, by=by, reason=reason, at=at)


def _note(request: Request, verdict: ApprovalVerdict, *, by: Principal, reason: str, at: datetime) -> None:
    ApprovalDecision.objects.create(
        request=request,
        decided_by_id=by.pk,
        requested_by_id=request.requested_by_id,
        decision=verdict,
        reason=reason,
        decided_at=at,
    )
    if verdict == ApprovalVerdict.APPROVE:
        _tell("approval.approved", request, by=by, reason=reason, at=at)


def _tell(action: str, request: Request, *, by: Principal | None, reason: str, at: datetime) -> None:
    is_refusal = request.state in (ApprovalState.STALE, ApprovalState.REJECTED)
    plain = {name: value for name, value in request.payload.items() if name not in PERSONAL}
    told = {"payload_sha256": bytes(request.payload_sha256).hex(), "payload": plain}
    personal = {name: value for name, value in request.payload.items() if name in PERSONAL}
    target = Target(request.object_type, request.object_id)
    if personal:  # somebody who has no id yet is known by an address, which its hash without a salt would tell
        personal["payload_sha256"] = told.pop("payload_sha256")
        target = Target(request.object_type, str(request.public_id))
    trail.record(
        action=action,
        actor=Actor.system("approvals") if by is None else Actor.user(by.public_id),
        target=target,
        outcome=Outcome.DENIED if is_refusal else Outcome.SUCCESS,
        detail={"approval": request.public_id, "kind": request.kind, **told, "reason": reason},
        pii=personal or None,
        occurred_at=at,
    )


def _plain(value: object) -> object:
    return money.as_text(value) if isinstance(value, Decimal) else str(value)
