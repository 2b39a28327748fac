"""The doors of trading for people and bots: parse, one call, answer."""

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.timezone import now
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rules import Action
from accounts.services import refusals
from accounts.services.permissions import actor_of, check_live_step_up, require_venue
from accounts.states import Role
from accounts.types import Principal
from nexus.audit.types import Outcome, Target
from nexus.core.errors import FieldError, Invalid
from nexus.core.http import as_error, client_ip
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.types import Context
from trading import selectors
from trading.api import forms, rendering
from trading.models import ChangeRequest, TradingAccount
from trading.services import accounts, cancels, changes, closes, facts, history, live, orders, terms
from trading.services.orders import Execution
from trading.states import ChangeState, Delivery

KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    required=True,
    description="8 to 128 letters, digits, hyphens or underscores. New for each order, the same to repeat one.",
)
PREFER = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description="`respond-async`: accept the order and answer 202 at once; a worker sends it.",
)


def _person(request: Request) -> Principal:
    return cast("Principal", request.user)


class BrokerView(APIView):
    """What asks brokers, and answers in time: all that is read there ends by one deadline."""

    @accounts.answering()
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer within the time that there is."""
        return super().dispatch(request, *args, **kwargs)


class TradingView(BrokerView):
    """What trades: refusals are kept as evidence, of one caller so many a minute."""

    keeps_refusals = True

    def handle_exception(self, exc: Exception) -> Response:
        """Answer a refusal, and keep that it happened: who tried what is evidence too. A refusal that cannot be kept is
        not given: the database is down, and that is what is answered.
        """
        error = as_error(exc)
        user = getattr(self.request, "_user", None)  # asking for `user` would authenticate once more, and fail again
        if error is not None and 400 <= error.status < 500 and user is not None:
            try:
                refusals.keep(
                    action="order.refused",
                    actor=actor_of(user),
                    target=Target("order", ""),
                    outcome=Outcome.DENIED if error.status == 403 else Outcome.FAILURE,
                    detail={"code": error.code, "fields": [each.pointer for each in error.errors]},
                )
            except (OperationalError, InterfaceError) as down:
                return super().handle_exception(down)
        return super().handle_exception(exc)


def _request_key(request: Request, account: TradingAccount, *, path: str, body: Mapping[str, Any]) -> RequestKey:
    user = _person(request)
    return RequestKey(
        principal=str(user.public_id),
        account=str(account.public_id),
        key=records.read_key(request.headers.get("Idempotency-Key")),
        fingerprint=records.fingerprint(
            method="POST", path=path, body=body, query=[*request.query_params.dict().items()]
        ),
    )


def _answer(execution: Execution) -> HttpResponse:
    order = execution.order
    return rendering.answer(
        rendering.order(order),
        status=201 if order.delivery in (Delivery.DONE, Delivery.ACKED) else 202,
        headers={"Idempotency-Replayed": "true"} if execution.is_replay else None,
    )


def _changed(change: ChangeRequest) -> Response:
    return Response(forms.ChangeView(change).data, status=200 if change.state != ChangeState.UNKNOWN else 202)


def _context(request: Request, account: TradingAccount, *, key: RequestKey | None = None) -> Context:
    """Say what the door knows of the caller; where real money is, a person has shown a code lately by then.

    Takes: the `key` of a request that may be a repetition, which needs no code: it does nothing.
    """
    asks = account.is_live and (key is None or records.find(key) is None)
    if asks:
        check_live_step_up(request._request, Action.ORDER_PLACE)
    return Context(network=client_ip(request._request), stepped_up=asks, is_request=True)


class Execute(TradingView):
    """Place an order."""

    actions: ClassVar = {"POST": Action.ORDER_PLACE}

    @extend_schema(
        request=forms.ExecuteForm, responses={201: forms.OrderView, 202: forms.OrderView}, parameters=[KEY, PREFER],
        summary="Place an order",
        description="201 when the outcome is known (FILLED, REJECTED, …), 202 while the broker's answer is awaited: "
        "then read the order again. Repeating a request with its key never trades twice. 429 when an account asks for "
        "more than ORDERS_PER_SECOND: nothing is kept then, and the same key may be sent again.",
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        """Place the order, or return the one that this key has placed."""
        user = _person(request)
        name = records.read_key(request.headers.get("Idempotency-Key"))
        form = forms.ExecuteForm(data=request.data)
        form.is_valid(raise_exception=True)
        owned = facts.owned_by(user.pk, principal=str(user.public_id), key=name)
        account = selectors.account_among(owned.accounts, public_id=form.validated_data.get("account"))
        require_venue(user, is_live=account.is_live)
        key = _request_key(request, account, path="/trading/execute", body=form.validated_data)
        place = orders.accept if request.headers.get("Prefer") == "respond-async" else orders.execute
        context = _context(request, account, key=key)
        intent = form.to_intent()
        at = owned.read_at  # one clock names the day and the hour that an order counts in, whichever server asks
        return _answer(place(user=user, account=account, intent=intent, key=key, at=at, context=context, owned=owned))


class OrderCancel(TradingView):
    """Cancel what is left of an order."""

    actions: ClassVar = {"POST": Action.ORDER_CANCEL}

    @extend_schema(request=forms.CancelForm, responses=forms.OrderView, summary="Cancel an order")
    def post(self, request: Request, order_id: uuid.UUID) -> HttpResponse:
        """Cancel the order and return it as it stands: CANCELED only when the broker's own word proves it."""
        user = _person(request)
        form = forms.CancelForm(data=request.data)
        form.is_valid(raise_exception=True)
        order = selectors.order_of(user, public_id=order_id)
        require_venue(user, is_live=order.account.is_live)
        reason = form.validated_data["reason"]
        if user.role == Role.OPERATOR and not reason:
            detail = "Say why you cancel somebody else's order."
            raise Invalid(detail, errors=[FieldError("/reason", "required", detail)])
        order = cancels.request(order_id=order.pk, actor=actor_of(user), reason=reason, at=now())
        return rendering.answer(rendering.order(order))


