"""People at the console, logged in as they would be, and the forms that they are shown."""

import re

from django.test import Client

from accounts.models import User
from tests.factories.accounts import PASSWORD
from tests.factories.second_factor import fresh_code

REASON = "It was compared with the broker's own statement."


def enter(user: User) -> Client:
    """Log somebody in at the console's own door."""
    client = Client()
    client.post("/admin/login/?next=/admin/", {"username": user.email, "password": PASSWORD, "code": fresh_code(user)})
    return client


def seen(client: Client, path: str) -> str:
    """Return the version that the form of a page carries."""
    found = re.search(r'name="version" (?:value="([^"]*)")?', client.get(path).content.decode())
    assert found, path
    return found[1] or ""


def code_of(client: Client) -> str:
    """Return a code that is accepted from whoever is logged in there."""
    return fresh_code(User.objects.get(pk=client.session["_auth_user_id"]))


def confirm(client: Client, path: str, *, version: str | None = None, **words: str):
    """Confirm what a page shows, with a code, on the version that it shows, or on one that was seen before."""
    form = {"reason": REASON, "otp": code_of(client)} | words
    form["version"] = seen(client, path) if version is None else version
    return client.post(path, form)


def text(response) -> str:
    """Return a page on one line."""
    return " ".join(response.content.decode().split())
