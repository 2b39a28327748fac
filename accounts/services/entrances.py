"""Let people in by their password: through the API, the console, a command, and once more inside a session."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib.auth import authenticate
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import User, normalized_email
from accounts.services import codes, lockout, notices, refusals
from accounts.states import Role
from accounts.types import ClientInfo
from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit.services import trail
from nexus.audit.types import ANONYMOUS, Actor, Outcome, Target
from nexus.core.errors import Denied, Unauthenticated

PASSWORD_METHOD = "pwd"  # noqa: S105 — RFC 8176's word for it


class InvalidCredentials(Unauthenticated):
    """Unknown, wrong or inactive: the same answer, after the same time."""

    code = "invalid_credentials"
    title = "The email or the password is wrong"

    def __init__(self) -> None:
        super().__init__("The email or the password is wrong.")


class EnrolmentNeeded(Denied):
    """The password is right, and there is no second factor, without which this door stays shut."""

    code = "second_factor_needed"
    title = "A second factor is needed"

    def __init__(self) -> None:
        super().__init__(
            "Your account has no second factor. Enrol one with `manage.py second_factor enrol`, or through the API."
        )


def check_password(*, request: HttpRequest, email: str, password: str, client: ClientInfo, door: str) -> User:
    """Find the active user with this password. Every failure is recorded before it is raised.

    The attempt is charged before the password is looked at. An unknown email costs a hash like a known one. No
    transaction is open while the hash is computed. Raises: InvalidCredentials, LoginLocked.
    """
    user = authenticate(request, username=normalized_email(email), password=password)
    if isinstance(user, User):
        lockout.remember(request, user)
        return user
    locked = lockout.refusal(request)
    if locked is None:
        note_failure(email=email, client=client, door=door)
        raise InvalidCredentials
    number = refusals.count(f"login {lockout.network_of(client.ip)}")  # a shut gate stops no flood
    if number <= refusals.KEPT_A_MINUTE:
        _note_locked(email=email, client=client, door=door, tells=_is_of_name(request), last=refusals.closing(number))
    raise locked


def _is_of_name(request: HttpRequest) -> bool:
    """Tell whether a name is locked; what an address did to itself is nobody else's news."""
    attempt = lockout.attempt_of(request)
    return attempt is not None and attempt.shut is not None and attempt.shut is not lockout.ADDRESS


@transaction.atomic(durable=True)
def note_failure(*, email: str, client: ClientInfo, door: str) -> None:
    """Keep that somebody was not let in."""
    _record("auth.login.failed", Outcome.FAILURE, email=email, client=client, detail={"door": door})


@transaction.atomic(durable=True)
def _note_locked(*, email: str, client: ClientInfo, door: str, tells: bool, last: dict[str, bool]) -> None:
    """Keep that it is locked, and tell the owner of a locked name, if it has one: the same statements for all."""
    if tells:
        notices.tell_of_lock(email=normalized_email(email), at=timezone.now())
    _record("auth.login.locked", Outcome.DENIED, email=email, client=client, detail={"door": door, **last})


def _record(action: str, outcome: Outcome, *, email: str, client: ClientInfo, detail: dict[str, Any]) -> None:
    trail.record(
        action=action, actor=ANONYMOUS, target=Target("session", ""), outcome=outcome, detail=detail,
        pii={**client.as_pii(), "email": normalized_email(email)},
    )  # fmt: skip


def enter_console(
    *, request: HttpRequest, email: str, password: str, code: str, client: ClientInfo, at: datetime
) -> User:
    """Let staff into the console with password and code; to others it answers like a wrong password.

    Raises: InvalidCredentials, LoginLocked, EnrolmentNeeded, OtpInvalid, OtpLocked.
    """
    user = check_password(request=request, email=email, password=password, client=client, door="console")
    if not user.is_staff:
        _note_entry(user, door="console", client=client, outcome=Outcome.DENIED)
        raise InvalidCredentials
    device = codes.device_of(user)
    if device is None:
        _note_entry(user, door="console", client=client, outcome=Outcome.DENIED, reason="no_second_factor")
        raise EnrolmentNeeded
    method = codes.check(user=user, code=code, purpose="console", client=client, at=at)
    _note_entry(user, door="console", client=client, methods=[PASSWORD_METHOD, method])
    user.otp_device = device  # type: ignore[attr-defined]  # django-otp marks the session by it
    return user


def enter_command(*, email: str, password: str, command: str, code: str | None = None) -> User:
    """Let an operator run a command; to others it answers like a wrong password.

    Takes: `code` where the command is one that needs a fresh second factor; the stop never is.
    Raises: InvalidCredentials, LoginLocked, EnrolmentNeeded, OtpInvalid, OtpLocked.
    """
    client, request = ClientInfo(), HttpRequest()
    user = check_password(request=request, email=email, password=password, client=client, door=command)
    if user.role != Role.OPERATOR:
        _note_entry(user, door=command, client=client, outcome=Outcome.DENIED)
        raise InvalidCredentials
    methods = [PASSWORD_METHOD]
    if code is not None:
        if codes.device_of(user) is None:
            raise EnrolmentNeeded
        methods.append(codes.check(user=user, code=code, purpose=command, client=client, at=timezone.now()))
    _note_entry(user, door=command, client=client, methods=methods)
    lockout.came_in(request, user)
    return user


@transaction.atomic(durable=True)
def note_break_glass(sender: Any, request: HttpRequest, user: User, **_rest: Any) -> None:
    """Keep that the break-glass account came in, and wake people. Django's signal of a login, through whatever door."""
    if not user.is_superuser:
        return
    at, who = timezone.now(), str(user.public_id)
    trail.record(action="auth.break_glass.entered", actor=Actor.user(user.public_id), target=Target("user", who))
    alerts.open_alert(
        severity=Severity.CRITICAL,
        kind="BREAK_GLASS",
        dedupe_key=f"break-glass:{who}:{at.isoformat()}",  # each time by itself
        text=f"The break-glass account {user.email} has come in. Whoever did it is to say why.",
        object_type="user",
        object_id=who,
        at=at,
    )


def _note_entry(
    user: User,
    *,
    door: str,
    client: ClientInfo,
    outcome: Outcome = Outcome.SUCCESS,
    methods: Sequence[str] = (PASSWORD_METHOD,),
    reason: str = "",
) -> None:
    trail.record_denied(
        action="auth.login.succeeded" if outcome is Outcome.SUCCESS else "auth.login.denied",
        actor=Actor.user(user.public_id),
        target=Target("session", ""),
        outcome=outcome,
        detail={"door": door, "methods": list(methods), "break_glass": user.is_superuser}
        | ({"reason": reason} if reason else {}),
        pii=client.as_pii(),
    )


def confirm_password(*, request: HttpRequest, user: User, password: str, client: ClientInfo) -> None:
    """Ask for the password once more, inside a session. Raises: InvalidCredentials, LoginLocked."""
    check_password(request=request, email=user.email, password=password, client=client, door="session")
    attempt = lockout.attempt_of(request)
    assert attempt is not None
    lockout.succeed(attempt)