class OrderTerms(TradingView):
    """Change a working order's prices."""

    actions: ClassVar = {"PATCH": Action.ORDER_PLACE}

    @extend_schema(request=forms.TermsForm, responses=forms.ChangeView, summary="Change a working order's prices")
    def patch(self, request: Request, order_id: uuid.UUID) -> Response:
        """Change the prices, and return the change as the broker answered it."""
        user = _person(request)
        form = forms.TermsForm(data=request.data)
        form.is_valid(raise_exception=True)
        order = selectors.order_of(user, public_id=order_id)
        require_venue(user, is_live=order.account.is_live)
        reason = form.validated_data["reason"]
        context = _context(request, order.account)
        change = terms.change(
            user=user, order_id=order.pk, terms=form.to_terms(), reason=reason, at=facts.database_clock(),
            context=context,
        )  # fmt: skip
        return _changed(change)


class PositionClose(TradingView):
    """Close a position, whole or in part."""

    actions: ClassVar = {"POST": Action.ORDER_PLACE}

    @extend_schema(
        request=forms.CloseForm, responses={201: forms.OrderView, 202: forms.OrderView}, parameters=[KEY],
        summary="Close a position, whole or in part",
    )  # fmt: skip
    def post(self, request: Request, position_id: uuid.UUID) -> HttpResponse:
        """Close the position with an order of its own, and return that order."""
        user = _person(request)
        records.read_key(request.headers.get("Idempotency-Key"))
        form = forms.CloseForm(data=request.data)
        form.is_valid(raise_exception=True)
        position = selectors.position_of(user, public_id=position_id)
        require_venue(user, is_live=position.account.is_live)
        path = f"/trading/positions/{position_id}/close"
        key = _request_key(request, position.account, path=path, body=form.validated_data)
        against, at = form.validated_data.get("against"), facts.database_clock()
        if against is not None:
            other = selectors.position_of(user, public_id=against)
            return _answer(closes.close_by(user=user, position=position, other=other, key=key, at=at))
        quantity = form.validated_data.get("quantity")
        return _answer(closes.close(user=user, position=position, quantity=quantity, key=key, at=at))


