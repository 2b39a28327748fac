"""A client of the API that logs in for real."""

import json
from collections.abc import Callable
from typing import Any

from django.test import Client

from accounts.models import User
from tests.factories.accounts import PASSWORD
from tests.factories.second_factor import fresh_code


class ApiClient:
    """Send JSON to `/api/v1`, as somebody once logged in.

    Where a fresh code is asked for, it does as an app does: it takes one from the person and sends the request again.
    """

    def __init__(self, *, prefix: str = "/api/v1", shows_codes: bool = True) -> None:
        self.prefix = prefix
        self.shows_codes = shows_codes
        self.user: User | None = None
        self.tokens: dict[str, Any] = {}
        self.http = Client(raise_request_exception=False)

    def login(self, user: User, password: str = PASSWORD) -> "ApiClient":
        """Log in and keep the tokens."""
        response = self.post("/auth/login", {"email": user.email, "password": password})
        assert response.status_code == 200, response.content
        self.tokens = response.json()
        self.user = user
        return self

    def login_at(self, prefix: str, user: User) -> "ApiClient":
        """Log in under another prefix than this client's own, which may be empty to name whole paths."""
        self.tokens = ApiClient(prefix=prefix).login(user).tokens
        self.user = user
        return self

    def get(self, path: str, **headers: str) -> Any:
        """Read."""
        return self._ask(lambda more: self.http.get(self.prefix + path, headers=self._headers(headers) | more))

    def post(self, path: str, body: Any = None, *, content_type: str = "application/json", **headers: str) -> Any:
        """Send a body: text goes as it stands, anything else as JSON. A header `x_y` is sent as `x-y`."""
        data = body if isinstance(body, str | bytes) else json.dumps({} if body is None else body)
        return self._ask(
            lambda more: self.http.post(
                self.prefix + path, data, content_type=content_type, headers=self._headers(headers) | more
            )
        )

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send JSON by any method."""
        text = json.dumps({} if body is None else body)
        return self._ask(
            lambda more: self.http.generic(
                method, self.prefix + path, text, content_type="application/json", headers=self._headers(headers) | more
            )
        )

    def _ask(self, send: Callable[[dict[str, str]], Any]) -> Any:
        response = send({})
        if not (self.shows_codes and self.user and response.status_code == 401):
            return response
        if json.loads(response.content)["code"] != "step_up_required":
            return response
        return send({"x-nexus-otp": fresh_code(self.user)})

    def _headers(self, given: dict[str, str]) -> dict[str, str]:
        own = {"authorization": f"Bearer {self.tokens['access_token']}"} if self.tokens else {}
        return {**own, **{name.replace("_", "-"): value for name, value in given.items()}}
