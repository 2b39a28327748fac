"""The door to one's limits: what is allowed, what is used, what is left."""

import uuid
from typing import Any, ClassVar, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rules import Action
from accounts.types import Principal
from nexus.core.wire import ExactDecimalField, StrictSerializer
from risk.types import Check
from trading import selectors
from trading.api.views import BrokerView
from trading.services import facts, headroom
from trading.services.headroom import Headroom

SYMBOL = r"^[A-Za-z0-9]{1,20}([-/._#][A-Za-z0-9]{1,20})?$"


class LimitsQuery(StrictSerializer):
    """Whose limits, and on which instrument."""

    account = serializers.UUIDField(required=False, help_text="may be left out by a user with one account")
    symbol = serializers.RegexField(SYMBOL, max_length=32, required=False, help_text="adds the limits of its position")


class LimitRow(serializers.Serializer[Check]):
    """One limit. `used` and `headroom` are empty where each order has the limit to itself, or where nobody knows."""

    name = serializers.CharField()
    limit = ExactDecimalField(allow_null=True)
    used = ExactDecimalField(allow_null=True, signed=True)
    headroom = ExactDecimalField(allow_null=True)
    unit = serializers.CharField(allow_blank=True)
    scope = serializers.CharField(allow_blank=True, help_text="whose limit it is: the tightest of all that apply")


class LimitsView(serializers.Serializer[Headroom]):
    """Every limit that the next order would be held against."""

    account = serializers.UUIDField(source="account.public_id")
    symbol = serializers.CharField(allow_blank=True)
    missing = serializers.CharField(allow_blank=True, help_text="why the broker's figures are not in it")
    results = LimitRow(many=True, source="checks")


class Limits(BrokerView):
    """One's limits with usage and headroom."""

    actions: ClassVar = {"GET": Action.ACCOUNT_READ}

    @extend_schema(
        operation_id="trading_limits",
        parameters=[LimitsQuery],
        responses=LimitsView,
        summary="Read limits, usage and headroom",
    )
    def get(self, request: Request) -> Response:
        """Read the caller's limits as the next order would meet them."""
        form = LimitsQuery(data=request.query_params.dict())
        form.is_valid(raise_exception=True)
        data: dict[str, Any] = form.validated_data
        user = cast("Principal", request.user)
        account_id: uuid.UUID | None = data.get("account")
        account = selectors.account_for(user, public_id=account_id)
        found = headroom.read(user=user, account=account, symbol=data.get("symbol"), at=facts.database_clock())
        return Response(LimitsView(found).data)
