"""The pages of one's API keys: list, make, revoke. The secret of a key is on the one answer that made it."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import ApiKey
from accounts.pages.forms import MODES, SCOPES, KeyForm, RevokeForm, code_words
from accounts.rules import MATRIX, Action, may
from accounts.services import codes, keys, pages, step_up
from accounts.services.pages import page, person
from accounts.states import KeyMode
from accounts.types import NewKey
from nexus.core.errors import Conflict, Invalid, NexusError
from nexus.core.http import TooManyRequests
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey

PAGE_SIZE = 20


@page("KEY_READ")
def listing(request: HttpRequest) -> HttpResponse:
    """Show the keys, never their secrets."""
    user, at = person(request), timezone.now()
    rows, following = keys.page(by=user, limit=PAGE_SIZE, before=_uuid(request.GET.get("before", "")))
    context = {
        "nav": "security",
        "rows": [_shown(row, is_mine=row.user_id == user.pk, at=at) for row in rows],
        "following": following,
        "may_create": may(user.role, Action.KEY_CREATE),
        "has_factor": codes.device_of(user) is not None,
    }
    return pages.render(request, "nexus/keys.html", context)


@page("KEY_CREATE", methods=("GET", "POST"))
def create(request: HttpRequest) -> HttpResponse:
    """Make a key, and show its secret once."""
    user = person(request)
    if codes.device_of(user) is None:
        messages.warning(request, gettext("API keys need a second factor. Set it up first."))
        return pages.go(request, "/security/second-factor")
    form, status = KeyForm(request.POST if request.method == "POST" else None), 200
    if form.is_bound and form.is_valid():
        try:
            return _make(request, form, at=timezone.now())
        except Invalid as exc:
            form.refuse(exc.errors)
            status = exc.status
        except NexusError as exc:
            status = refused(form, exc)
    elif form.is_bound:
        status = 400
    context = {"nav": "security", "form": form, "key": request.POST.get("key") or str(uuid.uuid4())}
    return pages.render(request, "nexus/new_key.html", context, status=status)


@page("KEY_REVOKE", methods=("POST",))
def revoke(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """End a key at once."""
    form = RevokeForm(request.POST)
    if not form.is_valid():
        raise Invalid("Say why the key ends.")
    key = keys.revoke(public_id=key_id, reason=form.cleaned_data["reason"], by=person(request), at=timezone.now())
    messages.success(
        request, gettext("The key %(name)s is revoked: nothing is done with it any more.") % {"name": key.name}
    )
    return pages.go(request, "/security/keys")


def refused(form: forms.Form, exc: NexusError) -> int:
    """Say on the form why no key was made, and return the answer's status. Raises: what a form has no words for."""
    match exc:
        case codes.OtpLocked():
            raise exc
        case codes.OtpInvalid():
            form.add_error("code", code_words(form.cleaned_data["code"]))
        case keys.TooManyKeys():
            form.add_error(None, gettext("You have as many keys as anybody may have. Revoke one first."))
        case TooManyRequests():
            form.add_error(None, gettext("No more keys are made for you today. Try again tomorrow."))
        case _:
            raise exc
    return exc.status


def _make(request: HttpRequest, form: KeyForm, *, at: datetime) -> HttpResponse:
    """Make the key of a form that was sent for the first time; sent again, it makes no second one."""
    user, asked = person(request), form.cleaned_data
    days = asked["lifetime"]
    new = NewKey(
        name=asked["name"], mode=KeyMode(asked["mode"]), scopes=tuple(asked["scopes"]), networks=asked["networks"],
        expires_at=at + timedelta(days=int(days)) if days else None,
    )  # fmt: skip
    keys.check(new, at=at)
    body: dict[str, Any] = {name: asked[name] for name in ("name", "mode", "scopes", "lifetime")}
    key = RequestKey(
        principal=str(user.public_id),
        account="",
        key=records.read_key(request.POST.get("key")),
        fingerprint=records.fingerprint(
            method="POST", path="/security/keys/new", body=body | {"networks": list(new.networks)}, query=[]
        ),
    )
    if records.find(key) is None:
        step = MATRIX[Action.KEY_CREATE].step
        step_up.require_typed(request, step=step, purpose=Action.KEY_CREATE.value, code=asked["code"])
    made = keys.create(new=new, request=key, by=user, at=at)
    if not made.text:
        raise Conflict(
            gettext("This key was made and shown already. If you have lost its secret, revoke it and make another.")
        )
    return pages.render(request, "nexus/key_made.html", {"nav": "security", "key": made.key, "text": made.text})


def _shown(key: ApiKey, *, is_mine: bool, at: datetime) -> dict[str, Any]:
    if key.revoked_at is not None:
        state = "revoked"
    elif key.expires_at is not None and key.expires_at <= at:
        state = "expired"
    else:
        state = "live"
    return {
        "key": key, "begins": f"{keys.PREFIX}{key.mode}_{key.key_id}", "state": state, "is_mine": is_mine,
        "mode": MODES[key.mode], "scopes": [SCOPES[scope] for scope in key.scopes],
    }  # fmt: skip


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
