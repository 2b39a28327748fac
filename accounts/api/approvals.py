"""The doors of four eyes: see what waits, say yes or no, ask for a change of who may come in."""

import uuid
from collections.abc import Callable
from typing import Any, ClassVar, cast

from django.utils.timezone import now
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import selectors
from accounts.api.access import client_of
from accounts.models import EMAIL_LENGTH_MAX, ApprovalRequest, User
from accounts.rules import Action
from accounts.services import approvals, enrolments, staffing
from accounts.services.permissions import Anybody
from accounts.services.users import PASSWORD_LENGTH_MAX
from accounts.states import ApprovalState, ApprovalVerdict, Role
from accounts.types import Principal
from nexus.core.wire import StrictSerializer

PAGE_MAX = 200


class ReasonInput(StrictSerializer):
    """Why, for the audit."""

    reason = serializers.CharField(max_length=approvals.REASON_LENGTH_MAX)


class NewUserInput(ReasonInput):
    """Who shall be created."""

    email = serializers.CharField(max_length=EMAIL_LENGTH_MAX)
    full_name = serializers.CharField(max_length=150, required=False, default="", allow_blank=True)
    role = serializers.ChoiceField(choices=Role.choices)


class RoleInput(ReasonInput):
    """Which role a user shall have."""

    role = serializers.ChoiceField(choices=Role.choices)


class EnrolInput(StrictSerializer):
    """The token of an enrolment link, and the first password."""

    token = serializers.CharField(max_length=128)
    password = serializers.CharField(max_length=PASSWORD_LENGTH_MAX, trim_whitespace=False, write_only=True)


class ApprovalQuery(StrictSerializer):
    """Which requests to list."""

    limit = serializers.IntegerField(min_value=1, max_value=PAGE_MAX, default=50)
    state = serializers.ChoiceField(choices=ApprovalState.choices, required=False)
    before = serializers.UUIDField(required=False, help_text="the last id of the page before this one")


class UserQuery(StrictSerializer):
    """Which users to list."""

    limit = serializers.IntegerField(min_value=1, max_value=PAGE_MAX, default=50)
    before = serializers.UUIDField(required=False, help_text="the last id of the page before this one")


class DecisionView(serializers.Serializer[Any]):
    """What one person said."""

    decided_by = serializers.UUIDField(source="decided_by.public_id")
    decision = serializers.ChoiceField(choices=ApprovalVerdict.choices)
    reason = serializers.CharField()
    decided_at = serializers.DateTimeField()


class ApprovalView(serializers.Serializer[ApprovalRequest]):
    """A request for a second person: who asks for what, why, and who has said what."""

    id = serializers.UUIDField(source="public_id")
    kind = serializers.ChoiceField(choices=sorted(approvals.KINDS))
    object_type = serializers.CharField()
    object_id = serializers.CharField()
    payload = serializers.DictField(help_text="exactly what is agreed to")
    payload_sha256 = serializers.SerializerMethodField()
    requested_by = serializers.UUIDField(source="requested_by.public_id")
    requested_at = serializers.DateTimeField()
    reason = serializers.CharField()
    approvers = serializers.IntegerField(source="required", help_text="how many others have to agree")
    state = serializers.ChoiceField(choices=ApprovalState.choices)
    expires_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)
    decisions = serializers.SerializerMethodField()

    def get_payload_sha256(self, request: ApprovalRequest) -> str:
        """Write the hash in hexadecimal."""
        return bytes(request.payload_sha256).hex()

    @extend_schema_field(DecisionView(many=True))
    def get_decisions(self, request: ApprovalRequest) -> Any:
        """List what was said, in its order."""
        rows = sorted(request.decisions.all(), key=lambda each: each.pk)
        return DecisionView(rows, many=True).data


class ApprovedView(ApprovalView):
    """The request after a yes; `result` holds what is shown once, such as the first half of a link's token."""

    result = serializers.DictField(child=serializers.CharField())


class ApprovalPage(serializers.Serializer[Any]):
    """A page of requests, the newest first; `next` is the value of `before` for the page after this one."""

    results = ApprovalView(many=True)
    next = serializers.UUIDField(allow_null=True)


class UserView(serializers.Serializer[User]):
    """Somebody who may come in."""

    id = serializers.UUIDField(source="public_id")
    email = serializers.CharField()
    full_name = serializers.CharField(allow_blank=True)
    role = serializers.ChoiceField(choices=Role.choices)
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class UserPage(serializers.Serializer[Any]):
    """A page of users, the newest first."""

    results = UserView(many=True)
    next = serializers.UUIDField(allow_null=True)


class Approvals(APIView):
    """What waits, and what was decided."""

    actions: ClassVar = {"GET": Action.APPROVAL_READ}

    @extend_schema(
        operation_id="approvals_list", parameters=[ApprovalQuery], responses=ApprovalPage, tags=["approvals"]
    )
    def get(self, request: Request) -> Response:
        """List requests for a second person."""
        asked = _read(ApprovalQuery, request.query_params.dict())
        rows, following = selectors.approvals_page(**asked)
        return Response(ApprovalPage({"results": rows, "next": following}).data)


class Approval(APIView):
    """One request."""

    actions: ClassVar = {"GET": Action.APPROVAL_READ}

    @extend_schema(operation_id="approvals_read", responses=ApprovalView, tags=["approvals"])
    def get(self, request: Request, approval_id: uuid.UUID) -> Response:
        """Read one request with everything that was said about it."""
        return Response(ApprovalView(selectors.approval(approval_id)).data)


