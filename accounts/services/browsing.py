"""Sessions of the dashboard: a browser's, in a cookie, beside the tokens of the API."""

from django.contrib import auth
from django.http import HttpRequest

from accounts.models import User
from accounts.services import sessions
from accounts.types import ClientInfo
from nexus.audit.services import trail
from nexus.audit.types import Actor, Outcome, Target


def enter(*, request: HttpRequest, email: str, password: str, client: ClientInfo) -> User:
    """Begin a browser's session, under a new name. Raises: InvalidCredentials.

    The one place where the second factor will be asked for.
    """
    user = sessions.check_password(request=request, email=email, password=password, client=client, door="dashboard")
    trail.record_denied(  # by itself: the session that follows is a transaction of its own
        action="auth.login.succeeded",
        actor=Actor.user(user.public_id),
        target=Target("session", ""),
        outcome=Outcome.SUCCESS,
        detail={"door": "dashboard", "methods": [sessions.PASSWORD_METHOD]},
        pii=client.as_pii(),
    )
    auth.login(request, user)
    return user


def leave(*, request: HttpRequest, user: User, client: ClientInfo) -> None:
    """End this browser's session."""
    auth.logout(request)
    trail.record_denied(
        action="auth.logout",
        actor=Actor.user(user.public_id),
        target=Target("session", ""),
        outcome=Outcome.SUCCESS,
        detail={"door": "dashboard"},
        pii=client.as_pii(),
    )
