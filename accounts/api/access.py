"""The doors of sessions and locks: see and end one's own, end anybody's, unlock a login."""

import uuid
from typing import ClassVar, cast

from django.utils.timezone import now
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import selectors
from accounts.api.forms import RevokedOutput
from accounts.models import EMAIL_LENGTH_MAX, TokenFamily, User
from accounts.rules import Action
from accounts.services import lockout, sessions
from accounts.types import Claims, ClientInfo
from nexus.audit.types import Actor
from nexus.core.http import client_ip
from nexus.core.wire import StrictSerializer

REASON_LENGTH_MAX = 500


class WhyInput(StrictSerializer):
    """Why, for the audit."""

    reason = serializers.CharField(max_length=REASON_LENGTH_MAX)


class UnlockInput(WhyInput):
    """Whose login is opened again."""

    email = serializers.CharField(max_length=EMAIL_LENGTH_MAX)


class UnlockOutput(serializers.Serializer):  # type: ignore[type-arg]
    """How many locks there were."""

    gates_opened = serializers.IntegerField()


class SessionOutput(serializers.Serializer):  # type: ignore[type-arg]
    """One session: where it began, and until when it can live."""

    id = serializers.UUIDField(source="pk")
    created_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField(allow_null=True, help_text="when its tokens were last renewed")
    absolute_expires_at = serializers.DateTimeField()
    ip = serializers.CharField(allow_null=True)
    user_agent = serializers.CharField(allow_null=True)
    is_this = serializers.SerializerMethodField()

    def get_is_this(self, family: TokenFamily) -> bool:
        """Tell whether the request came in this session."""
        return bool(family.pk == self.context["this"])


class SessionsOutput(serializers.Serializer):  # type: ignore[type-arg]
    """Every session that is alive, the newest first."""

    results = SessionOutput(many=True)


class Sessions(APIView):
    """One's own sessions."""

    actions: ClassVar = {"GET": Action.SESSION_READ}

    @extend_schema(operation_id="auth_sessions", responses=SessionsOutput, tags=["auth"])
    def get(self, request: Request) -> Response:
        """List one's own sessions that are alive."""
        user, claims = _session(request)
        rows = selectors.sessions_of(user.pk, at=now())
        return Response(SessionsOutput({"results": rows}, context={"this": claims.family_id}).data)


class SessionRevoke(APIView):
    """One session of one's own."""

    actions: ClassVar = {"POST": Action.SESSION_END}

    @extend_schema(operation_id="auth_session_revoke", request=None, responses={204: None}, tags=["auth"])
    def post(self, request: Request, session_id: uuid.UUID) -> Response:
        """End a session, on a device that is lost for example."""
        user, _ = _session(request)
        sessions.revoke(user=user, session_id=session_id, client=client_of(request), at=now())
        return Response(status=204)


class EndSessions(APIView):
    """Somebody's sessions."""

    actions: ClassVar = {"POST": Action.SESSION_END_OF_OTHERS}

    @extend_schema(operation_id="users_end_sessions", request=WhyInput, responses=RevokedOutput, tags=["users"])
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """End every session of a user, the console's and the API keys too."""
        form = WhyInput(data=request.data)
        form.is_valid(raise_exception=True)
        by, _ = _session(request)
        ended = sessions.end_of(
            public_id=user_id, reason=form.validated_data["reason"], by=by, client=client_of(request), at=now()
        )
        return Response(RevokedOutput({"sessions_ended": ended}).data)


class Unlock(APIView):
    """A login that is locked."""

    actions: ClassVar = {"POST": Action.LOGIN_UNLOCK}

    @extend_schema(operation_id="auth_unlock", request=UnlockInput, responses=UnlockOutput, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Let a name try again from everywhere."""
        form = UnlockInput(data=request.data)
        form.is_valid(raise_exception=True)
        by, _ = _session(request)
        opened = lockout.unlock(**form.validated_data, actor=Actor.user(by.public_id), at=now())
        return Response(UnlockOutput({"gates_opened": opened}).data)


def client_of(request: Request) -> ClientInfo:
    """Return where a request came from."""
    return ClientInfo(ip=client_ip(request._request), user_agent=request.headers.get("User-Agent", ""))


def _session(request: Request) -> tuple[User, Claims]:
    return cast("User", request.user), cast("Claims", request.auth)
