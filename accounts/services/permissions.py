"""The matrix at both doors: a view declares what each of its methods does, and who may not is refused and recorded."""

from typing import Any, cast

from django.http import HttpRequest
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from accounts.rules import MATRIX, Action, Step, may
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Denied


class AsDeclared(IsAuthenticated):
    """Let in whom the matrix lets do what the view declares in `actions`, by method. No declaration, nobody."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the caller may. Raises: Denied, after that was kept."""
        if not super().has_permission(request, view):
            return False
        method = request.method or ""
        if method == "OPTIONS" or not hasattr(view, method.lower()):
            return True  # the view itself answers 405
        action = declared_by(view, method)
        if action is None:
            return False
        require(cast("Principal", request.user), action, keeps=not getattr(view, "keeps_refusals", False))
        if not getattr(view, "replays", False):  # such a view asks once it knows that the request is no repetition
            check_step_up(request._request, action)
        return True


def declared_by(view: Any, method: str) -> Action | None:
    """Return what a method of a view does, or None when the view does not say."""
    actions: dict[str, Action] = getattr(view, "actions", {})
    return actions.get("GET" if method == "HEAD" else method)


def require(user: Principal, action: Action, *, keeps: bool = True) -> None:
    """Refuse whom the matrix does not let. Takes: `keeps`, whether to record it here. Raises: Denied."""
    if may(user.role, action):
        return
    if keeps:
        trail.record_denied(
            action="access.denied",
            actor=Actor.user(user.public_id),
            target=Target("action", action.value),
            detail={"role": user.role},
        )
    raise Denied("You may not do this.")


def check_step_up(request: HttpRequest, action: Action) -> None:
    """Ask for a fresh second factor where the matrix wants one: the one place where it is asked."""
    if MATRIX[action].step is Step.NONE:
        return
    require_step_up(request)


def require_step_up(_request: HttpRequest) -> None:
    """Stand where the second factor's own check belongs; until it is built, nobody has a second factor to show."""
