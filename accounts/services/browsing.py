"""Sessions of the dashboard: a browser's, in a cookie, beside the tokens of the API."""

from datetime import datetime, timedelta
from typing import Any

import django_otp
from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import User
from accounts.services import codes, entrances, second_factor
from accounts.services.step_up import FRESH
from accounts.types import ClientInfo
from nexus.audit.services import trail
from nexus.audit.types import Actor, Outcome, Target

STEPPED_UP = "stepped_up_at"  # in the session, seconds since 1970: when a code was last accepted in it
ACTED = "acted_at"  # likewise: when its person last did something at the console, within `NOTED_EVERY`
IDLE = timedelta(minutes=15)  # at the console; then it asks who you are
NOTED_EVERY = timedelta(seconds=30)


def enter(*, request: HttpRequest, email: str, password: str, code: str, client: ClientInfo, at: datetime) -> User:
    """Begin a browser's session, under a new name; with a code, where there is a second factor.

    Raises: InvalidCredentials, LoginLocked, OtpInvalid, also where a code is missing, OtpLocked.
    """
    user = entrances.check_password(request=request, email=email, password=password, client=client, door="dashboard")
    methods = [entrances.PASSWORD_METHOD]
    device = codes.device_of(user)
    if device is not None:
        if not code:
            raise codes.OtpInvalid
        methods.append(codes.check(user=user, code=code, purpose="dashboard", client=client, at=at))
        user.otp_device = device  # type: ignore[attr-defined]  # django-otp marks the session by it
    trail.record_denied(  # by itself: the session that follows is a transaction of its own
        action="auth.login.succeeded",
        actor=Actor.user(user.public_id),
        target=Target("session", ""),
        outcome=Outcome.SUCCESS,
        detail={"door": "dashboard", "methods": methods},
        pii=client.as_pii(),
    )
    auth.login(request, user)
    if device is not None:
        request.session[STEPPED_UP] = at.timestamp()
    return user


def step_up(*, request: HttpRequest, user: User, code: str, client: ClientInfo, at: datetime) -> None:
    """Accept a code in this browser's session, which is fresh from then on. Raises: OtpInvalid, OtpLocked."""
    codes.check(user=user, code=code, purpose="dashboard", client=client, at=at)
    request.session[STEPPED_UP] = at.timestamp()


def freshen(request: HttpRequest, *, at: datetime) -> None:
    """Note that a code was accepted in this browser's session, as the API notes it of its own."""
    request.session[STEPPED_UP] = at.timestamp()


def is_fresh(request: HttpRequest, *, at: datetime) -> bool:
    """Tell whether a code was accepted in this session within the last quarter of an hour, as the API asks it (S15)."""
    shown = request.session.get(STEPPED_UP)
    return shown is not None and 0 <= at.timestamp() - shown < FRESH.total_seconds()


def confirm_second_factor(
    *, request: HttpRequest, user: User, code: str, client: ClientInfo, at: datetime
) -> list[str]:
    """Take a new device into use. Every session ends but this browser's. Returns the recovery codes, to be shown once.

    Raises: NoEnrolment, OtpInvalid, OtpLocked.
    """
    made = second_factor.confirm(user=user, code=code, claims=None, client=client, at=at)
    _go_on(request, user)
    request.session[STEPPED_UP] = at.timestamp()
    return made.recovery_codes


def end_second_factor(
    *, request: HttpRequest, user: User, password: str, code: str, client: ClientInfo, at: datetime
) -> None:
    """Take the second factor away. Every session ends but this browser's.

    Raises: NoSecondFactor, InvalidCredentials, LoginLocked, OtpInvalid, OtpLocked.
    """
    second_factor.remove(request=request, user=user, password=password, code=code, claims=None, client=client, at=at)
    request.session.pop(STEPPED_UP, None)
    _go_on(request, user)


def _go_on(request: HttpRequest, user: User) -> None:
    """Let this browser's session outlive what has just ended all sessions, under a new name."""
    fresh = User.objects.get(pk=user.pk)
    auth.update_session_auth_hash(request, fresh)
    device = codes.device_of(fresh)
    if device is None:
        request.session.pop(django_otp.DEVICE_ID_SESSION_KEY, None)
    else:
        django_otp.login(request, device)


def begun(sender: Any, request: HttpRequest, user: User, **_rest: Any) -> None:
    """Give a browser's new session its end, which nothing that happens in it puts off. Django's signal of a login."""
    session = getattr(request, "session", None)
    if session is None or not session.modified:  # a login of the API, or of a command
        return
    at = timezone.now()
    session.set_expiry(at + timedelta(seconds=settings.SESSION_COOKIE_AGE))
    session[ACTED] = at.timestamp()


def is_idle(request: HttpRequest, *, at: datetime) -> bool:
    """Tell whether nobody has done anything in this session for so long that the console must ask who it is."""
    return not 0 <= at.timestamp() - request.session.get(ACTED, 0) < IDLE.total_seconds()


def note_act(request: HttpRequest, *, at: datetime) -> None:
    """Keep that somebody is there; a page that reads itself anew is nobody."""
    if at.timestamp() - request.session.get(ACTED, 0) >= NOTED_EVERY.total_seconds():
        request.session[ACTED] = at.timestamp()


def purge(*, at: datetime) -> int:
    """Delete browsers' sessions that have ended. Returns how many."""
    deleted, _ = Session.objects.filter(expire_date__lt=at).delete()
    return deleted


def leave(
    *, request: HttpRequest, user: User, client: ClientInfo, door: str = "dashboard", is_idle: bool = False
) -> None:
    """End this browser's session."""
    auth.logout(request)
    trail.record_denied(
        action="auth.logout",
        actor=Actor.user(user.public_id),
        target=Target("session", ""),
        outcome=Outcome.SUCCESS,
        detail={"door": door, **({"idle": True} if is_idle else {})},
        pii=client.as_pii(),
    )
