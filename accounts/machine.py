"""Who sends a request to the ninja door. `nexus/api.py` sets it on every route; public ones say `auth=None`."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from ninja.security import HttpBearer

from accounts.rules import Action
from accounts.services import keys, permissions, rates, sessions
from accounts.services.tokens import TokenInvalid
from accounts.types import Claims, KeyPrincipal
from nexus.core.http import client_ip


class MachineBearer(HttpBearer):
    """Set `request.user` to the user and `request.auth` to the token's claims, by the same check as the other door.

    With an `action`, whom the matrix does not let is refused before anything of the request is read.
    """

    def __init__(self, action: Action | None = None) -> None:
        super().__init__()
        self.action = action

    def __call__(self, request: HttpRequest) -> Any:
        """Return the claims, or None where the header is missing. Who lets nobody in is counted, but at the brake.

        Raises: as `authenticate`, and TooManyRequests.
        """
        is_counted = self.action not in rates.BRAKE
        try:
            claims = super().__call__(request)
        except TokenInvalid as exc:
            if is_counted:
                rates.count_refused(request, exc)
            raise
        if claims is None and is_counted:
            rates.count_stranger(request)
        return claims

    def authenticate(self, request: HttpRequest, token: str) -> Claims | KeyPrincipal:
        """Return the claims. Raises: TokenInvalid, Denied, Unavailable."""
        user: Any
        claims: Claims | KeyPrincipal
        if token.startswith(keys.PREFIX):
            _, claims = keys.identify(text=token, ip=client_ip(request), at=timezone.now())
            user = claims
        else:
            user, claims = sessions.identify(token=token, at=timezone.now())
        request.user = user
        request.auth = claims  # type: ignore[attr-defined]  # for the step-up; ninja sets it again
        if self.action is not None:
            if request.method in permissions.SAFE:
                rates.count_read(permissions.actor_of(user), role=user.role, action=self.action)
            permissions.require(user, self.action)
            permissions.check_step_up(request, self.action)
        return claims


def allowed(action: Action) -> MachineBearer:
    """Declare what a route does, as its `auth`."""
    return MachineBearer(action)


bearer = MachineBearer()