class Approve(APIView):
    """Say yes."""

    actions: ClassVar = {"POST": Action.APPROVAL_DECIDE}

    @extend_schema(operation_id="approvals_approve", request=ReasonInput, responses=ApprovedView, tags=["approvals"])
    def post(self, request: Request, approval_id: uuid.UUID) -> Response:
        """Agree to what another asked for. The last yes that is needed executes it, once."""
        asked = _read(ReasonInput, request.data)
        decided = approvals.decide(
            public_id=approval_id, approve=True, by=_person(request), reason=asked["reason"], at=now()
        )
        shown = dict(decided.executed.shown) if decided.executed else {}
        view = ApprovalView(selectors.approval(approval_id)).data
        return Response({**view, "result": shown})


class Reject(APIView):
    """Say no."""

    actions: ClassVar = {"POST": Action.APPROVAL_DECIDE}

    @extend_schema(operation_id="approvals_reject", request=ReasonInput, responses=ApprovalView, tags=["approvals"])
    def post(self, request: Request, approval_id: uuid.UUID) -> Response:
        """Reject what another asked for: nothing is done."""
        reason = _read(ReasonInput, request.data)["reason"]
        approvals.decide(public_id=approval_id, approve=False, by=_person(request), reason=reason, at=now())
        return Response(ApprovalView(selectors.approval(approval_id)).data)


class Cancel(APIView):
    """Take it back."""

    actions: ClassVar = {"POST": Action.APPROVAL_DECIDE}

    @extend_schema(operation_id="approvals_cancel", request=ReasonInput, responses=ApprovalView, tags=["approvals"])
    def post(self, request: Request, approval_id: uuid.UUID) -> Response:
        """Take back what one asked for oneself."""
        reason = _read(ReasonInput, request.data)["reason"]
        approvals.cancel(public_id=approval_id, by=_person(request), reason=reason, at=now())
        return Response(ApprovalView(selectors.approval(approval_id)).data)


class Users(APIView):
    """Who may come in."""

    actions: ClassVar = {"GET": Action.USER_READ, "POST": Action.USER_CHANGE}

    @extend_schema(operation_id="users_list", parameters=[UserQuery], responses=UserPage, tags=["users"])
    def get(self, request: Request) -> Response:
        """List users, the newest first."""
        rows, following = selectors.users_page(**_read(UserQuery, request.query_params.dict()))
        return Response(UserPage({"results": rows, "next": following}).data)

    @extend_schema(operation_id="users_create", request=NewUserInput, responses={202: ApprovalView}, tags=["users"])
    def post(self, request: Request) -> Response:
        """Ask for a new user; another operator decides."""
        asked = _read(NewUserInput, request.data)
        made = staffing.ask_to_create(**{**asked, "role": Role(asked["role"])}, by=_person(request), at=now())
        return _asked(made)


class UserRole(APIView):
    """What a user is for."""

    actions: ClassVar = {"POST": Action.USER_CHANGE}

    @extend_schema(operation_id="users_role", request=RoleInput, responses={202: ApprovalView}, tags=["users"])
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Ask for a user to be given another role; another operator decides."""
        asked = _read(RoleInput, request.data)
        made = staffing.ask_for_role(
            public_id=user_id, role=Role(asked["role"]), reason=asked["reason"], by=_person(request), at=now()
        )
        return _asked(made)


class UserDeactivate(APIView):
    """Shut somebody out."""

    actions: ClassVar = {"POST": Action.USER_CHANGE}

    @extend_schema(operation_id="users_deactivate", request=ReasonInput, responses={202: ApprovalView}, tags=["users"])
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Ask for a user to be deactivated; another operator decides."""
        return _ask(staffing.ask_to_deactivate, request, user_id)


class UserReset(APIView):
    """A device that somebody has lost."""

    actions: ClassVar = {"POST": Action.USER_CHANGE}

    @extend_schema(
        operation_id="users_reset_second_factor", request=ReasonInput, responses={202: ApprovalView}, tags=["users"]
    )
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Ask for a user's second factor to be removed, because it is lost; another operator decides."""
        return _ask(staffing.ask_to_reset, request, user_id)


class UserResetPassword(APIView):
    """A password that somebody has lost."""

    actions: ClassVar = {"POST": Action.USER_CHANGE}

    @extend_schema(
        operation_id="users_reset_password", request=ReasonInput, responses={202: ApprovalView}, tags=["users"]
    )
    def post(self, request: Request, user_id: uuid.UUID) -> Response:
        """Ask for a link with which a user sets another password; another operator decides."""
        return _ask(staffing.ask_to_reset_password, request, user_id)


class Enrol(APIView):
    """Come in for the first time."""

    authentication_classes = ()
    permission_classes = (Anybody,)

    @extend_schema(operation_id="auth_enrol", request=EnrolInput, responses={204: None}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Set the first password with the token of an enrolment link, which this uses up."""
        asked = _read(EnrolInput, request.data)
        enrolments.enrol(token=asked["token"], password=asked["password"], client=client_of(request), at=now())
        return Response(status=204)


def _ask(ask: Callable[..., ApprovalRequest], request: Request, user_id: uuid.UUID) -> Response:
    reason = _read(ReasonInput, request.data)["reason"]
    return _asked(ask(public_id=user_id, reason=reason, by=_person(request), at=now()))


def _asked(made: ApprovalRequest) -> Response:
    return Response(ApprovalView(selectors.approval(made.public_id)).data, status=202)


def _read(form_class: type[StrictSerializer], data: Any) -> dict[str, Any]:
    form = form_class(data=data)
    form.is_valid(raise_exception=True)
    held: dict[str, Any] = form.validated_data
    return held


def _person(request: Request) -> Principal:
    return cast("Principal", request.user)
