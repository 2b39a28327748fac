"""The doors of arming: let an account trade with real money, and take that back."""

import uuid
from datetime import timedelta
from typing import Any, ClassVar, cast

from django.utils.timezone import now
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rules import Action
from accounts.services.step_up import HEADER
from accounts.types import Principal
from nexus.core.wire import StrictSerializer
from trading.models import TradingAccount
from trading.services import arming

CODE = OpenApiParameter(HEADER, str, OpenApiParameter.HEADER, required=True, description="A fresh code.")


class ArmInput(StrictSerializer):
    """For how long."""

    for_s = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=60, max_value=30 * 86_400,
        help_text="seconds; left out: as long as this installation allows",
    )  # fmt: skip


class DisarmInput(StrictSerializer):
    """Why; asked of operators and compliance."""

    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class ArmedView(serializers.Serializer[TradingAccount]):
    """Until when an account takes orders with real money; null: it takes none."""

    id = serializers.UUIDField(source="public_id")
    is_live = serializers.BooleanField()
    armed_until = serializers.DateTimeField(allow_null=True)


class Arm(APIView):
    """Real money from now on."""

    actions: ClassVar = {"POST": Action.LIVE_ARM}

    @extend_schema(
        operation_id="trading_account_arm", request=ArmInput, responses=ArmedView, parameters=[CODE],
        summary="Arm live trading on an account",
    )  # fmt: skip
    def post(self, request: Request, account_id: uuid.UUID) -> Response:
        """Arm an account of one's own. Not while trading is stopped."""
        for_s = _read(ArmInput, request.data)["for_s"]
        lifetime = None if for_s is None else timedelta(seconds=for_s)
        armed = arming.arm(public_id=account_id, lifetime=lifetime, by=_person(request), at=now())
        return Response(ArmedView(armed).data)


class Disarm(APIView):
    """No more real money."""

    actions: ClassVar = {"POST": Action.LIVE_DISARM}

    @extend_schema(
        operation_id="trading_account_disarm", request=DisarmInput, responses=ArmedView,
        summary="Disarm live trading on an account",
    )  # fmt: skip
    def post(self, request: Request, account_id: uuid.UUID) -> Response:
        """Disarm an account. What works at the broker goes on; what reduces still passes."""
        reason = _read(DisarmInput, request.data)["reason"]
        disarmed = arming.disarm(public_id=account_id, reason=reason, by=_person(request), at=now())
        return Response(ArmedView(disarmed).data)


def _read(form_class: type[StrictSerializer], data: Any) -> dict[str, Any]:
    form = form_class(data=data)
    form.is_valid(raise_exception=True)
    held: dict[str, Any] = form.validated_data
    return held


def _person(request: Request) -> Principal:
    return cast("Principal", request.user)
