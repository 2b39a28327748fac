"""The doors of changes whose answer was lost: which there are, and what an operator proposes that became of one."""

import uuid
from typing import Any, ClassVar, cast

from django.utils.timezone import now
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rules import Action
from accounts.types import Principal
from nexus.core.wire import StrictSerializer
from trading import selectors
from trading.api import forms
from trading.models import ChangeDecision, ChangeRequest
from trading.services import change_decisions, lost
from trading.states import ChangeState


class OutcomeForm(StrictSerializer):
    """What became of the change, and what shows it."""

    to = serializers.ChoiceField(
        choices=[ChangeState.DONE.value, ChangeState.REFUSED.value],
        help_text="of a CANCEL only REFUSED: it is given up, and its order works on",
    )
    evidence = serializers.CharField(
        min_length=change_decisions.EVIDENCE_LENGTH_MIN, max_length=change_decisions.EVIDENCE_LENGTH_MAX,
        help_text="what the broker has said, who and when, for the audit",
    )  # fmt: skip


class ProposalView(serializers.Serializer[ChangeDecision]):
    """What one operator says, and another decides at `/approvals`."""

    to = serializers.CharField()
    evidence = serializers.CharField()
    state = serializers.CharField()
    proposed_by = serializers.UUIDField()
    proposed_at = serializers.DateTimeField()
    approval = serializers.SerializerMethodField(help_text="a second operator decides on it at `/approvals`")

    def get_approval(self, decision: ChangeDecision) -> str:
        """Return the number of its request."""
        return str(change_decisions.approval_of(decision))


class LostView(forms.ChangeView):
    """A change whose answer was lost, what it is of, and what is proposed."""

    account = serializers.SerializerMethodField()
    order = serializers.UUIDField(source="order.public_id", allow_null=True, default=None)
    position = serializers.UUIDField(source="position.public_id", allow_null=True, default=None)
    what = serializers.SerializerMethodField(help_text="the order or the position, as people read it")
    proposal = serializers.SerializerMethodField()

    def get_account(self, change: ChangeRequest) -> uuid.UUID:
        """Return whose change it is."""
        return change_decisions.of(change).account.public_id

    def get_what(self, change: ChangeRequest) -> str:
        """Return what is changed, in words."""
        return str(change_decisions.of(change))

    @extend_schema_field(ProposalView(allow_null=True))
    def get_proposal(self, change: ChangeRequest) -> dict[str, Any] | None:
        """Return what is proposed, if anything."""
        found = change_decisions.proposal(change)
        return None if found is None else dict(ProposalView(found).data)


class LostList(serializers.Serializer[Any]):
    """What nobody has answered, the oldest first."""

    items = LostView(many=True)


class Lost(APIView):
    """The queue of lost changes."""

    actions: ClassVar = {"GET": Action.APPROVAL_READ}

    @extend_schema(operation_id="lost_changes", responses=LostList, summary="List changes whose answer was lost")
    def get(self, request: Request) -> Response:
        """List the changes and cancels that people have been told of and nobody has answered."""
        return Response(LostList({"items": lost.undecided()}).data)


class Decide(APIView):
    """What became of a lost change."""

    actions: ClassVar = {"POST": Action.APPROVAL_DECIDE}

    @extend_schema(
        operation_id="lost_change_decide", request=OutcomeForm, responses={202: ProposalView},
        summary="Propose what became of a lost change",
    )  # fmt: skip
    def post(self, request: Request, change_id: uuid.UUID) -> Response:
        """Propose it; nothing is done until a second operator agrees at `/approvals`."""
        form = OutcomeForm(data=request.data)
        form.is_valid(raise_exception=True)
        person, asked = cast("Principal", request.user), form.validated_data
        change = selectors.change_of(person, public_id=change_id)
        decision = change_decisions.propose(
            change_id=change.pk, to=ChangeState(asked["to"]), evidence=asked["evidence"], by=person, at=now()
        )
        return Response(ProposalView(decision).data, status=202)
