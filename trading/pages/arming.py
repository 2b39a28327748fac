"""Let an account of one's own trade with real money for a while, by a code; and take that back, without one."""

import uuid
from datetime import timedelta

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.utils.translation import gettext, gettext_lazy

from accounts.rules import MATRIX, Action
from accounts.services import browsing, codes, pages, step_up
from accounts.services.pages import page, person
from trading import selectors
from trading.services import arming

HOURS = (1, 4, 8, 24)


def _spans() -> list[tuple[str, str]]:
    longest = settings.LIVE_ARM_TTL
    fitting = [hours for hours in HOURS if timedelta(hours=hours) <= longest]
    return [(str(hours * 3600), gettext("%(hours)d h") % {"hours": hours}) for hours in fitting] or [
        (str(int(longest.total_seconds())), gettext("as long as this installation allows"))
    ]


class ArmForm(forms.Form):
    """For how long, and a code."""

    for_s = forms.ChoiceField(label=gettext_lazy("For how long"), choices=_spans)
    code = forms.CharField(
        label=gettext_lazy("Code of your authenticator app"),
        max_length=64,
        widget=pages.CodeInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}),
    )


@page("LIVE_ARM", methods=("GET", "POST"))
def arm(request: HttpRequest, account_id: uuid.UUID) -> HttpResponse:
    """Show what arming means, or arm the account."""
    user, status = person(request), 200
    account = selectors.seen_account(user, public_id=account_id)
    if codes.device_of(user) is None:
        messages.warning(request, gettext("Real money needs a second factor. Set it up first."))
        return pages.go(request, "/security/second-factor")
    form = ArmForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            typed = form.cleaned_data["code"].strip()
            step_up.require_typed(request, step=MATRIX[Action.LIVE_ARM].step, purpose=Action.LIVE_ARM.value, code=typed)
            browsing.freshen(request, at=now())  # the order that follows asks for no second code
            lifetime = timedelta(seconds=int(form.cleaned_data["for_s"]))
            arming.arm(public_id=account_id, lifetime=lifetime, by=user, at=now())
            messages.success(request, gettext("The account is armed: its orders go to the market."))
            return pages.go(request, pages.next_of(request))
        except codes.OtpInvalid as exc:
            form.add_error("code", gettext("The code is not valid. Each is accepted once: wait for the next one."))
            status = exc.status
    elif form.is_bound:
        status = 400
    shown = {"account": account, "form": form, "next": pages.next_of(request)}
    return pages.render(request, "trading/arm.html", shown, status=status)


@page("LIVE_DISARM", methods=("POST",))
def disarm(request: HttpRequest, account_id: uuid.UUID) -> HttpResponse:
    """Let an account open nothing more. What works at the broker goes on."""
    arming.disarm(public_id=account_id, reason="", by=person(request), at=now())
    messages.success(request, gettext("The account is disarmed: nothing new is opened on it. Closing goes on."))
    return pages.go(request, "/")
