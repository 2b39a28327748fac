"""A browser without a screen: Django's own client, logged in through the form, tokens of forms included."""

import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from tests.factories.accounts import PASSWORD, UserFactory
from tests.trading.conftest import _always_true, account, ahead, execute, floor, paper, trader

__all__ = ["_always_true", "account", "ahead", "execute", "floor", "paper", "trader"]

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Browser:
    """Load pages and send their forms, as somebody."""

    def __init__(self, *, language: str = "en", zone: str = "") -> None:
        self.http = Client(enforce_csrf_checks=True, headers={"accept-language": language})
        if zone:
            self.http.cookies["nexus_zone"] = zone

    def login(self, user: User, password: str = PASSWORD) -> "Browser":
        """Log in through the form."""
        answer = self.send("/login", {"email": user.email, "password": password}, page="/login")
        assert answer.status_code == 302, answer.content.decode()
        return self

    def get(self, path: str, *, is_part: bool = False) -> Any:
        """Load a page, or a part of one."""
        return self.http.get(path, headers={"hx-request": "true"} if is_part else {})

    def send(self, path: str, values: dict[str, Any], *, page: str = "/security", is_part: bool = False) -> Any:
        """Send a form with the token of a page."""
        token = TOKEN.search(self.get(page).content.decode())
        assert token is not None, f"{page} has no form"
        head = {"hx-request": "true"} if is_part else {}
        return self.http.post(path, {**values, "csrfmiddlewaretoken": token[1]}, headers=head)


@pytest.fixture
def browser(trader: User) -> Browser:
    """The trader's browser, logged in."""
    return Browser().login(trader)


@pytest.fixture
def stranger(floor: None) -> Browser:
    """Somebody else's browser, logged in: another trader without an account."""
    return Browser().login(UserFactory.create())
