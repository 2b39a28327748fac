"""The doors of trading for people and bots: parse, one call, answer."""

import uuid
from typing import Any, cast

from django.utils.timezone import now
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.states import Role
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Outcome, Target
from nexus.core.http import as_error
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from trading import selectors
from trading.api import forms
from trading.services import live, orders
from trading.states import Delivery

TRADERS = frozenset({Role.TRADER, Role.BOT})
KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    required=True,
    description="8 to 128 letters, digits, hyphens or underscores. New for each order, the same to repeat one.",
)


def _person(request: Request) -> Principal:
    return cast("Principal", request.user)


class MayTrade(BasePermission):
    """Only traders and bots place orders; operators stop and review them."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Tell whether this person may place orders."""
        return _person(request).role in TRADERS


class Execute(APIView):
    """Place a market order."""

    permission_classes = (*APIView.permission_classes, MayTrade)

    @extend_schema(
        request=forms.ExecuteForm, responses={201: forms.OrderView, 202: forms.OrderView}, parameters=[KEY],
        summary="Place a market order",
        description="201 when the outcome is known (FILLED, REJECTED, …), 202 while the broker's answer is awaited: "
        "then read the order again. Repeating a request with its key never trades twice.",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Place the order, or return the one that this key has placed."""
        user = _person(request)
        key = records.read_key(request.headers.get("Idempotency-Key"))
        form = forms.ExecuteForm(data=request.data)
        form.is_valid(raise_exception=True)
        account = selectors.account_for(user, public_id=form.validated_data.get("account"))
        execution = orders.execute(
            user=user,
            account=account,
            intent=form.to_intent(),
            key=RequestKey(
                principal=str(user.public_id),
                account=str(account.public_id),
                key=key,
                fingerprint=records.fingerprint(method="POST", path="/trading/execute", body=form.validated_data),
            ),
            at=now(),
        )
        order = execution.order
        return Response(
            forms.OrderView(order).data,
            status=201 if order.delivery in (Delivery.DONE, Delivery.ACKED) else 202,
            headers={"Idempotency-Replayed": "true"} if execution.is_replay else None,
        )

    def handle_exception(self, exc: Exception) -> Response:
        """Answer a refusal, and keep that it happened: who tried what is evidence too."""
        error = as_error(exc)
        user = self.request.user
        if error is not None and 400 <= error.status < 500 and user is not None:
            trail.record_denied(
                action="order.refused",
                actor=Actor.user(_person(self.request).public_id),
                target=Target("order", ""),
                outcome=Outcome.DENIED if error.status == 403 else Outcome.FAILURE,
                detail={"code": error.code, "fields": [each.pointer for each in error.errors]},
            )
        return super().handle_exception(exc)


class Ledger(APIView):
    """Orders, the newest first."""

    @extend_schema(
        operation_id="trading_ledger_list",
        parameters=[forms.LedgerQuery],
        responses=forms.LedgerView,
        summary="List orders",
    )
    def get(self, request: Request) -> Response:
        """List the orders this person may see."""
        form = forms.LedgerQuery(data=request.query_params.dict())
        form.is_valid(raise_exception=True)
        page, following = selectors.ledger_page(_person(request), **form.to_filters())
        return Response(forms.LedgerView({"results": page, "next": following}).data)


class LedgerRow(APIView):
    """One order."""

    @extend_schema(responses=forms.OrderView, summary="Read one order")
    def get(self, request: Request, order_id: uuid.UUID) -> Response:
        """Read one order this person may see."""
        return Response(forms.OrderView(selectors.order_of(_person(request), public_id=order_id)).data)


class Positions(APIView):
    """Open positions, marked by the broker."""

    @extend_schema(responses=forms.PositionList, summary="List open positions with the broker's prices")
    def get(self, request: Request) -> Response:
        """List the open positions this person may see."""
        accounts = list(selectors.accounts_of(_person(request)))
        positions = list(selectors.open_positions(accounts))
        held = {row.account_id for row in positions}
        snapshots = live.snapshots([account for account in accounts if account.pk in held])
        rows = selectors.beside(positions, snapshots=snapshots)
        return Response(forms.PositionList({"results": rows}).data)


class Accounts(APIView):
    """Accounts with their live figures."""

    @extend_schema(responses=forms.AccountList, summary="List accounts with their live figures")
    def get(self, request: Request) -> Response:
        """List the accounts this person may see."""
        accounts = list(selectors.accounts_of(_person(request)))
        rows = selectors.with_figures(accounts, snapshots=live.snapshots(accounts))
        return Response(forms.AccountList({"results": rows}).data)


class Quotes(APIView):
    """The price now."""

    @extend_schema(
        responses=forms.QuoteView, summary="Read a price", parameters=[OpenApiParameter("account", uuid.UUID)]
    )
    def get(self, request: Request, symbol: str) -> Response:
        """Read the price of one instrument of this person's account."""
        form = forms.QuoteQuery(data={**request.query_params.dict(), "symbol": symbol})
        form.is_valid(raise_exception=True)
        data: dict[str, Any] = form.validated_data
        account = selectors.account_for(_person(request), public_id=data.get("account"))
        return Response(forms.QuoteView(live.quote(account, symbol=data["symbol"])).data)
