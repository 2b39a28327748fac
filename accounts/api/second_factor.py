"""The doors of the second factor: set it up, show a code, remove it."""

from typing import Any, ClassVar, cast

from django.utils.timezone import now
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.access import client_of
from accounts.api.forms import TokenPairOutput
from accounts.models import User
from accounts.rules import Action
from accounts.services import second_factor, step_up
from accounts.services.step_up import HEADER
from accounts.services.users import PASSWORD_LENGTH_MAX
from accounts.types import Claims
from nexus.core.wire import StrictSerializer

CODE = OpenApiParameter(
    HEADER, str, OpenApiParameter.HEADER, description="A fresh code, where there is a second factor already."
)


class ProofInput(StrictSerializer):
    """The password, once more."""

    password = serializers.CharField(max_length=PASSWORD_LENGTH_MAX, trim_whitespace=False, write_only=True)


class CodeInput(StrictSerializer):
    """A code of the authenticator app, or a recovery code."""

    code = serializers.CharField(max_length=64)


class StateOutput(serializers.Serializer):  # type: ignore[type-arg]
    """Whether there is a second factor."""

    is_on = serializers.BooleanField()
    confirmed_at = serializers.DateTimeField(allow_null=True)
    recovery_codes_left = serializers.IntegerField()


class EnrolmentOutput(serializers.Serializer):  # type: ignore[type-arg]
    """What an authenticator app reads, shown once. It counts from its first code on."""

    secret = serializers.CharField(help_text="base32, to be typed where the picture cannot be read")
    uri = serializers.CharField()
    qr = serializers.CharField(help_text="the same as a picture: a data URI of an SVG")


class RecoveryOutput(serializers.Serializer):  # type: ignore[type-arg]
    """Ten codes for the day the device is lost, shown once; each works once."""

    recovery_codes = serializers.ListField(child=serializers.CharField())


class ConfirmedOutput(RecoveryOutput):
    """The codes, and the tokens with which this session goes on."""

    tokens = TokenPairOutput()


class SecondFactor(APIView):
    """One's own second factor."""

    actions: ClassVar = {"GET": Action.SECOND_FACTOR_READ}

    @extend_schema(operation_id="auth_2fa", responses=StateOutput, tags=["second factor"])
    def get(self, request: Request) -> Response:
        """Tell whether there is a second factor, and how many recovery codes are left."""
        return Response(StateOutput(second_factor.state_of(_user(request))).data)


class Enrol(APIView):
    """A new device."""

    actions: ClassVar = {"POST": Action.SECOND_FACTOR_CHANGE}

    @extend_schema(
        operation_id="auth_2fa_enrol", request=ProofInput, responses={201: EnrolmentOutput}, parameters=[CODE],
        tags=["second factor"],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Begin with a new device; one that exists goes on until the new one is confirmed."""
        proof = _proof(request)
        return Response(EnrolmentOutput(second_factor.begin(**proof)).data, status=201)


class Confirm(APIView):
    """The new device's first code."""

    actions: ClassVar = {"POST": Action.SECOND_FACTOR_CHANGE}

    @extend_schema(
        operation_id="auth_2fa_confirm", request=CodeInput, responses=ConfirmedOutput, tags=["second factor"]
    )
    def post(self, request: Request) -> Response:
        """Take the new device into use. Every other session ends; this one goes on with the tokens of the answer."""
        confirmed = second_factor.confirm(
            user=_user(request), code=_code(request), claims=_claims(request), client=client_of(request), at=now()
        )
        return Response(ConfirmedOutput(confirmed).data)


class Verify(APIView):
    """A code in this session."""

    actions: ClassVar = {"POST": Action.SECOND_FACTOR_CHANGE}

    @extend_schema(operation_id="auth_2fa_verify", request=CodeInput, responses={204: None}, tags=["second factor"])
    def post(self, request: Request) -> Response:
        """Show a code: for 15 minutes this session may place live orders."""
        step_up.verify(
            user=_user(request), claims=_claims(request), code=_code(request), purpose="verify",
            client=client_of(request), at=now(),
        )  # fmt: skip
        return Response(status=204)


class Remove(APIView):
    """The end of a second factor."""

    actions: ClassVar = {"POST": Action.SECOND_FACTOR_CHANGE}

    @extend_schema(
        operation_id="auth_2fa_remove", request=ProofInput, responses=TokenPairOutput, parameters=[CODE],
        tags=["second factor"],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Remove the second factor. Every other session and every API key ends."""
        pair = second_factor.remove(**_proof(request), claims=_claims(request))
        return Response(TokenPairOutput(pair).data)


class RecoveryCodes(APIView):
    """New recovery codes."""

    actions: ClassVar = {"POST": Action.SECOND_FACTOR_CHANGE}

    @extend_schema(
        operation_id="auth_2fa_recovery_codes", request=ProofInput, responses=RecoveryOutput, parameters=[CODE],
        tags=["second factor"],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Make ten new codes; the old ones are void."""
        shown = second_factor.renew_recovery_codes(**_proof(request))
        return Response(RecoveryOutput({"recovery_codes": shown}).data)


def _proof(request: Request) -> dict[str, Any]:
    form = ProofInput(data=request.data)
    form.is_valid(raise_exception=True)
    return {
        "request": request._request,
        "user": _user(request),
        "password": form.validated_data["password"],
        "code": request.headers.get(HEADER, "").strip(),
        "client": client_of(request),
        "at": now(),
    }


def _code(request: Request) -> str:
    form = CodeInput(data=request.data)
    form.is_valid(raise_exception=True)
    code: str = form.validated_data["code"].strip()
    return code


def _user(request: Request) -> User:
    return cast("User", request.user)


def _claims(request: Request) -> Claims:
    return cast("Claims", request.auth)
