"""The doors of reconciliation for people and bots: parse, one call, answer."""

import uuid
from datetime import timedelta
from typing import ClassVar, cast

import orjson
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.timezone import now
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rules import Action
from accounts.services.permissions import actor_of, require_venue
from accounts.states import Role
from accounts.types import Principal
from nexus.core.errors import FieldError, Invalid
from reconciliation import selectors
from reconciliation.api import forms
from reconciliation.services import cycles, reports
from reconciliation.states import Trigger

ROWS_MAX = 1000


def _person(request: Request) -> Principal:
    return cast("Principal", request.user)


class Reconcile(APIView):
    """Compare accounts with their brokers now."""

    actions: ClassVar = {"POST": Action.RECONCILE}

    @extend_schema(
        request=forms.ReconcileForm, responses=forms.RunList, summary="Reconcile now",
        description="Runs at once and answers with the result. A broker that cannot be asked is a result too: FAILED.",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Reconcile one account, or all of one's own."""
        user = _person(request)
        form = forms.ReconcileForm(data=request.data)
        form.is_valid(raise_exception=True)
        named: uuid.UUID | None = form.validated_data.get("account")
        if named is None and user.role == Role.OPERATOR:
            detail = "Name the account to reconcile."
            raise Invalid(detail, errors=[FieldError("/account", "required", detail)])
        owned = selectors.accounts_of(user, account=named)
        actor = actor_of(user)
        for each in owned:
            require_venue(user, is_live=each.is_live)
        outcomes = [cycles.run(account_id=each.pk, trigger=Trigger.REQUEST, at=now(), actor=actor) for each in owned]
        return Response(forms.RunList({"results": outcomes}).data)


class Report(APIView):
    """What reconciliation found."""

    actions: ClassVar = {"GET": Action.ACCOUNT_READ}

    @extend_schema(
        operation_id="trading_reconciliation_report",
        parameters=[forms.ReportQuery],
        responses={
            (200, "application/json"): forms.ReportView,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "every row of the log, clean runs too"),
        },
        summary="Read what reconciliation found",
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Report on the accounts this person may see."""
        form = forms.ReportQuery(data=request.query_params.dict())
        form.is_valid(raise_exception=True)
        asked, at = form.validated_data, now()
        owned = selectors.accounts_of(_person(request), account=asked.get("account"))
        if asked["format"] == "csv":
            rows = selectors.log_of(owned, since=at - timedelta(hours=asked["hours"]), until=at)
            answer: HttpResponse | StreamingHttpResponse = StreamingHttpResponse(
                reports.csv_lines(rows), content_type="text/csv; charset=utf-8"
            )
            answer["Content-Disposition"] = 'attachment; filename="reconciliation.csv"'
            return answer
        found = reports.document(owned, hours=asked["hours"], at=at, rows_max=ROWS_MAX)
        return HttpResponse(orjson.dumps(found), content_type="application/json")
