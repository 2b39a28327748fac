"""Who may come in, decided by two: a user is created, given a role, deactivated, activated again or rid of a lost
device when a second operator agrees.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.models import User, normalized_email
from accounts.services import approvals, codes, links, second_factor, sessions, users
from accounts.services.approvals import Executed, Request, SecondPersonNeeded
from accounts.states import ApprovalState, Role
from accounts.types import ClientInfo, Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, FieldError, Invalid, NotFound

FOUNDERS = 2  # operators that `manage.py create_operator` makes; from then on two of them decide


class NotChangeable(Conflict):
    """The user is that already, or is the break-glass account, which this does not touch."""

    code = "user_not_changeable"
    title = "This user cannot be changed so"


class ChangedSince(Conflict):
    """The user is another one than who asked has looked at."""

    code = "changed_since"
    title = "The user has changed since you looked"


def ask_to_create(*, email: str, full_name: str, role: Role, reason: str, by: Principal, at: datetime) -> Request:
    """Ask for a new user. Raises: users.EmailTaken, ApprovalPending, Invalid, Denied."""
    approvals.expire(at=at)
    return _ask_to_create(email=email, full_name=full_name, role=role, reason=reason, by=by, at=at)


@transaction.atomic(durable=True)
def _ask_to_create(*, email: str, full_name: str, role: Role, reason: str, by: Principal, at: datetime) -> Request:
    approvals.require_operator(by)
    users.check_email(email)
    address = normalized_email(email)
    if User.objects.filter(email=address).exists():
        raise users.EmailTaken("An account with this email address exists.")
    return approvals.ask(
        kind="USER_CREATE",
        target=Target("new_user", address),
        payload={"email": address, "full_name": full_name, "role": role.value},
        by=by,
        reason=reason,
        at=at,
    )


def ask_for_role(
    *, public_id: UUID, role: Role, reason: str, by: Principal, at: datetime, seen: int | None = None
) -> Request:
    """Ask for a user to be given another role.

    Takes: `seen`, the token version of the user that was looked at, where one was; every change of a user moves it.
    Raises: ChangedSince, NotFound, NotChangeable, ApprovalPending, Invalid, Denied.
    """
    approvals.expire(at=at)
    return _ask_for_role(public_id=public_id, role=role, reason=reason, by=by, at=at, seen=seen)


@transaction.atomic(durable=True)
def _ask_for_role(
    *, public_id: UUID, role: Role, reason: str, by: Principal, at: datetime, seen: int | None
) -> Request:
    user = _changeable(public_id, by=by, seen=seen)
    if user.role == role:
        raise NotChangeable(f"The user is {role.label} already.")
    return approvals.ask(kind="USER_ROLE", target=_target(user), payload=_role(user, role), by=by, reason=reason, at=at)


def ask_to_deactivate(*, public_id: UUID, reason: str, by: Principal, at: datetime, seen: int | None = None) -> Request:
    """Ask for a user to be shut out. Raises: as `ask_for_role`."""
    approvals.expire(at=at)
    return _ask_to_deactivate(public_id=public_id, reason=reason, by=by, at=at, seen=seen)


@transaction.atomic(durable=True)
def _ask_to_deactivate(*, public_id: UUID, reason: str, by: Principal, at: datetime, seen: int | None) -> Request:
    user = _changeable(public_id, by=by, seen=seen)
    if not user.is_active:
        raise NotChangeable("The user is deactivated already.")
    return approvals.ask(
        kind="USER_DEACTIVATE", target=_target(user), payload=_activity(user), by=by, reason=reason, at=at
    )


def ask_to_activate(*, public_id: UUID, reason: str, by: Principal, at: datetime, seen: int | None = None) -> Request:
    """Ask for a user to be let in again, who was shut out. Raises: as `ask_for_role`."""
    approvals.expire(at=at)
    return _ask_to_activate(public_id=public_id, reason=reason, by=by, at=at, seen=seen)


@transaction.atomic(durable=True)
def _ask_to_activate(*, public_id: UUID, reason: str, by: Principal, at: datetime, seen: int | None) -> Request:
    user = _changeable(public_id, by=by, seen=seen)
    if user.is_active:
        raise NotChangeable("The user is active already.")
    return approvals.ask(
        kind="USER_ACTIVATE", target=_target(user), payload=_activity(user), by=by, reason=reason, at=at
    )


def ask_to_reset(*, public_id: UUID, reason: str, by: Principal, at: datetime, seen: int | None = None) -> Request:
    """Ask for a second factor that is lost to be removed. Raises: NoSecondFactor, as `ask_for_role`."""
    approvals.expire(at=at)
    return _ask_to_reset(public_id=public_id, reason=reason, by=by, at=at, seen=seen)


@transaction.atomic(durable=True)
def _ask_to_reset(*, public_id: UUID, reason: str, by: Principal, at: datetime, seen: int | None) -> Request:
    user = _changeable(public_id, by=by, seen=seen)
    payload = _device(user)
    if payload is None:
        raise second_factor.NoSecondFactor("The user has no second factor.")
    return approvals.ask(kind="SECOND_FACTOR_RESET", target=_target(user), payload=payload, by=by, reason=reason, at=at)


def ask_to_reset_password(*, public_id: UUID, reason: str, by: Principal, at: datetime) -> Request:
    """Ask for a link with which somebody sets another password, or the first. Raises: as `ask_for_role`."""
    approvals.expire(at=at)
    return _ask_to_reset_password(public_id=public_id, reason=reason, by=by, at=at)


@transaction.atomic(durable=True)
def _ask_to_reset_password(*, public_id: UUID, reason: str, by: Principal, at: datetime) -> Request:
    user = _changeable(public_id, by=by)
    payload = _entry(user)
    if payload is None:
        raise NotChangeable("Only somebody who is active gets a link for another password.")
    return approvals.ask(kind="PASSWORD_RESET", target=_target(user), payload=payload, by=by, reason=reason, at=at)


class _Create:
    """How a new user is made: without a password, with a link that sets it once."""

    def payload(self, request: Request) -> dict[str, Any] | None:
        """Say who would be created; nobody, when the address is taken by now."""
        taken = User.objects.filter(email=request.payload["email"]).exists()
        return None if taken else {name: request.payload[name] for name in ("email", "full_name", "role")}

    def examine(self, request: Request, *, by: Principal, at: datetime) -> None:
        """Ask for nothing else."""

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed:
        """Create the user, with a link of which who agreed sees no more than a half."""
        user = users.create_without_password(
            email=request.payload["email"],
            full_name=request.payload["full_name"],
            role=Role(request.payload["role"]),
            actor=Actor.user(by.public_id),
        )
        return Executed(user, links.issue(user, agreed=request, at=at))

    def close(self, request: Request, *, state: ApprovalState, by: Principal | None, reason: str, at: datetime) -> None:
        """Leave nothing behind."""


class _Changing:
    """What changing a role and deactivating share."""

    def examine(self, request: Request, *, by: Principal, at: datetime) -> None:
        """Refuse whom it is about. Raises: SecondPersonNeeded."""
        if request.object_id == str(by.public_id):
            raise SecondPersonNeeded("This is about you. Another operator decides it.")

    def close(self, request: Request, *, state: ApprovalState, by: Principal | None, reason: str, at: datetime) -> None:
        """Leave the user as it is."""


class _Role(_Changing):
    """How a user is given another role."""

    def payload(self, request: Request) -> dict[str, Any] | None:
        """Lock the user, and say from which role to which."""
        user = _locked(request)
        return None if user is None else _role(user, Role(request.payload["role"]))

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed:
        """Give the role, and end whatever was begun under the old one."""
        user, role = _locked(request), Role(request.payload["role"])
        assert user is not None
        User.objects.filter(pk=user.pk).update(role=role)
        _finish(
            user, "accounts.user.role_changed", {"role": user.role}, {"role": role.value}, by=by, reason=reason, at=at
        )
        return Executed(user)


class _Activity(_Changing):
    """How a user is shut out, or let in again with the role, password and second factor of before."""

    def __init__(self, *, is_active: bool) -> None:
        self.is_active = is_active

    def payload(self, request: Request) -> dict[str, Any] | None:
        """Lock the user, and say whether it is active."""
        user = _locked(request)
        return None if user is None else _activity(user)

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed:
        """Do it. All sessions and keys end, or have ended and stay dead."""
        user = _locked(request)
        assert user is not None
        User.objects.filter(pk=user.pk).update(is_active=self.is_active)
        action = f"accounts.user.{'activated' if self.is_active else 'deactivated'}"
        before, after = {"is_active": user.is_active}, {"is_active": self.is_active}
        _finish(user, action, before, after, by=by, reason=reason, at=at)
        return Executed(user)


class _Reset(_Changing):
    """How somebody loses a second factor that is lost already, and may set up another with the password."""

    def payload(self, request: Request) -> dict[str, Any] | None:
        """Lock the user, and say since when the device is in use; nothing, when there is none any more."""
        user = _locked(request)
        return None if user is None else _device(user)

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed:
        """Remove the device and its recovery codes, and end all sessions and keys."""
        user = _locked(request)
        assert user is not None
        second_factor.forget(user, actor=Actor.user(by.public_id), at=at)
        _finish(
            user, "accounts.user.second_factor_reset", {"is_on": True}, {"is_on": False}, by=by, reason=reason, at=at
        )
        return Executed(user)


class _PasswordReset(_Changing):
    """How somebody gets a link for another password. Nobody but its owner sets it, and until then the old one holds."""

    def payload(self, request: Request) -> dict[str, Any] | None:
        """Lock the user, and say who it is; nothing, when there is no password to replace any more."""
        user = _locked(request)
        return None if user is None else _entry(user)

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed:
        """Make the link, of which who agreed sees no more than a half."""
        user = _locked(request)
        assert user is not None
        shown = links.issue(user, agreed=request, at=at)
        trail.record(
            action="accounts.password.link_made", actor=Actor.user(by.public_id), target=_target(user), occurred_at=at,
            detail={"reason": reason},
        )  # fmt: skip
        return Executed(user, shown)


CREATE, ROLE, RESET, PASSWORD_RESET = _Create(), _Role(), _Reset(), _PasswordReset()
DEACTIVATE, ACTIVATE = _Activity(is_active=False), _Activity(is_active=True)


def _changeable(public_id: UUID, *, by: Principal, seen: int | None = None) -> User:
    """Lock the user: what is asked for is what stands in the payload, and nobody changes it in between."""
    approvals.require_operator(by)
    user: User | None = User.objects.locked().filter(public_id=public_id).first()
    if user is None:
        raise NotFound("There is no such user.")
    if seen is not None and user.token_version != seen:
        raise ChangedSince("Somebody was faster: the user has changed since you looked. Nothing was asked for.")
    if user.pk == by.pk:
        detail = "Nobody asks for a change of himself."
        raise Invalid(detail, errors=[FieldError("/user", "own", detail)])
    if user.is_superuser:
        raise NotChangeable("The break-glass account is not changed here.")
    return user


def _locked(request: Request) -> User | None:
    return User.objects.locked().filter(public_id=UUID(request.object_id)).first()


def _role(user: User, role: Role) -> dict[str, Any]:
    return {"user": str(user.public_id), "email": user.email, "before": user.role, "role": role.value}


def _activity(user: User) -> dict[str, Any]:
    return {"user": str(user.public_id), "email": user.email, "is_active": user.is_active, "role": user.role}


def _entry(user: User) -> dict[str, Any] | None:
    if not user.is_active:
        return None
    first = {} if user.has_usable_password() else {"is_first": True}  # whoever never used the link of the creation
    return {"user": str(user.public_id), "email": user.email, "token_version": user.token_version, **first}


def _device(user: User) -> dict[str, Any] | None:
    device = codes.device_of(user)
    if device is None:
        return None
    since = device.confirmed_at.isoformat() if device.confirmed_at else ""
    return {"user": str(user.public_id), "email": user.email, "device_since": since}


def _target(user: User) -> Target:
    return Target("user", str(user.public_id))


def _finish(
    user: User, action: str, before: dict[str, Any], after: dict[str, Any], *, by: Principal, reason: str, at: datetime
) -> None:
    actor = Actor.user(by.public_id)
    sessions.end_all(user_id=user.pk, actor=actor, client=ClientInfo(), at=at)
    trail.record(
        action=action, actor=actor, target=_target(user), occurred_at=at,
        detail={"before": before, "after": after, "reason": reason},
    )  # fmt: skip
