"""Who sends a request to the ninja door. `nexus/api.py` sets it on every route; public ones say `auth=None`."""

from django.http import HttpRequest
from django.utils import timezone
from ninja.security import HttpBearer

from accounts.services import sessions
from accounts.types import Claims


class MachineBearer(HttpBearer):
    """Set `request.user` to the user and `request.auth` to the token's claims, by the same check as the other door."""

    def authenticate(self, request: HttpRequest, token: str) -> Claims:
        """Return the claims. Raises: TokenInvalid, Unavailable."""
        user, claims = sessions.identify(token=token, at=timezone.now())
        request.user = user
        return claims


bearer = MachineBearer()
