"""Open positions with the broker's mark: closed, whole or in part, and their stops changed."""

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.utils.translation import gettext

from accounts.services import browsing, pages
from accounts.services.pages import page, person
from nexus.audit.types import Actor
from nexus.core.errors import Invalid
from nexus.core.money import as_text
from trading import selectors
from trading.pages.forms import CloseForm, StopsForm
from trading.pages.ticket import key_of, new_key
from trading.services import accounts, changes, closes, desk, facts
from trading.states import ChangeState


@page("ACCOUNT_READ")
@accounts.answering()
def positions(request: HttpRequest) -> HttpResponse:
    """Show the open positions."""
    user = person(request)
    rows = [
        {"view": view, "digits": view.digits, "key": new_key(), "is_mine": view.position.account.user_id == user.pk}
        for view in desk.positions(user)
    ]
    template = "trading/parts/positions.html" if pages.is_fragment(request) else "trading/positions.html"
    return pages.render(request, template, {"nav": "positions", "rows": rows})


@page("ORDER_PLACE", methods=("POST",))
@accounts.answering()
def close(request: HttpRequest, position_id: uuid.UUID) -> HttpResponse:
    """Close a position, or a part of it, and go to the order that does."""
    user, form = person(request), CloseForm(request.POST)
    position = selectors.position_of(user, public_id=position_id)
    if not form.is_valid():
        raise Invalid(str(next(iter(form.errors.values()))[0]))
    quantity = form.cleaned_data["quantity"]
    values = {"quantity": as_text(quantity)}
    key = key_of(request, position.account, path=f"/positions/{position_id}/close", values=values)
    at = facts.database_clock()
    placed = closes.close(user=user, position=position, quantity=quantity, key=key, at=at)
    return pages.go(request, f"/orders/{placed.order.public_id}")


@page("ORDER_PLACE", methods=("POST",))
@accounts.answering()
def stops(request: HttpRequest, position_id: uuid.UUID) -> HttpResponse:
    """Change a position's stops, and go back to the positions."""
    user, form = person(request), StopsForm(request.POST)
    position = selectors.position_of(user, public_id=position_id)
    if not form.is_valid():
        raise Invalid(str(next(iter(form.errors.values()))[0]))
    wanted = form.to_stops()
    if not wanted:
        messages.info(request, gettext("Nothing was changed: both stops are as they were."))
        return pages.go(request, "/positions")
    if position.account.is_live and not browsing.is_fresh(request, at=now()):
        return pages.go(request, "/code?next=/positions")
    actor = Actor.user(user.public_id)
    change = changes.change_stops(
        position_id=position.pk, stops=wanted, actor=actor, reason="From the dashboard.", at=facts.database_clock()
    )
    match change.state:
        case ChangeState.DONE:
            messages.success(request, gettext("The stops are changed."))
        case ChangeState.REFUSED:
            messages.error(request, gettext("The broker refused the change: %(words)s") % {"words": change.answer})
        case _:
            messages.warning(request, gettext("The answer was lost. The stops are being asked for; do not repeat it."))
    return pages.go(request, "/positions")
