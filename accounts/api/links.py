"""The doors of a link that two have agreed to: how far it has come, its second half, and sending it again."""

import uuid
from typing import Any, ClassVar, cast

from django.utils.timezone import now
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.approvals import ReasonInput
from accounts.rules import Action
from accounts.services import links
from accounts.services.links import Delivery
from accounts.types import Principal
from nexus.core.errors import NotFound


class LinkView(serializers.Serializer[Delivery]):
    """How far a link has come. Its token is never here."""

    owner = serializers.UUIDField(source="owner.public_id")
    way = serializers.SerializerMethodField(help_text="`mail` to its owner, or two `halves`")
    is_used = serializers.BooleanField()
    expires_at = serializers.DateTimeField()
    is_half_kept = serializers.BooleanField(help_text="the second half waits for who asked")
    sent_at = serializers.DateTimeField(allow_null=True)
    attempts = serializers.IntegerField(help_text="how often it was tried to send it")
    fault = serializers.CharField(allow_blank=True, help_text="why it could not be sent")
    tried_next_at = serializers.DateTimeField(allow_null=True)

    def get_way(self, link: Delivery) -> str:
        """Say how the token reaches its owner."""
        return "mail" if link.is_mailed else "halves"


class HalfView(serializers.Serializer[Any]):
    """The second half of a token; the first was shown to who agreed."""

    second_half = serializers.CharField()


class Link(APIView):
    """The link that came of a request."""

    actions: ClassVar = {"GET": Action.APPROVAL_READ}

    @extend_schema(operation_id="approvals_link", responses=LinkView, tags=["approvals"])
    def get(self, request: Request, approval_id: uuid.UUID) -> Response:
        """Tell how far the link has come to its owner."""
        return Response(LinkView(_delivery(approval_id)).data)


class LinkHalf(APIView):
    """What is kept for who asked."""

    actions: ClassVar = {"POST": Action.APPROVAL_DECIDE}

    @extend_schema(operation_id="approvals_link_half", request=None, responses=HalfView, tags=["approvals"])
    def post(self, request: Request, approval_id: uuid.UUID) -> Response:
        """Show the second half of the token to who asked, once."""
        half = links.show_half(approval_id=approval_id, by=_person(request), at=now())
        return Response({"second_half": half})


class LinkSend(APIView):
    """A message that did not arrive."""

    actions: ClassVar = {"POST": Action.APPROVAL_DECIDE}

    @extend_schema(operation_id="approvals_link_send", request=ReasonInput, responses=LinkView, tags=["approvals"])
    def post(self, request: Request, approval_id: uuid.UUID) -> Response:
        """Send the owner a new token, at the address that the two have agreed to; the one before is void."""
        form = ReasonInput(data=request.data)
        form.is_valid(raise_exception=True)
        reason = form.validated_data["reason"]
        links.send_again(approval_id=approval_id, reason=reason, by=_person(request), at=now())
        return Response(LinkView(_delivery(approval_id)).data)


def _delivery(approval_id: uuid.UUID) -> Delivery:
    found = links.delivery(approval_id)
    if found is None:
        raise NotFound("There is no link of this request.")
    return found


def _person(request: Request) -> Principal:
    return cast("Principal", request.user)
