"""The first page: everything at one look, and its parts, which a page asks for again when there is news."""

import uuid

from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now

from accounts.services import pages
from accounts.services.pages import page, person
from trading import selectors
from trading.pages import words
from trading.services import accounts, desk, headroom


@page("ACCOUNT_READ")
@accounts.answering()
def overview(request: HttpRequest) -> HttpResponse:
    """Show accounts, prices, positions, room and last orders."""
    found = desk.read(person(request), at=now())
    return pages.render(request, "trading/overview.html", {"nav": "overview", "desk": found})


@page("ACCOUNT_READ")
@accounts.answering()
def desk_part(request: HttpRequest) -> HttpResponse:
    """Show the changing part of the first page anew."""
    found = desk.read(person(request), at=now())
    return pages.render(request, "trading/parts/desk.html", {"desk": found})


@page("ACCOUNT_READ")
@accounts.answering()
def room(request: HttpRequest, account_id: uuid.UUID) -> HttpResponse:
    """Show how much room every limit of an account leaves."""
    user = person(request)
    account = selectors.seen_account(user, public_id=account_id)
    found = headroom.read(user=account.user, account=account, symbol=None, at=now())
    rows = words.room_of(found.checks)
    return pages.render(request, "trading/parts/room.html", {"room": found, "rows": rows})


@page("ACCOUNT_READ")
def state(request: HttpRequest) -> HttpResponse:
    """Show what is stopped."""
    return pages.render(request, "trading/parts/state.html")
