"""Every route is closed unless it is named here, and one document describes them all."""

import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.timezone import now
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_framework.permissions import AllowAny, IsAuthenticated

from accounts.services import browsing
from accounts.services.permissions import Anybody
from accounts.states import Role
from nexus import urls
from nexus.api import api as machines
from nexus.api import probe
from tests.factories.accounts import UserFactory

PUBLIC = {"api/v1/auth/login", "api/v1/auth/refresh", "api/auth/login", "api/auth/refresh", "docs"} | {
    "api/v1/auth/enrol", "api/auth/enrol", "api/v1/auth/password/reset", "api/auth/password/reset",
}  # fmt: skip
PUBLIC_DOORS = {"enrol": Anybody, "password/reset": Anybody}  # the others count for themselves
PUBLIC_MACHINES = {"/health"}


def _routes(patterns: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for entry in patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _routes(entry.url_patterns, route)
        elif isinstance(entry, URLPattern):
            yield route, entry.callback


def test_a_view_is_closed_unless_it_says_otherwise():
    views = [(route, view.cls) for route, view in _routes(get_resolver().url_patterns) if hasattr(view, "cls")]

    assert len(views) > 10
    for route, view in views:
        if route in PUBLIC:
            assert list(view.permission_classes) == [PUBLIC_DOORS.get(route.rpartition("auth/")[2], AllowAny)], route
        else:
            assert not any(issubclass(each, AllowAny) for each in view.permission_classes), route
            assert any(issubclass(each, IsAuthenticated) for each in view.permission_classes), route
            assert view.authentication_classes, route


@pytest.mark.parametrize("door", [machines, probe])
def test_a_machine_route_is_closed_unless_it_says_otherwise(door):
    operations = [
        (path, operation)
        for bound in door._get_bound_routers()
        for path, view in bound.path_operations.items()
        for operation in view.operations
    ]

    assert operations
    for path, operation in operations:
        assert bool(operation.auth_callbacks) is (path not in PUBLIC_MACHINES), path


@pytest.mark.django_db
def test_health_needs_nobody_and_its_database(anonymous, monkeypatch):
    for path in ("/health", "/api/health", "/api/v1/health"):
        response = anonymous.http.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok", "database": "ok"})

    from django.db import OperationalError  # noqa: PLC0415
    from django.db.backends.postgresql.base import DatabaseWrapper  # noqa: PLC0415

    def down(*_args: object) -> None:
        raise OperationalError("could not connect to 10.0.0.1")

    monkeypatch.setattr(DatabaseWrapper, "cursor", down)
    response = anonymous.http.get("/health")
    monkeypatch.undo()

    assert (response.status_code, response["Content-Type"]) == (503, "application/problem+json")
    assert "10.0.0.1" not in response.content.decode()


@pytest.mark.django_db
def test_one_valid_document_describes_both_doors(anonymous):
    response = anonymous.http.get("/docs/openapi.json")

    document = json.loads(response.content)
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")
    assert {"/api/v1/auth/login", "/api/v1/auth/profile", "/api/v1/health"} <= set(document["paths"])
    assert all(path.startswith("/api/v1/") for path in document["paths"])
    assert set(document["components"]["securitySchemes"]) == {"bearer"}
    assert document["paths"]["/api/v1/auth/profile"]["get"]["security"] == [{"bearer": []}]
    assert document["paths"]["/api/v1/auth/login"]["post"]["security"] == []
    assert document["paths"]["/api/v1/health"]["get"]["security"] == []
    for operations in document["paths"].values():
        for operation in operations.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]


@pytest.mark.django_db
def test_the_docs_load_nothing_from_elsewhere(anonymous):
    response = anonymous.http.get("/docs")

    assert response.status_code == 200
    assert "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js" in response.content.decode()
    assert "//cdn" not in response.content.decode()


@pytest.mark.django_db
def test_in_production_the_docs_open_to_staff_with_a_second_factor_alone(settings):
    """The routes are made anew as production makes them; a password alone is not enough for them, nor is a trader."""
    settings.NEXUS_ENV = "production"
    try:
        importlib.reload(urls)
        views = [urls.docs, urls.schema]
        for user, has_code, acted_ago, status in (
            (UserFactory.create(role=Role.OPERATOR), False, 0, 302),
            (UserFactory.create(role=Role.TRADER), True, 0, 302),
            (UserFactory.create(role=Role.OPERATOR), True, 1000, 302),
            (UserFactory.create(role=Role.OPERATOR), True, 0, 200),
        ):
            client = Client()
            client.force_login(user)
            vars(user)["is_verified"] = lambda has_code=has_code: has_code
            for view in views:
                request = RequestFactory().get("/docs")
                request.user, request.session = user, client.session
                request.session[browsing.ACTED] = now().timestamp() - acted_ago
                assert view(request).status_code == status
    finally:
        settings.NEXUS_ENV = "test"
        importlib.reload(urls)
