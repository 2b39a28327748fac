"""The ticket: what an order would cost and how much room it leaves, then the order itself, then its answer."""

import uuid
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.utils.translation import get_language, gettext

from accounts.services import browsing, pages
from accounts.services.pages import page, person
from nexus.audit.types import Actor
from nexus.core.errors import NexusError
from nexus.core.http import client_ip
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.types import Context
from trading import selectors
from trading.models import TradingAccount
from trading.pages import words
from trading.pages.forms import TicketForm
from trading.services import accounts, cancels, facts, orders, previews
from trading.services.previews import Preview

NUMBERS = {"quantity", "limit_price", "stop_price", "stop_loss", "take_profit"}


def new_key() -> str:
    """Return the key of a form: whatever is sent with it twice is one order."""
    return uuid.uuid4().hex


def key_of(request: HttpRequest, account: TradingAccount, *, path: str, values: dict[str, str]) -> RequestKey:
    """Return the key under which a form makes its order. Raises: KeyRequired."""
    return RequestKey(
        principal=str(person(request).public_id),
        account=str(account.public_id),
        key=records.read_key(request.POST.get("key")),
        fingerprint=records.fingerprint(method="POST", path=path, body=values),
    )


def _form(request: HttpRequest) -> TicketForm:
    owned = selectors.own_accounts(person(request))
    if request.method == "POST":
        return TicketForm(request.POST, accounts=owned)
    first = {"account": next((str(each.public_id) for each in owned), ""), "side": "BUY", "quantity": "0.1"}
    asked = {name: value for name, value in request.GET.dict().items() if name in TicketForm.base_fields}
    if get_language() == "fr":  # links carry numbers in no language
        asked |= {name: asked[name].replace(".", ",") for name in NUMBERS & set(asked)}
        first["quantity"] = first["quantity"].replace(".", ",")
    return TicketForm(initial=first | asked, accounts=owned)


def _lacks(rows: list[words.LimitRow], reason: str) -> bool:
    return any(row.check.reason == reason and not row.check.passed for row in rows)


def _show(request: HttpRequest, form: TicketForm, *, preview: Preview | None = None, status: int = 200) -> HttpResponse:
    """Show the ticket, or to a ticket that stands the part that changes."""
    rows = [words.row_of(check) for check in preview.verdict.checks] if preview else []
    values = form.values() if preview else {}
    context = {
        "nav": "ticket",
        "form": form,
        "symbols": selectors.symbols_met(person(request)),
        "preview": preview,
        "values": values,
        "failed": [row for row in rows if not row.check.passed],
        "limits": words.limits_of(preview.verdict.checks) if preview else [],
        "key": new_key(),
        "again": f"/ticket?{urlencode({name: said for name, said in values.items() if said})}",
        "needs_arming": _lacks(rows, "LIVE_NOT_ARMED"),
        "needs_code": _lacks(rows, "STEP_UP_REQUIRED"),
    }
    template = "trading/parts/answer.html" if pages.is_fragment(request) else "trading/ticket.html"
    # htmx shows no answer that is a failure, and this one is only unfinished.
    return pages.render(request, template, context, status=200 if pages.is_fragment(request) else status)


def context_of(request: HttpRequest) -> Context:
    """Say what this door knows of the person: from where, and whether a code was shown lately in this session."""
    return Context(network=client_ip(request), stepped_up=browsing.is_fresh(request, at=now()))


@page("ORDER_PLACE")
def ticket(request: HttpRequest) -> HttpResponse:
    """Show an empty ticket, or one that a link has begun."""
    return _show(request, _form(request))


@page("ORDER_PLACE", methods=("POST",))
@accounts.answering()
def check(request: HttpRequest) -> HttpResponse:
    """Show what would become of the order: its worst case, and the room under every limit."""
    form = _form(request)
    if not form.is_valid():
        return _show(request, form, status=400)
    user = person(request)
    try:
        account = selectors.account_for(user, public_id=form.account_id)
        context, at = context_of(request), facts.database_clock()
        preview = previews.read(user=user, account=account, intent=form.to_intent(), at=at, context=context)
    except NexusError as exc:
        form.add_refusal(exc)
        return _show(request, form, status=exc.status)
    return _show(request, form, preview=preview)


@page("ORDER_PLACE", methods=("POST",))
@accounts.answering()
def send(request: HttpRequest) -> HttpResponse:
    """Place the order that was shown, once, and go to its answer."""
    form = _form(request)
    if not form.is_valid():
        return _show(request, form, status=400)
    user = person(request)
    try:
        account = selectors.account_for(user, public_id=form.account_id)
        key = key_of(request, account, path="/ticket", values=form.values())
        context = context_of(request)
        at = facts.database_clock()
        placed = orders.execute(user=user, account=account, intent=form.to_intent(), key=key, at=at, context=context)
    except NexusError as exc:
        pages.keep_refusal(request, exc)
        form.add_refusal(exc)
        return _show(request, form, status=exc.status)
    if placed.is_replay:
        messages.info(
            request, gettext("This form was sent before. You see the order that it has made; there is no second one.")
        )
    return pages.go(request, f"/orders/{placed.order.public_id}")


@page("ORDER_READ")
def order(request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
    """Show an order: what became of it, and why."""
    found = selectors.order_of(person(request), public_id=order_id)
    rows = [words.row_of(each) for each in words.stored(found.checks)]
    context = {
        "nav": "ledger",
        "order": found,
        "failed": [row for row in rows if not row.check.passed],
        "passed": [row for row in rows if row.check.passed],
        "is_mine": found.user_id == person(request).pk,
        "again": words.again(found),
    }
    return pages.render(request, "trading/order.html", context)


@page("ORDER_CANCEL", methods=("POST",))
@accounts.answering()
def cancel(request: HttpRequest, order_id: uuid.UUID) -> HttpResponse:
    """Cancel what is left of an order."""
    user = person(request)
    found = selectors.order_of(user, public_id=order_id)
    found = cancels.request(order_id=found.pk, actor=Actor.user(user.public_id), reason="From the dashboard.", at=now())
    if found.public_status == "CANCELED":
        messages.success(request, gettext("The order is canceled."))
    else:
        messages.info(request, gettext("The broker was asked to cancel it. It is canceled once the broker says so."))
    return pages.go(request, f"/orders/{order_id}")
