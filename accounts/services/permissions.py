"""The matrix at both doors: a view declares what each of its methods does, and who may not is refused and recorded."""

from typing import Any, cast

from django.http import HttpRequest
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request

from accounts.rules import MATRIX, Action, may
from accounts.services import rates, refusals, step_up
from accounts.states import Scope
from accounts.types import KeyPrincipal, Principal
from nexus.audit.types import Actor, ActorType, Target
from nexus.core.errors import Denied

SAFE = frozenset({"GET", "HEAD"})


class ScopeMissing(Denied):
    """The key was not made for this."""

    code = "scope_missing"
    title = "The API key has no scope for this"


class ModeMismatch(Denied):
    """A key for paper trading asks for a live venue."""

    code = "key_mode_mismatch"
    title = "The API key is for paper trading"


class AsDeclared(IsAuthenticated):
    """Let in whom the matrix lets do what the view declares in `actions`, by method. No declaration, nobody."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the caller may. Raises: Denied, after that was kept; TooManyRequests, before it is asked."""
        if not super().has_permission(request, view):
            rates.count_stranger(request._request)
            return False
        method = request.method or ""
        if method == "OPTIONS" or not hasattr(view, method.lower()):
            return True  # the view itself answers 405
        action = declared_by(view, method)
        if action is None:
            return False
        user = cast("Principal", request.user)
        if method in SAFE:
            rates.count_read(actor_of(user), role=user.role, action=action)
        require(user, action, keeps=not getattr(view, "keeps_refusals", False))
        if not getattr(view, "replays", False):  # such a view asks once it knows that the request is no repetition
            check_step_up(request._request, action)
        return True


class Anybody(AllowAny):
    """Let in whoever comes, so many times a minute from one address."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Let them in. Raises: TooManyRequests."""
        rates.count_stranger(request._request)
        return True


def declared_by(view: Any, method: str) -> Action | None:
    """Return what a method of a view does, or None when the view does not say."""
    actions: dict[str, Action] = getattr(view, "actions", {})
    return actions.get("GET" if method == "HEAD" else method)


def require(user: Principal, action: Action, *, keeps: bool = True) -> None:
    """Refuse whom the matrix does not let. Takes: `keeps`, whether it is kept here. Raises: Denied."""
    refusal = _refusal(user, action)
    if refusal is None:
        return
    if keeps:
        keep_denied(user, action, code=refusal.code)
    raise refusal


def keep_denied(user: Principal, action: Action, *, code: str) -> None:
    """Keep that somebody tried what the matrix does not let them do."""
    refusals.keep(
        action="access.denied",
        actor=actor_of(user),
        target=Target("action", action.value),
        detail={"role": user.role, "code": code},
    )


def require_venue(user: Principal, *, is_live: bool) -> None:
    """Hold an API key to its mode and scopes where a venue is reached. Raises: ModeMismatch, ScopeMissing."""
    if not isinstance(user, KeyPrincipal):
        return
    if is_live and user.is_paper_only:
        raise ModeMismatch("This is a key for paper trading.")
    needed = Scope.ORDERS_WRITE_LIVE if is_live else Scope.ORDERS_WRITE_PAPER
    if needed not in user.scopes:
        raise ScopeMissing(f"The key has no scope {needed.value}.")


def actor_of(user: Principal) -> Actor:
    """Name who acts, for the audit: a person, or a key of somebody."""
    if isinstance(user, KeyPrincipal):
        return Actor(ActorType.API_KEY, str(user.key_id))
    return Actor.user(user.public_id)


def _refusal(user: Principal, action: Action) -> Denied | None:
    if isinstance(user, KeyPrincipal) and not MATRIX[action].scopes & user.scopes:
        return ScopeMissing("The key has no scope for this.")
    return None if may(user.role, action) else Denied("You may not do this.")


def check_live_step_up(request: HttpRequest, action: Action) -> None:
    """Ask as `check_step_up` does where real money is. A key has shown its scope for that (`require_venue`)."""
    if not isinstance(getattr(request, "user", None), KeyPrincipal):
        step_up.require(request, step=MATRIX[action].live_step, purpose=action.value)


def check_step_up(request: HttpRequest, action: Action) -> None:
    """Ask for a fresh second factor where the matrix wants one. Raises: StepUpRequired, OtpInvalid, OtpLocked."""
    step_up.require(request, step=MATRIX[action].step, purpose=action.value)
