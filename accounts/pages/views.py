"""The pages of who you are: log in, log out, your sessions, the language."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import check_for_language, gettext, gettext_lazy

from accounts import selectors
from accounts.pages.forms import CodeForm, LoginForm, code_words
from accounts.rules import Action, may
from accounts.services import browsing, codes, entrances, pages, second_factor, sessions
from accounts.services.pages import PUBLIC, client_of, page, person
from accounts.states import Role
from nexus.audit.types import Actor

ROLES = {
    Role.TRADER.value: gettext_lazy("Trader"),
    Role.BOT.value: gettext_lazy("Bot"),
    Role.OPERATOR.value: gettext_lazy("Operator"),
    Role.COMPLIANCE.value: gettext_lazy("Compliance"),
}
YEAR_S = 365 * 24 * 3600


@page(PUBLIC, methods=("GET", "POST"))
def login(request: HttpRequest) -> HttpResponse:
    """Show the form, or let somebody in."""
    if request.user.is_authenticated:
        return pages.go(request, pages.next_of(request))
    form = LoginForm(request.POST if request.method == "POST" else None)
    status = 200
    if form.is_bound and form.is_valid():
        try:
            browsing.enter(request=request, client=client_of(request), at=timezone.now(), **form.cleaned_data)
            return pages.go(request, pages.next_of(request))
        except entrances.InvalidCredentials as exc:
            form.add_error(None, gettext("The email or the password is wrong."))
            status = exc.status
        except codes.OtpInvalid as exc:
            form.add_error("code", code_words(form.cleaned_data["code"]))
            status = exc.status
    elif form.is_bound:
        status = 400
    context = {"form": form, "next": pages.next_of(request), "is_set": "set" in request.GET and not form.is_bound}
    return pages.render(request, "nexus/login.html", context, status=status)


@page("SECOND_FACTOR_CHANGE", methods=("GET", "POST"))
def code(request: HttpRequest) -> HttpResponse:
    """Ask for a fresh code, and go on to where it was needed."""
    user, form, status = person(request), CodeForm(request.POST if request.method == "POST" else None), 200
    if codes.device_of(user) is None:
        return pages.go(request, "/security")
    if form.is_bound and form.is_valid():
        try:
            typed = form.cleaned_data["code"].strip()
            browsing.step_up(request=request, user=user, code=typed, client=client_of(request), at=timezone.now())
            return pages.go(request, pages.next_of(request))
        except codes.OtpInvalid as exc:
            form.add_error("code", code_words(form.cleaned_data["code"]))
            status = exc.status
    elif form.is_bound:
        status = 400
    return pages.render(request, "nexus/code.html", {"form": form, "next": pages.next_of(request)}, status=status)


@page("SESSION_END", methods=("POST",))
def logout(request: HttpRequest) -> HttpResponse:
    """End this session."""
    browsing.leave(request=request, user=person(request), client=client_of(request))
    return pages.go(request, "/login")


@page("PROFILE_READ")
def security(request: HttpRequest) -> HttpResponse:
    """Show who is logged in, and where."""
    user, at = person(request), timezone.now()
    context = {
        "nav": "security",
        "sessions": selectors.sessions_of(user.pk, at=at),
        "role": ROLES[user.role],
        "factor": second_factor.state_of(user),
        "is_fresh": browsing.is_fresh(request, at=at),
        "may_have_keys": may(user.role, Action.KEY_CREATE),
        "may_see_events": may(user.role, Action.OWN_EVENT_READ),
    }
    return pages.render(request, "nexus/security.html", context)


@page("SESSION_END", methods=("POST",))
def end_sessions(request: HttpRequest) -> HttpResponse:
    """End every session of this person, this one too."""
    user = person(request)
    sessions.revoke_all(user_id=user.pk, actor=Actor.user(user.public_id), client=client_of(request), at=timezone.now())
    return pages.go(request, "/login")


@page(PUBLIC, methods=("POST",))
def language(request: HttpRequest) -> HttpResponse:
    """Keep the language that somebody has chosen, and go back to the page."""
    answer = pages.go(request, pages.next_of(request))
    chosen = request.POST.get("language", "")
    if chosen in dict(settings.LANGUAGES) and check_for_language(chosen):
        answer.set_cookie(
            settings.LANGUAGE_COOKIE_NAME, chosen, max_age=YEAR_S, samesite="Strict",
            secure=settings.SESSION_COOKIE_SECURE, httponly=True,
        )  # fmt: skip
    return answer
