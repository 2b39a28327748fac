"""The pages of one's own second factor: set it up or replace it, new recovery codes, end it. Secrets are shown once."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import mark_safe
from django.utils.translation import gettext

from accounts.pages.forms import CodeForm, ProofForm, code_words
from accounts.services import browsing, codes, pages, second_factor
from accounts.services.entrances import InvalidCredentials
from accounts.services.pages import client_of, page, person

HOME = "/security"
Prove = Callable[[dict[str, Any]], HttpResponse]


@page("SECOND_FACTOR_CHANGE", methods=("GET", "POST"))
def enrol(request: HttpRequest) -> HttpResponse:
    """Begin with a new device, and show once what an authenticator app needs of it."""

    def begin(proof: dict[str, Any]) -> HttpResponse:
        begun = second_factor.begin(**proof)
        shown = {
            "nav": "security",
            "form": CodeForm(),
            "secret": " ".join(begun.secret[i : i + 4] for i in range(0, len(begun.secret), 4)),
            "uri": begun.uri,
            "picture": mark_safe(begun.svg),  # noqa: S308  # nosec B308 B703  # squares that we have drawn
        }
        return pages.render(request, "nexus/confirm_factor.html", shown)

    return _proven(request, "enrol", begin)


@page("SECOND_FACTOR_CHANGE", methods=("GET", "POST"))
def confirm(request: HttpRequest) -> HttpResponse:
    """Take the new device into use by its first code, and show the recovery codes once."""
    user, at = person(request), timezone.now()
    if not second_factor.is_begun(user, at=at):
        messages.warning(request, gettext("Begin again: a new device waits for its first code for 15 minutes."))
        return pages.go(request, "/security/second-factor")
    form, status = CodeForm(request.POST if request.method == "POST" else None), 200
    if form.is_bound and form.is_valid():
        typed = form.cleaned_data["code"].strip()
        try:
            shown = browsing.confirm_second_factor(
                request=request, user=user, code=typed, client=client_of(request), at=at
            )
            return pages.render(
                request, "nexus/recovery_codes.html", {"nav": "security", "codes": shown, "is_new": True}
            )
        except codes.OtpInvalid as exc:
            form.add_error("code", code_words(typed))
            status = exc.status
    elif form.is_bound:
        status = 400
    return pages.render(request, "nexus/confirm_factor.html", {"form": form, "nav": "security"}, status=status)


@page("SECOND_FACTOR_CHANGE", methods=("GET", "POST"))
def recovery_codes(request: HttpRequest) -> HttpResponse:
    """Make ten new recovery codes and show them once."""

    def renew(proof: dict[str, Any]) -> HttpResponse:
        shown = second_factor.renew_recovery_codes(**proof)
        return pages.render(request, "nexus/recovery_codes.html", {"nav": "security", "codes": shown})

    return _proven(request, "renew", renew)


@page("SECOND_FACTOR_CHANGE", methods=("GET", "POST"))
def remove(request: HttpRequest) -> HttpResponse:
    """Take the second factor away."""

    def end(proof: dict[str, Any]) -> HttpResponse:
        browsing.end_second_factor(**proof)
        messages.warning(request, gettext("The second factor is removed. Every other session and every API key ended."))
        return pages.go(request, HOME)

    return _proven(request, "remove", end)


def _proven(request: HttpRequest, act: str, do: Prove) -> HttpResponse:
    """Ask for the password, and for a code where there is a device, and do it then."""
    user, status = person(request), 200
    is_on = codes.device_of(user) is not None
    if act != "enrol" and not is_on:
        return pages.go(request, HOME)
    form = ProofForm(request.POST if request.method == "POST" else None)
    if not is_on:
        form.without_code()
    if form.is_bound and form.is_valid():
        typed = form.cleaned_data.get("code", "").strip()
        proof = {
            "request": request, "user": user, "password": form.cleaned_data["password"], "code": typed,
            "client": client_of(request), "at": timezone.now(),
        }  # fmt: skip
        try:
            return do(proof)
        except InvalidCredentials as exc:
            form.add_error("password", gettext("The password is wrong."))
            status = exc.status
        except codes.OtpInvalid as exc:
            form.add_error("code", code_words(typed))
            status = exc.status
    elif form.is_bound:
        status = 400
    return pages.render(
        request, "nexus/prove.html", {"form": form, "act": act, "is_on": is_on, "nav": "security"}, status=status
    )
