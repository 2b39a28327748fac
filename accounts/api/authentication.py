"""Who sends a request to the DRF door: an access token or an API key in `Authorization: Bearer`."""

from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from accounts.models import User
from accounts.services import keys, rates, sessions
from accounts.services.tokens import TokenInvalid
from accounts.types import Claims, KeyPrincipal
from nexus.core.http import client_ip


class BearerAuthentication(BaseAuthentication):
    """Set `request.user` to the user and `request.auth` to the token's claims."""

    def authenticate(self, request: Request) -> tuple[User, Claims] | tuple[KeyPrincipal, KeyPrincipal] | None:
        """Return None without the header. Raises: TokenInvalid, TooManyRequests, Unavailable."""
        scheme, _, token = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        text = token.strip().decode("ascii", errors="replace")
        try:
            if text.startswith(keys.PREFIX):
                _, principal = keys.identify(text=text, ip=client_ip(request._request), at=timezone.now())
                return principal, principal
            return sessions.identify(token=text, at=timezone.now())
        except TokenInvalid as exc:
            rates.count_refused(request._request, exc)
            raise

    def authenticate_header(self, request: Request) -> str:
        """Name the scheme: it makes a missing token a 401."""
        return 'Bearer realm="nexus"'


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describe the scheme in the published document."""

    target_class = "accounts.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the OpenAPI security scheme."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
