"""The doors of reviews: what waits for a person, both sides, what each decision would do, and one decision, once."""

import uuid
from typing import Any, ClassVar, cast

from django.utils.timezone import now
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rules import Action
from accounts.types import Principal
from nexus.core.errors import NexusError
from nexus.core.wire import ExactDecimalField, StrictSerializer
from reconciliation import selectors
from reconciliation.models import Review
from reconciliation.services import decisions, reviews
from reconciliation.states import Decision, Impact, ReviewState

SHOWN_MAX = 500


class DecisionForm(StrictSerializer):
    """One decision, on the version that was shown."""

    decision = serializers.ChoiceField(choices=[each.value for each in Decision])
    version = serializers.IntegerField(min_value=1, help_text="as it was shown; other figures since then refuse it")
    reason = serializers.CharField(max_length=500, help_text="why, for the audit")


class ReviewView(serializers.Serializer[Review]):
    """A difference that waits for a person, or waited."""

    id = serializers.UUIDField(source="public_id")
    account = serializers.UUIDField(source="account.public_id")
    key = serializers.CharField(help_text="a symbol (netting), a position's identifier (hedging), or CASH")
    symbol = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(choices=[each.value for each in ReviewState])
    version = serializers.IntegerField()
    value_usd = ExactDecimalField(allow_null=True, help_text="empty when nobody can value it")
    risk_impact = serializers.ChoiceField(choices=[each.value for each in Impact])
    evidence = serializers.JSONField(help_text="both sides, as the newest run saw them")
    owner = serializers.CharField(allow_blank=True, help_text="who looks at it")
    leased_until = serializers.DateTimeField(allow_null=True)
    opened_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField()
    decision = serializers.CharField(allow_blank=True)
    decided_by = serializers.CharField(allow_blank=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(allow_blank=True)
    needs_another = serializers.SerializerMethodField(help_text="a second operator has to agree to a decision")

    def get_needs_another(self, review: Review) -> bool:
        """Tell whether one person may decide it."""
        return decisions.needs_another(review, at=now())


class EffectView(serializers.Serializer[Any]):
    """What a decision would do now, or why it cannot be made now."""

    decision = serializers.ChoiceField(choices=[each.value for each in Decision])
    lines = serializers.ListField(child=serializers.CharField())
    refused = serializers.CharField(allow_blank=True)


class ReviewDetail(ReviewView):
    """A review with what each decision would do now."""

    effects = EffectView(many=True)


class ReviewList(serializers.Serializer[Any]):
    """What waits: what nobody can value first, then the most, then the oldest."""

    items = ReviewView(many=True)


class DecidedView(serializers.Serializer[Any]):
    """The review after a decision, how the fresh run ended where one was asked for, or what has to be agreed to."""

    review = ReviewView()
    run_status = serializers.CharField(allow_blank=True)
    approval = serializers.UUIDField(allow_null=True, help_text="a second operator decides on it at `/approvals`")


class Reviews(APIView):
    """The queue."""

    actions: ClassVar = {"GET": Action.REVIEW_READ}

    @extend_schema(operation_id="reviews", responses=ReviewList, summary="List differences that wait for a person")
    def get(self, request: Request) -> Response:
        """List what waits."""
        return Response(ReviewList({"items": selectors.queue()[:SHOWN_MAX]}).data)


class OneReview(APIView):
    """One review, side by side."""

    actions: ClassVar = {"GET": Action.REVIEW_READ}

    @extend_schema(
        operation_id="review", responses=ReviewDetail, summary="Show both sides, and what each decision would do"
    )
    def get(self, request: Request, review_id: uuid.UUID) -> Response:
        """Show one review."""
        row = selectors.review(review_id)
        shown = ReviewView(row).data
        return Response({**shown, "effects": [_effect(row, decision) for decision in Decision]})


class Claim(APIView):
    """Taking a review."""

    actions: ClassVar = {"POST": Action.REVIEW_CLAIM}

    @extend_schema(request=None, responses=ReviewView, summary="Take a review for half an hour")
    def post(self, request: Request, review_id: uuid.UUID) -> Response:
        """Take it, or hold it for longer."""
        row = reviews.claim(review_id=review_id, by=cast("Principal", request.user), at=now())
        return Response(ReviewView(row).data)


class Decide(APIView):
    """Deciding a review."""

    actions: ClassVar = {"POST": Action.REVIEW_DECIDE}

    @extend_schema(
        request=DecisionForm, responses={200: DecidedView, 202: DecidedView},
        summary="Decide on the version that was shown",
    )  # fmt: skip
    def post(self, request: Request, review_id: uuid.UUID) -> Response:
        """Apply one decision, once; 202 when it is so large that a second operator has to agree first."""
        form = DecisionForm(data=request.data)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        decided = decisions.decide(
            review_id=review_id, decision=Decision(asked["decision"]), version=asked["version"],
            reason=asked["reason"], by=cast("Principal", request.user), at=now(),
        )  # fmt: skip
        shown = {
            "review": decided.review,
            "run_status": "" if decided.outcome is None else decided.outcome.status.value,
            "approval": decided.approval,
        }
        return Response(DecidedView(shown).data, status=200 if decided.approval is None else 202)


def _effect(row: Review, decision: Decision) -> dict[str, Any]:
    try:
        effect = decisions.preview(review_id=row.public_id, decision=decision, at=now())
    except NexusError as exc:
        return {"decision": decision.value, "lines": [], "refused": exc.detail}
    return {"decision": decision.value, "lines": list(effect.lines), "refused": ""}
