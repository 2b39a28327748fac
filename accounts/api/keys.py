"""The doors of API keys: make, rotate, narrow, revoke, list. A secret is shown once."""

import uuid
from datetime import timedelta
from typing import Any, ClassVar, cast

from django.utils.timezone import now
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import ApiKey
from accounts.rules import Action
from accounts.services import keys, permissions
from accounts.services.keys import Made
from accounts.states import KeyMode, Scope
from accounts.types import NewKey, Principal
from nexus.core.wire import ExactTimeField, StrictSerializer
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey

KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    required=True,
    description="8 to 128 letters, digits, hyphens or underscores. New for each key, the same to repeat a request.",
)


def _networks(**options: Any) -> serializers.ListField:
    return serializers.ListField(
        child=serializers.CharField(max_length=43), max_length=keys.NETWORKS_MAX,
        help_text="addresses it may come from, such as 203.0.113.7/32; no wider than /24 or /48", **options,
    )  # fmt: skip


def _scopes(**options: Any) -> serializers.ListField:
    return serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.choices), min_length=1, max_length=len(Scope.values), **options
    )


class NewKeyInput(StrictSerializer):
    """What the key shall be. One that trades with money names its addresses and ends within 90 days."""

    name = serializers.CharField(max_length=64)
    mode = serializers.ChoiceField(choices=KeyMode.choices)
    scopes = _scopes()
    networks = _networks(required=False, default=list)
    expires_at = ExactTimeField(required=False, allow_null=True, default=None)


class NarrowInput(StrictSerializer):
    """What is left of the key. What is not named stays."""

    name = serializers.CharField(max_length=64, required=False)
    scopes = _scopes(required=False)
    networks = _networks(required=False)
    expires_at = ExactTimeField(required=False)


class RotateInput(StrictSerializer):
    """How long the old key goes on."""

    overlap_s = serializers.IntegerField(min_value=0, max_value=24 * 3600, required=False, default=0)


class RevokeInput(StrictSerializer):
    """Why the key ends."""

    reason = serializers.CharField(max_length=500)


class KeyQuery(StrictSerializer):
    """Which keys to list."""

    limit = serializers.IntegerField(min_value=1, max_value=200, default=50)
    before = serializers.UUIDField(required=False, help_text="the last id of the page before this one")


class KeyView(serializers.Serializer[ApiKey]):
    """A key without its secret, which nobody has but who was shown it."""

    id = serializers.UUIDField(source="public_id")
    key_id = serializers.CharField(help_text="the part of the key that names it")
    owner = serializers.UUIDField(source="user.public_id")
    name = serializers.CharField()
    mode = serializers.ChoiceField(choices=KeyMode.choices)
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.choices))
    networks = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="to the minute")


class NewKeyView(KeyView):
    """A key with its secret, once; a repeated request answers null there."""

    secret = serializers.CharField(allow_null=True)


class KeyPage(serializers.Serializer[Any]):
    """A page of keys, the newest first."""

    results = KeyView(many=True)
    next = serializers.UUIDField(allow_null=True)


class Keys(APIView):
    """All of one's keys."""

    actions: ClassVar = {"GET": Action.KEY_READ, "POST": Action.KEY_CREATE}
    replays = True

    @extend_schema(operation_id="api_keys_list", parameters=[KeyQuery], responses=KeyPage, tags=["api keys"])
    def get(self, request: Request) -> Response:
        """List keys, never their secrets."""
        asked = _read(KeyQuery, request.query_params.dict())
        rows, following = keys.page(by=_person(request), **asked)
        return Response(KeyPage({"results": rows, "next": following}).data)

    @extend_schema(
        operation_id="api_keys_create", request=NewKeyInput, parameters=[KEY], tags=["api keys"],
        responses={201: NewKeyView, 200: NewKeyView},
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Make a key, and show its secret once."""
        asked, key = _idempotent(self, request, NewKeyInput, path="/auth/api-keys", action=Action.KEY_CREATE)
        new = NewKey(**{**asked, "mode": KeyMode(asked["mode"])})
        return _shown(keys.create(new=new, request=key, by=_person(request), at=now()))


class Key(APIView):
    """One key."""

    actions: ClassVar = {"PATCH": Action.KEY_CHANGE}

    @extend_schema(operation_id="api_keys_narrow", request=NarrowInput, responses=KeyView, tags=["api keys"])
    def patch(self, request: Request, key_id: uuid.UUID) -> Response:
        """Take something away from a key; to give it more, make a new one."""
        asked = _read(NarrowInput, request.data)
        return Response(KeyView(keys.narrow(public_id=key_id, changes=asked, by=_person(request), at=now())).data)


class KeyRotate(APIView):
    """A key's successor."""

    actions: ClassVar = {"POST": Action.KEY_CREATE}
    replays = True

    @extend_schema(
        operation_id="api_keys_rotate", request=RotateInput, parameters=[KEY], tags=["api keys"],
        responses={201: NewKeyView, 200: NewKeyView},
    )  # fmt: skip
    def post(self, request: Request, key_id: uuid.UUID) -> Response:
        """Make a key like this one, which ends when the overlap is over."""
        path = f"/auth/api-keys/{key_id}/rotate"
        asked, key = _idempotent(self, request, RotateInput, path=path, action=Action.KEY_CREATE)
        overlap = timedelta(seconds=asked["overlap_s"])
        return _shown(keys.rotate(public_id=key_id, overlap=overlap, request=key, by=_person(request), at=now()))


class KeyRevoke(APIView):
    """A key's end."""

    actions: ClassVar = {"POST": Action.KEY_REVOKE}

    @extend_schema(operation_id="api_keys_revoke", request=RevokeInput, responses=KeyView, tags=["api keys"])
    def post(self, request: Request, key_id: uuid.UUID) -> Response:
        """End a key at once."""
        reason = _read(RevokeInput, request.data)["reason"]
        return Response(KeyView(keys.revoke(public_id=key_id, reason=reason, by=_person(request), at=now())).data)


def _idempotent(
    view: APIView, request: Request, form_class: type[StrictSerializer], *, path: str, action: Action
) -> tuple[dict[str, Any], RequestKey]:
    """Read a request that is done once, and ask for the second factor unless it is a repetition."""
    header = records.read_key(request.headers.get("Idempotency-Key"))
    asked = _read(form_class, request.data)
    user = _person(request)
    key = RequestKey(
        principal=str(user.public_id),
        account="",
        key=header,
        fingerprint=records.fingerprint(
            method="POST", path=path, body=asked, query=[*request.query_params.dict().items()]
        ),
    )
    if records.find(key) is None:
        permissions.check_step_up(request._request, action)
    return asked, key


def _shown(made: Made) -> Response:
    status, headers = (201, {}) if made.text else (200, {"Idempotency-Replayed": "true"})
    body = {**KeyView(made.key).data, "secret": made.text or None}
    return Response(body, status=status, headers=headers)


def _read(form_class: type[StrictSerializer], data: Any) -> dict[str, Any]:
    form = form_class(data=data)
    form.is_valid(raise_exception=True)
    held: dict[str, Any] = form.validated_data
    return held


def _person(request: Request) -> Principal:
    return cast("Principal", request.user)
