"""The pages where somebody sets a password with the token of a link: the first one, or another for one that is lost."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from accounts.pages.forms import FirstPasswordForm, LostPasswordForm, code_words
from accounts.services import codes, enrolments, pages, rates, resets, users
from accounts.services.pages import PUBLIC, client_of, page
from nexus.core import sentences

WELCOME = {
    "title": gettext_lazy("Set your first password"),
    "about": gettext_lazy(
        "Two operators have agreed to your account. You have a token from them, by mail or in two halves."
    ),
}
LOST = {
    "title": gettext_lazy("Set another password"),
    "about": gettext_lazy(
        "Tell an operator that you have lost your password. "
        "When two of them agree, you get a token that works for an hour."
    ),
}


@page(PUBLIC, methods=("GET", "POST"))
def first_password(request: HttpRequest) -> HttpResponse:
    """Take a token and the first password of whoever holds it."""
    form, status = FirstPasswordForm(request.POST if request.method == "POST" else None), 200
    if form.is_bound:
        rates.count_stranger(request)
        status = 400
        if form.is_valid():
            try:
                enrolments.enrol(**form.asked(), client=client_of(request), at=timezone.now())
                return pages.go(request, "/login?set=1")
            except (enrolments.EnrolmentInvalid, users.PasswordRefused) as exc:
                status = _say(form, exc)
    return pages.render(request, "nexus/link.html", {"form": form, "action": "/enrol", **WELCOME}, status=status)


@page(PUBLIC, methods=("GET", "POST"))
def lost_password(request: HttpRequest) -> HttpResponse:
    """Take a token, another password and a code of the second factor where there is one. The service counts tries."""
    form, status = LostPasswordForm(request.POST if request.method == "POST" else None), 200
    if form.is_bound:
        status = 400
        if form.is_valid():
            try:
                code = form.cleaned_data["code"].strip()
                resets.reset(**form.asked(), code=code, client=client_of(request), at=timezone.now())
                return pages.go(request, "/login?set=1")
            except (enrolments.EnrolmentInvalid, users.PasswordRefused) as exc:
                status = _say(form, exc)
            except codes.OtpInvalid as exc:
                form.add_error("code", code_words(form.cleaned_data["code"]))
                status = exc.status
    return pages.render(request, "nexus/link.html", {"form": form, "action": "/reset", **LOST}, status=status)


def _say(form: FirstPasswordForm, exc: enrolments.EnrolmentInvalid | users.PasswordRefused) -> int:
    if isinstance(exc, users.PasswordRefused):
        form.add_error("password", sentences.said(exc.detail) or exc.detail)
    else:
        form.add_error("token", gettext("The token is not valid: it was used, it is over, or a part of it is missing."))
    return exc.status
