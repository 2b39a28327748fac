"""The door of passwords."""

from typing import ClassVar, cast

from django.utils.timezone import now
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.access import client_of
from accounts.api.forms import TokenPairOutput
from accounts.api.second_factor import CODE
from accounts.models import User
from accounts.rules import Action
from accounts.services import passwords, resets
from accounts.services.permissions import Anybody
from accounts.services.step_up import HEADER
from accounts.services.users import PASSWORD_LENGTH_MAX
from accounts.types import Claims
from nexus.core.wire import StrictSerializer


class PasswordInput(StrictSerializer):
    """The old password and the new one."""

    password = serializers.CharField(max_length=PASSWORD_LENGTH_MAX, trim_whitespace=False, write_only=True)
    new_password = serializers.CharField(max_length=PASSWORD_LENGTH_MAX, trim_whitespace=False, write_only=True)


class ResetInput(StrictSerializer):
    """The token of the link, and the new password."""

    token = serializers.CharField(max_length=128, write_only=True)
    password = serializers.CharField(max_length=PASSWORD_LENGTH_MAX, trim_whitespace=False, write_only=True)


class PasswordReset(APIView):
    """A lost password."""

    authentication_classes = ()
    permission_classes = (Anybody,)

    @extend_schema(
        operation_id="auth_password_reset", request=ResetInput, responses={204: None}, parameters=[CODE], tags=["auth"]
    )
    def post(self, request: Request) -> Response:
        """Set another password with the token of a link, which this uses up, and a code of the second factor."""
        form = ResetInput(data=request.data)
        form.is_valid(raise_exception=True)
        resets.reset(
            token=form.validated_data["token"],
            password=form.validated_data["password"],
            code=request.headers.get(HEADER, "").strip(),
            client=client_of(request),
            at=now(),
        )
        return Response(status=204)


class PasswordChange(APIView):
    """One's own password."""

    actions: ClassVar = {"POST": Action.PASSWORD_CHANGE}

    @extend_schema(
        operation_id="auth_password", request=PasswordInput, responses=TokenPairOutput, parameters=[CODE], tags=["auth"]
    )
    def post(self, request: Request) -> Response:
        """Change the password. Every other session ends; this one goes on with the tokens of the answer."""
        form = PasswordInput(data=request.data)
        form.is_valid(raise_exception=True)
        pair = passwords.change(
            request=request._request,
            user=cast("User", request.user),
            old=form.validated_data["password"],
            new=form.validated_data["new_password"],
            code=request.headers.get(HEADER, "").strip(),
            claims=cast("Claims", request.auth),
            client=client_of(request),
            at=now(),
        )
        return Response(TokenPairOutput(pair).data)
