"""What the audit log keeps of one's own acts: to recognise oneself in it, or somebody else."""

from django.http import HttpRequest, HttpResponse

from accounts.services import own_events, pages
from accounts.services.pages import page, person
from nexus.core.errors import Invalid

PAGE_SIZE = 30
KEY_DIGITS_MAX = 18


@page("OWN_EVENT_READ")
def listing(request: HttpRequest) -> HttpResponse:
    """Show a page of them, the newest first: what, when, on what and how it ended, and nothing of others."""
    text = request.GET.get("before", "")
    if text and not (text.isascii() and text.isdecimal() and len(text) <= KEY_DIGITS_MAX):
        raise Invalid("This is no page of the list. Begin at its first one.")
    found = own_events.page(person(request), before=int(text) if text else None, limit=PAGE_SIZE)
    context = {"nav": "security", "rows": found.rows, "following": found.before, "is_first": not text}
    return pages.render(request, "nexus/own_events.html", context)
