"""The pages that change an API key: take something away from it, or replace it by one with another secret."""

import uuid
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import ApiKey
from accounts.pages.forms import NarrowForm, RotateForm, code_words
from accounts.pages.keys import refused
from accounts.rules import MATRIX, Action
from accounts.services import codes, keys, pages, step_up
from accounts.services.pages import page, person
from nexus.core.errors import Conflict, Invalid, NexusError
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey


@page("KEY_CHANGE", methods=("GET", "POST"))
def narrow(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Show what a key may do, or take some of it away. It is never given more."""
    user, at, status = person(request), timezone.now(), 200
    key = keys.own(public_id=key_id, by=user, at=at)
    begun = {"scopes": key.scopes, "networks": "\n".join(key.networks)}
    form = NarrowForm(request.POST if request.method == "POST" else None, initial=begun).of(key.scopes)
    if form.is_bound and form.is_valid():
        asked = form.cleaned_data
        changes: dict[str, Any] = {"scopes": asked["scopes"], "networks": list(asked["networks"])}
        if asked["lifetime"]:
            changes["expires_at"] = at + timedelta(days=int(asked["lifetime"]))
        try:
            keys.check_narrower(key, changes)  # what is refused anyway uses no code up
            step = MATRIX[Action.KEY_CHANGE].step
            step_up.require_typed(request, step=step, purpose=Action.KEY_CHANGE.value, code=asked["code"])
            keys.narrow(public_id=key_id, changes=changes, by=user, at=at)
            messages.success(request, gettext("The key %(name)s may do less now.") % {"name": key.name})
            return pages.go(request, "/security/keys")
        except codes.OtpInvalid as exc:
            form.add_error("code", code_words(asked["code"]))
            status = exc.status
        except keys.KeyWidened as exc:
            words = gettext("A key is only ever narrowed: this would let it do more. Make a new key for that.")
            form.add_error(None, words)
            status = exc.status
        except Invalid as exc:
            words = gettext("Write an address such as 203.0.113.7, or a network such as 203.0.113.0/24.")
            form.add_error("networks", words)
            status = exc.status
    elif form.is_bound:
        status = Invalid.status
    return pages.render(request, "nexus/narrow_key.html", {"nav": "security", "form": form, "row": key}, status=status)


@page("KEY_CREATE", methods=("GET", "POST"))
def rotate(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Make a key like another one, and show its secret once. The other ends at once, or a little later."""
    user, at, status = person(request), timezone.now(), 200
    form = RotateForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            return _rotate(request, key_id, form)
        except NexusError as exc:
            status = refused(form, exc)
    elif form.is_bound:
        status = Invalid.status
    row: ApiKey = keys.own(public_id=key_id, by=user, at=at)
    context = {"nav": "security", "form": form, "row": row, "key": request.POST.get("key") or str(uuid.uuid4())}
    return pages.render(request, "nexus/rotate_key.html", context, status=status)


def _rotate(request: HttpRequest, key_id: uuid.UUID, form: RotateForm) -> HttpResponse:
    """Rotate by a form that was sent for the first time; sent again, it makes no second key."""
    user, at, asked = person(request), timezone.now(), form.cleaned_data
    path = f"/security/keys/{key_id}/rotate"
    key = RequestKey(
        principal=str(user.public_id),
        account="",
        key=records.read_key(request.POST.get("key")),
        fingerprint=records.fingerprint(method="POST", path=path, body={"overlap": asked["overlap"]}, query=[]),
    )
    if records.find(key) is None:
        keys.own(public_id=key_id, by=user, at=at)
        step = MATRIX[Action.KEY_CREATE].step
        step_up.require_typed(request, step=step, purpose=Action.KEY_CREATE.value, code=asked["code"])
    overlap = timedelta(seconds=int(asked["overlap"]))
    made = keys.rotate(public_id=key_id, overlap=overlap, request=key, by=user, at=at)
    if not made.text:
        raise Conflict(
            gettext("This key was made and shown already. If you have lost its secret, revoke it and make another.")
        )
    return pages.render(request, "nexus/key_made.html", {"nav": "security", "key": made.key, "text": made.text})
