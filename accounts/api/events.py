"""The door of one's own acts: what the audit log keeps of them."""

from typing import Any, ClassVar, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rules import Action
from accounts.services import own_events
from accounts.types import Principal
from nexus.audit.types import Outcome
from nexus.core.wire import StrictSerializer

PAGE_MAX = 200
ID_MAX = 2**63 - 1
OF_EVENT = ("id", "recorded_at", "action", "outcome", "object_type", "object_id", "request_id")


class OwnEventQuery(StrictSerializer):
    """Which events to list."""

    limit = serializers.IntegerField(min_value=1, max_value=PAGE_MAX, default=50)
    before = serializers.IntegerField(
        min_value=1, max_value=ID_MAX, required=False, help_text="the last id of the page before this one"
    )


class OwnEventView(serializers.Serializer[Any]):
    """What one did, on what, and how it ended. Nothing of others, and no personal data."""

    id = serializers.IntegerField()
    recorded_at = serializers.DateTimeField()
    action = serializers.CharField()
    outcome = serializers.ChoiceField(choices=[(each.value, each.value) for each in Outcome])
    object_type = serializers.CharField()
    object_id = serializers.CharField(allow_blank=True)
    request_id = serializers.CharField(allow_blank=True)
    api_key = serializers.UUIDField(
        allow_null=True, help_text="the key of one's own that did it; null for what one did in a session"
    )


class OwnEventPage(serializers.Serializer[Any]):
    """A page of events, the newest first; `next` is the value of `before` for the page after this one."""

    results = OwnEventView(many=True)
    next = serializers.IntegerField(allow_null=True)


class OwnEvents(APIView):
    """One's own acts."""

    actions: ClassVar = {"GET": Action.OWN_EVENT_READ}

    @extend_schema(operation_id="auth_events", parameters=[OwnEventQuery], responses=OwnEventPage, tags=["auth"])
    def get(self, request: Request) -> Response:
        """List what the audit log keeps of what one did, in sessions and by API keys, the newest first."""
        form = OwnEventQuery(data=request.query_params.dict())
        form.is_valid(raise_exception=True)
        by = cast("Principal", request.user)
        found = own_events.page(by, before=form.validated_data.get("before"), limit=form.validated_data["limit"])
        rows = [{**{name: getattr(each.event, name) for name in OF_EVENT}, "api_key": each.api_key or None}
                for each in found.rows]  # fmt: skip
        return Response(OwnEventPage({"results": rows, "next": found.before}).data)
