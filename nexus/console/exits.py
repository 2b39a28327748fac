"""The answers outside any page, for whichever door was knocked at: the console's are pages of the console.

Named in settings.py and urls.py. Programs get documents, and people at the dashboard its own pages.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import translation

from accounts.services import lockout, pages
from nexus.console.words import refusal
from nexus.core.errors import Denied, NexusError, NotFound
from nexus.core.http import log

CONSOLE = "/admin/"


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without its token."""
    if not request.path.startswith(CONSOLE):
        return pages.csrf_failure(request, reason)
    log.warning("http.csrf.refused", reason=reason)
    with translation.override(pages.language_of(request)):
        return refused(request, Denied("The form has expired. Load the page again; nothing was done."))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a path that does not exist."""
    if not request.path.startswith(CONSOLE) or "text/html" not in request.headers.get("Accept", ""):
        return pages.page_not_found(request, exception)
    with translation.override(pages.language_of(request)):
        return refused(request, NotFound("There is no such page, or not any more."))


def locked(request: HttpRequest, response: HttpResponse | None, credentials: Any) -> HttpResponse:
    """Answer a locked login wherever it was tried. Axes' middleware asks for it."""
    if request.path.startswith(CONSOLE):
        error = lockout.refusal(request) or lockout.LoginLocked("Too many attempts.")
        with translation.override(pages.language_of(request)):
            return refused(request, error)
    return pages.locked(request) or lockout.locked_answer(request, response, credentials)


def refused(request: HttpRequest, error: NexusError) -> HttpResponse:
    """Say on a page of the console why nothing was done."""
    context = {
        **admin.site.each_context(request),
        "title": refusal(error),
        "error": error,
        "is_nav_sidebar_enabled": False,
    }
    text = render_to_string("console/refused.html", context, request)
    answer = HttpResponse(text, status=error.status)
    for name, value in error.headers.items():
        if name != "WWW-Authenticate":  # a browser would ask for a password of its own
            answer[name] = value
    return pages.sealed(request, answer)