class PositionStops(TradingView):
    """Change a position's stops."""

    actions: ClassVar = {"PATCH": Action.ORDER_PLACE}

    @extend_schema(request=forms.StopsForm, responses=forms.ChangeView, summary="Change a position's stops")
    def patch(self, request: Request, position_id: uuid.UUID) -> Response:
        """Set the stops, and return the change as the broker answered it."""
        user = _person(request)
        form = forms.StopsForm(data=request.data)
        form.is_valid(raise_exception=True)
        position = selectors.position_of(user, public_id=position_id)
        require_venue(user, is_live=position.account.is_live)
        _context(request, position.account)
        actor, reason = actor_of(user), form.validated_data["reason"]
        change = changes.change_stops(
            position_id=position.pk, stops=form.to_stops(), actor=actor, reason=reason, at=facts.database_clock()
        )
        return _changed(change)


class Change(APIView):
    """One change of an order's prices or a position's stops."""

    actions: ClassVar = {"GET": Action.ORDER_READ}

    @extend_schema(responses=forms.ChangeView, summary="Read what became of a change")
    def get(self, request: Request, change_id: uuid.UUID) -> Response:
        """Read one change of what this person may see: UNKNOWN until the broker's own lists tell."""
        return Response(forms.ChangeView(selectors.change_of(_person(request), public_id=change_id)).data)


class Ledger(APIView):
    """Orders, the newest first."""

    actions: ClassVar = {"GET": Action.ORDER_READ}

    @extend_schema(
        operation_id="trading_ledger_list",
        parameters=[forms.LedgerQuery],
        responses=forms.LedgerView,
        summary="List orders",
    )
    def get(self, request: Request) -> HttpResponse:
        """List the orders this person may see."""
        form = forms.LedgerQuery(data=request.query_params.dict())
        form.is_valid(raise_exception=True)
        page, following = selectors.ledger_page(_person(request), **form.to_filters())
        return rendering.answer(rendering.ledger(page, following=following))


class LedgerRow(APIView):
    """One order."""

    actions: ClassVar = {"GET": Action.ORDER_READ}

    @extend_schema(responses=forms.OneOrderView, summary="Read one order")
    def get(self, request: Request, order_id: uuid.UUID) -> HttpResponse:
        """Read one order this person may see."""
        person = _person(request)
        order = selectors.order_of(person, public_id=order_id)
        return rendering.answer(rendering.one(order, alike=history.look_alikes_for(person, order)))


class Positions(BrokerView):
    """Open positions, marked by the broker."""

    actions: ClassVar = {"GET": Action.ACCOUNT_READ}

    @extend_schema(responses=forms.PositionList, summary="List open positions with the broker's prices")
    def get(self, request: Request) -> HttpResponse:
        """List the open positions this person may see."""
        positions = selectors.positions_held(_person(request))
        snapshots = live.snapshots({row.account_id: row.account for row in positions}.values())
        rows = selectors.beside(positions, snapshots=snapshots)
        return rendering.answer(rendering.positions(rows))


class Accounts(BrokerView):
    """Accounts with their live figures."""

    actions: ClassVar = {"GET": Action.ACCOUNT_READ}

    @extend_schema(responses=forms.AccountList, summary="List accounts with their live figures")
    def get(self, request: Request) -> Response:
        """List the accounts this person may see."""
        accounts = list(selectors.accounts_of(_person(request)))
        rows = selectors.with_figures(accounts, snapshots=live.snapshots(accounts))
        return Response(forms.AccountList({"results": rows}).data)


class Quotes(BrokerView):
    """The price now."""

    actions: ClassVar = {"GET": Action.ACCOUNT_READ}

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
