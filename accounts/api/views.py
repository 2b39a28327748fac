"""Log in, stay in, leave."""

from typing import ClassVar

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.forms import LoginInput, LogoutInput, ProfileOutput, RefreshInput, RevokedOutput, TokenPairOutput
from accounts.models import User
from accounts.rules import Action
from accounts.services import rates, sessions
from accounts.services.tokens import TokenInvalid
from accounts.types import Claims, ClientInfo, TokenPair
from nexus.audit.types import Actor
from nexus.core.http import client_ip


class Login(APIView):
    """Begin a session."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(request=LoginInput, responses={200: TokenPairOutput}, operation_id="auth_login", tags=["auth"])
    def post(self, request: Request) -> Response:
        """Exchange email and password for a pair of tokens."""
        form = LoginInput(data=request.data)
        form.is_valid(raise_exception=True)
        pair = sessions.login(
            request=request._request,
            email=form.validated_data["email"],
            password=form.validated_data["password"],
            client=_client(request),
            at=timezone.now(),
        )
        return _tokens(pair)


class Refresh(APIView):
    """Prolong a session."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(request=RefreshInput, responses={200: TokenPairOutput}, operation_id="auth_refresh", tags=["auth"])
    def post(self, request: Request) -> Response:
        """Exchange a refresh token for a new pair. Each is used once: a second use ends the session."""
        form = RefreshInput(data=request.data)
        form.is_valid(raise_exception=True)
        token = form.validated_data["refresh_token"]
        try:
            return _tokens(sessions.refresh(token=token, client=_client(request), at=timezone.now()))
        except TokenInvalid as exc:
            rates.count_refused(request._request, exc)
            raise


class Logout(APIView):
    """End this session."""

    actions: ClassVar = {"POST": Action.SESSION_END}

    @extend_schema(request=LogoutInput, responses={204: None}, operation_id="auth_logout", tags=["auth"])
    def post(self, request: Request) -> Response:
        """End the session of this access token, with every token that grew from it."""
        form = LogoutInput(data=request.data)
        form.is_valid(raise_exception=True)
        user, claims = _session(request)
        sessions.logout(
            user=user,
            claims=claims,
            refresh_token=form.validated_data["refresh_token"],
            client=_client(request),
            at=timezone.now(),
        )
        return Response(status=204)


class RevokeAll(APIView):
    """End every session of one's own."""

    actions: ClassVar = {"POST": Action.SESSION_END}

    @extend_schema(request=None, responses={200: RevokedOutput}, operation_id="auth_revoke_all", tags=["auth"])
    def post(self, request: Request) -> Response:
        """End every session of this user, this one and the console's too."""
        user, _ = _session(request)
        ended = sessions.revoke_all(
            user_id=user.pk,
            actor=Actor.user(user.public_id),
            client=_client(request),
            at=timezone.now(),
        )
        return Response(RevokedOutput({"sessions_ended": ended}).data)


class Profile(APIView):
    """Who am I."""

    actions: ClassVar = {"GET": Action.PROFILE_READ}

    @extend_schema(responses={200: ProfileOutput}, operation_id="auth_profile", tags=["auth"])
    def get(self, request: Request) -> Response:
        """Return the account behind the token."""
        return Response(ProfileOutput(request.user).data)


def _session(request: Request) -> tuple[User, Claims]:
    assert isinstance(request.user, User)
    assert isinstance(request.auth, Claims)
    return request.user, request.auth


def _client(request: Request) -> ClientInfo:
    return ClientInfo(ip=client_ip(request._request), user_agent=request.headers.get("User-Agent", ""))


def _tokens(pair: TokenPair) -> Response:
    return Response(TokenPairOutput(pair).data)
