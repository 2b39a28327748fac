"""What every page needs: who asks and may, in which language and zone, how a refusal looks, and which headers go out.

A page is declared with `@page("ACTION")`: the one place where it says what it does, which is asked before it is done.
"""

import zoneinfo
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import Any, TypeVar, cast
from urllib.parse import quote

from django import forms
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render as django_render
from django.utils import timezone, translation
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.models import User
from accounts.rules import Action, may
from accounts.services import lockout, permissions, refusals
from accounts.types import ClientInfo
from nexus.audit.types import Actor, Outcome, Target
from nexus.core import headers, http
from nexus.core.errors import Denied, NexusError, NotFound
from nexus.core.http import MethodNotAllowed

Answer = TypeVar("Answer", bound=HttpResponseBase)
View = Callable[..., HttpResponseBase]
ZONE_COOKIE = "nexus_zone"  # what the browser calls its own zone; a page without it is in UTC
PUBLIC = "PUBLIC"
KEPT = frozenset({"ORDER_PLACE", "ORDER_CANCEL"})  # who tried it in vain is evidence, as at the API
_PROGRAMS = ("/api/", "/admin/", "/docs", "/metrics", "/health")  # what answers with documents, or has pages of its own


def page(action: str, *, methods: Collection[str] = ("GET",)) -> Callable[[View], View]:
    """Declare what a page does: people who may not, or are nobody we know, never reach it.

    Takes: `PUBLIC` for what anybody may see. Keeps the action as `view.action`, for whoever walks the routes.
    """

    def declare(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            with timezone.override(zone_of(request)), translation.override(language_of(request)):
                response = _answer(view, request, action, methods, *args, **kwargs)
            return sealed(request, response)

        answer.action = action  # type: ignore[attr-defined]
        return answer

    return declare


def _answer(
    view: View, request: HttpRequest, action: str, methods: Collection[str], *args: Any, **kwargs: Any
) -> HttpResponseBase:
    if request.method not in methods and not (request.method == "HEAD" and "GET" in methods):
        return refuse(request, MethodNotAllowed(translation.gettext("This page does not know that method.")))
    if action != PUBLIC:
        if not request.user.is_authenticated:
            return _to_login(request)
        if not may(person(request).role, Action[action]):
            return _deny(request, action)
    try:
        return view(request, *args, **kwargs)
    except Exception as exc:
        error = http.as_error(exc)
        if error is None:
            raise
        if action in KEPT:
            keep_refusal(request, error)
        return refuse(request, error)


def _deny(request: HttpRequest, action: str) -> HttpResponse:
    """Refuse whom the matrix does not let, and keep it: of an order as of one, of the rest as at the other doors."""
    denied = Denied(translation.gettext("Your role may not do this."))
    if action in KEPT and request.method != "GET":
        keep_refusal(request, denied)
    else:
        permissions.keep_denied(person(request), Action[action], code=denied.code)
    return refuse(request, denied)


def keep_refusal(request: HttpRequest, error: NexusError) -> None:
    """Keep that something was tried and refused. What failed on our side is no refusal."""
    if request.method == "GET" or not 400 <= error.status < 500:
        return
    refusals.keep(
        action="order.refused",
        actor=Actor.user(person(request).public_id),
        target=Target("order", ""),
        outcome=Outcome.DENIED if error.status == 403 else Outcome.FAILURE,
        detail={"door": "dashboard", "code": error.code, "fields": [each.pointer for each in error.errors]},
    )


def person(request: HttpRequest) -> User:
    """Return who asks. Only where a page is closed to strangers."""
    return cast("User", request.user)


def client_of(request: HttpRequest) -> ClientInfo:
    """Return where the request comes from."""
    return ClientInfo(ip=http.client_ip(request), user_agent=request.headers.get("User-Agent", ""))


def is_fragment(request: HttpRequest) -> bool:
    """Tell whether a part of a page is asked for, by the page itself."""
    return request.headers.get("HX-Request") == "true"


def language_of(request: HttpRequest) -> str:
    """Return the language that the person has chosen, or that the browser asks for."""
    return translation.get_language_from_request(request)


def zone_of(request: HttpRequest) -> zoneinfo.ZoneInfo:
    """Return the zone that the browser says it is in, or UTC."""
    try:
        return zoneinfo.ZoneInfo(request.COOKIES.get(ZONE_COOKIE, "UTC").replace("%2F", "/"))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return zoneinfo.ZoneInfo("UTC")


def render(
    request: HttpRequest, template: str, context: Mapping[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    """Return a page. Its language and zone are those of the request."""
    return django_render(request, template, {**(context or {}), "events_url": events_url(request)}, status=status)


def refuse(request: HttpRequest, error: NexusError) -> HttpResponse:
    """Say on a page why something was not done; what a page asked for by itself gets the message alone."""
    template = "nexus/refusal.html" if is_fragment(request) else "nexus/error.html"
    context: dict[str, Any] = {"error": error}
    if error.status >= 500:
        context["frame"] = None  # what stands around a page is read from what may just have failed
    answer = render(request, template, context, status=error.status)
    for name, value in error.headers.items():
        if name != "WWW-Authenticate":  # a browser would ask for a password of its own
            answer[name] = value
    return answer


# --- The exits outside any page, named in urls.py and settings.py: a page for people, a document for the rest --------
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without its token."""
    if request.path.startswith(_PROGRAMS):
        return http.csrf_failure(request, reason)
    http.log.warning("http.csrf.refused", reason=reason)
    with translation.override(language_of(request)):
        error = Denied(translation.gettext("The form has expired. Load the page again; nothing was done."))
        return sealed(request, refuse(request, error))


def locked(request: HttpRequest) -> HttpResponse | None:
    """Answer a locked login that was tried on a page; None where no page was asked."""
    error = lockout.refusal(request)
    if error is None or request.path.startswith(_PROGRAMS):
        return None
    with timezone.override(zone_of(request)), translation.override(language_of(request)):
        minutes = max(1, -(-int(error.headers.get("Retry-After", "60")) // 60))
        answer = render(request, "nexus/locked.html", {"minutes": minutes}, status=error.status)
    answer["Retry-After"] = error.headers.get("Retry-After", "60")
    return sealed(request, answer)


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a path that does not exist."""
    if not _is_for_people(request):
        return http.page_not_found(request, exception)
    with translation.override(language_of(request)):
        return sealed(request, refuse(request, NotFound("")))


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer our own failure without a word about its inside."""
    if not _is_for_people(request):
        return http.server_error(request)
    with translation.override(language_of(request)):
        return sealed(request, refuse(request, NexusError("")))


def _is_for_people(request: HttpRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith(_PROGRAMS)


def go(request: HttpRequest, url: str) -> HttpResponse:
    """Send the browser to another page, also when a part of a page has asked."""
    if is_fragment(request):
        return HttpResponse(headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)


def next_of(request: HttpRequest) -> str:
    """Return where to go on, which is never another site."""
    wanted = request.POST.get("next") or request.GET.get("next") or "/"
    return wanted if url_has_allowed_host_and_scheme(wanted, allowed_hosts=None) else "/"


class CodeInput(forms.TextInput):
    """Where a code is typed. It is empty again after a wrong one: each is accepted once, so the next one is typed."""

    def format_value(self, value: object) -> None:
        """Show nothing of what was typed."""


def events_url(request: HttpRequest) -> str:
    """Return where the page listens for news: behind the same proxy, or at a port of the same host."""
    if not settings.EVENTS_PORT:
        return "/events"
    host = request.get_host().rpartition(":")[0] or request.get_host()
    return f"{request.scheme}://{host}:{settings.EVENTS_PORT}/events"


def _to_login(request: HttpRequest) -> HttpResponse:
    if is_fragment(request) or request.method != "GET":
        return go(request, "/login")
    return go(request, f"/login?{REDIRECT_FIELD_NAME}={quote(request.get_full_path())}")


def sealed(request: HttpRequest, response: Answer) -> Answer:
    """Let the page run and show nothing but what we serve, and say what it depends on."""
    where = events_url(request)
    headers.as_page(response, listens="" if where.startswith("/") else where.removesuffix("/events"))
    response.headers["Vary"] = "Cookie, Accept-Language, HX-Request"
    return response
