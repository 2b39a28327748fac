"""Ask for a fresh second factor: in this very request (S0), or lately in this session (S15).

Source: security reference §5; the refusal has the shape of RFC 9470. It runs after a repetition was recognised, and
what it refuses is never kept as an answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import TokenFamily, User
from accounts.rules import Step
from accounts.services import codes
from accounts.types import Claims, ClientInfo
from nexus.core import statements
from nexus.core.errors import Unauthenticated
from nexus.core.http import client_ip

HEADER = "X-Nexus-OTP"
FRESH = timedelta(minutes=15)
STEP_UP_LOCK = 0x53544550  # the space of advisory locks whose second number is a hash of a session
_AGES = {Step.S0: 0, Step.S15: int(FRESH.total_seconds())}


class StepUpRequired(Unauthenticated):
    """Known, and asked to show the second factor again."""

    code = "step_up_required"
    title = "A fresh code is required"

    def __init__(self, step: Step, *, is_enrolled: bool) -> None:
        words = "Send a fresh code of your authenticator as `X-Nexus-OTP`."
        super().__init__(words if is_enrolled else "This needs a second factor. Enrol one at /auth/2fa/enrol.")
        self.headers["WWW-Authenticate"] = (
            f'Bearer realm="nexus", error="insufficient_user_authentication", max_age="{_AGES[step]}"'
        )


def require(request: HttpRequest, *, step: Step, purpose: str) -> None:
    """Accept the request's code, or for S15 one that was accepted lately in its session.

    Raises: StepUpRequired, OtpInvalid, OtpLocked.
    """
    if step is Step.NONE:
        return
    user, claims = getattr(request, "user", None), getattr(request, "auth", None)
    assert isinstance(user, User)
    assert isinstance(claims, Claims)
    at = timezone.now()
    if step is Step.S15 and is_fresh(claims, at=at):
        return
    code = request.headers.get(HEADER, "").strip()
    if not code or codes.device_of(user) is None:
        raise StepUpRequired(step, is_enrolled=codes.device_of(user) is not None)
    client = ClientInfo(ip=client_ip(request), user_agent=request.headers.get("User-Agent", ""))
    if step is Step.S0:
        verify(user=user, claims=claims, code=code, purpose=purpose, client=client, at=at)
        return
    with _one_at_a_time(claims):  # who closes eight positions at once sends one code eight times
        if not is_fresh(claims, at=at):
            verify(user=user, claims=claims, code=code, purpose=purpose, client=client, at=at)


@contextmanager
def _one_at_a_time(claims: Claims) -> Iterator[None]:
    """Let one request of a session show its code while the others wait, or they would try it in vain and lock all."""
    given = {"lock": STEP_UP_LOCK, "session": str(claims.family_id)}
    statements.fetch("SELECT pg_advisory_lock(%(lock)s::integer, hashtext(%(session)s))", given)
    try:
        yield
    finally:
        with suppress(OperationalError, InterfaceError):  # a connection that was lost has lost its locks with it
            statements.fetch("SELECT pg_advisory_unlock(%(lock)s::integer, hashtext(%(session)s))", given)


def require_typed(request: HttpRequest, *, step: Step, purpose: str, code: str) -> None:
    """Accept the code that was typed into a form of this very request, wherever a step is asked for at all.

    Raises: StepUpRequired without one, OtpInvalid, OtpLocked.
    """
    if step is Step.NONE:
        return
    user = request.user
    assert isinstance(user, User)
    if not code.strip():
        raise StepUpRequired(step, is_enrolled=True)
    client = ClientInfo(ip=client_ip(request), user_agent=request.headers.get("User-Agent", ""))
    codes.check(user=user, code=code.strip(), purpose=purpose, client=client, at=timezone.now())


def verify(*, user: User, claims: Claims, code: str, purpose: str, client: ClientInfo, at: datetime) -> None:
    """Accept a code in a session, which is fresh from then on. Raises: OtpInvalid, OtpLocked."""
    codes.check(user=user, code=code, purpose=purpose, client=client, at=at)
    TokenFamily.objects.filter(pk=claims.family_id, user=user).update(stepped_up_at=at)


def is_fresh(claims: Claims, *, at: datetime) -> bool:
    """Tell whether a code was accepted in this session within the last quarter of an hour."""
    return TokenFamily.objects.filter(pk=claims.family_id, stepped_up_at__gt=at - FRESH).exists()
