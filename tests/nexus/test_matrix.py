"""The URL map against the matrix of roles: whatever answers has said what it does, and holds its callers to it."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.permissions import AllowAny

from accounts import rules
from accounts.models import User
from accounts.rules import MATRIX, Action, Reach
from accounts.services.pages import PUBLIC as PUBLIC_PAGE
from accounts.services.permissions import AsDeclared
from accounts.states import Role
from nexus.api import api as machines
from nexus.console.urls import PAGES
from tests.client import ApiClient
from tests.factories.accounts import UserFactory

PUBLIC = {
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/auth/enrol",
    "/api/v1/auth/password/reset",
    "/api/v1/health",
}
OTHERS = {"docs", "docs/openapi.json", "health", "metrics"}  # /admin/ has rules and tests of its own
METHODS = ("get", "post", "put", "patch", "delete")
BODIES: dict[Action, dict[str, Any]] = {}  # none: what is missing is refused after who may is known


def _routes(patterns: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for entry in patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _routes(entry.url_patterns, route)
        elif isinstance(entry, URLPattern):
            yield route, entry.callback


def _operations() -> Iterator[tuple[str, str, Any]]:
    """Yield (method, path, what it declares) of everything under the API."""
    declared = {
        (method, "/api/v1" + path.replace("{", "<").replace("}", ">")): next(
            (getattr(each, "action", None) for each in operation.auth_callbacks), None
        )
        for bound in machines._get_bound_routers()
        for path, view in bound.path_operations.items()
        for operation in view.operations
        for method in operation.methods
    }
    for route, callback in _routes(get_resolver().url_patterns):
        if not route.startswith("api/v1/") or route == "api/v1/":  # ninja's own front page, which is a 404
            continue
        path = "/" + route
        view = getattr(callback, "cls", None)
        if view is not None:
            for method in METHODS:
                if hasattr(view, method):
                    yield method.upper(), path, getattr(view, "actions", {}).get(method.upper())
        else:
            mine = [(method, action) for (method, at), action in declared.items() if at == path]
            assert mine, f"nobody knows what answers at {path}"
            for method, action in mine:
                yield method, path, action


OPERATIONS = sorted(set(_operations()), key=lambda each: each[:2])
CLOSED = [each for each in OPERATIONS if each[1] not in PUBLIC]


def test_every_view_under_the_url_map_declares_what_it_does():
    routes = [route for route, _ in _routes(get_resolver().url_patterns)]
    pages = {
        route
        for route, view in _routes(get_resolver().url_patterns)
        if getattr(view, "action", "") in {*MATRIX, PUBLIC_PAGE}
    }
    strays = {each for each in routes if not each.startswith(("api/", "admin/"))} - OTHERS - pages

    assert not strays
    assert {path for _, path, action in OPERATIONS if action is None} == PUBLIC
    assert all(action in MATRIX for _, _, action in CLOSED)
    assert len(CLOSED) > 20


def test_a_view_that_declares_nothing_lets_nobody_in():
    for route, callback in _routes(get_resolver().url_patterns):
        view = getattr(callback, "cls", None)
        if view is None or not route.startswith("api/"):
            continue
        if not any(issubclass(each, AllowAny) for each in view.permission_classes):
            assert AsDeclared in view.permission_classes, route
            assert view.authentication_classes, route


def test_every_action_has_a_rule_and_a_view():
    assert set(MATRIX) == set(Action)
    at_the_console = {page.action for _, page, _ in PAGES}
    on_the_dashboard = {getattr(view, "action", PUBLIC_PAGE) for _, view in _routes(get_resolver().url_patterns)}
    seen = {action for _, _, action in CLOSED} | at_the_console | (on_the_dashboard - {PUBLIC_PAGE})
    assert seen == set(Action)


def test_the_matrix_stands_in_the_docs_as_it_is_in_force():
    text = Path("docs/accounts.md").read_text(encoding="utf-8")

    assert text.partition("<!-- matrix -->\n")[2].partition("\n<!-- end -->")[0] == rules.table()


def send(client: ApiClient, method: str, path: str, body: Any = None) -> Any:
    for placeholder, example in (("<uuid:", str(uuid.uuid4())), ("<str:", "EURUSD"), ("<int:", "1")):
        while placeholder in path:
            head, _, rest = path.partition(placeholder)
            path = head + example + rest.partition(">")[2]
    headers = {"idempotency_key": uuid.uuid4().hex}
    if method == "GET":
        return client.get(path, **headers)
    return client.send(method, path, {} if body is None else body, **headers)


@pytest.fixture
def people(transactional_db: None) -> dict[str, ApiClient]:
    """One of each role, logged in. (A full database is not needed: who may is asked before anything is looked up.)"""
    return {role: ApiClient(prefix="").login_at("/api/v1", UserFactory.create(role=role)) for role in Role.values}


def test_each_operation_answers_each_role_as_the_matrix_says(people, new_events):
    wrong = []
    for method, path, action in CLOSED:
        if action is Action.SESSION_END:
            continue  # it ends the session it is asked with: the next test has it
        for role, client in people.items():
            status = send(client, method, path).status_code
            refused = MATRIX[action].reach(role) is Reach.NONE
            if (status == 403) is not refused or status == 401 or (status >= 500 and status != 503):
                wrong.append((method, path, role, status))

    assert not wrong
    denied = [event for event in new_events() if event.action in ("access.denied", "order.refused")]
    assert {event.outcome for event in denied} >= {"denied"}


@pytest.mark.parametrize("role", Role.values)
def test_everybody_ends_his_own_sessions(db, role):
    for path in ("/auth/logout", "/auth/revoke-all"):
        client = ApiClient().login(UserFactory.create(role=role))
        assert client.post(path).status_code in (200, 204)
        assert client.get("/auth/profile").status_code == 401


def test_nobody_known_is_asked_who_he_is(db):
    client = ApiClient(prefix="")
    answers = {(method, path): send(client, method, path).status_code for method, path, _ in CLOSED}

    assert set(answers.values()) == {401}


@pytest.mark.threat(10)
def test_who_is_given_another_role_has_it_at_the_next_request(db):
    operator = UserFactory.create(role=Role.OPERATOR)
    client = ApiClient().login(operator)
    assert client.post("/system/resume", {"reason": "Mended."}).status_code != 403

    User.objects.filter(pk=operator.pk).update(role=Role.TRADER)

    assert client.post("/system/resume", {"reason": "Mended."}).status_code == 403
