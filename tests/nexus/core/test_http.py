"""One face for every answer that is not a success."""

import json
import uuid
from typing import Any

import pytest
from django.db import InternalError, OperationalError
from django.http import HttpRequest
from psycopg.errors import IdleInTransactionSessionTimeout, InFailedSqlTransaction
from rest_framework import exceptions
from rest_framework.exceptions import ErrorDetail

from accounts.services import sessions
from nexus.core import http
from nexus.core.errors import Conflict

pytestmark = pytest.mark.django_db


def _assert_problem(response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(response.content)
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:nexus:problem:{code}")
    assert body["instance"] == f"urn:uuid:{response['X-Request-ID']}"
    assert uuid.UUID(response["X-Request-ID"])
    return body


@pytest.mark.parametrize("path", ["/nope", "/api/v1/nope", "/api/nope", "/api/v1/auth/login/", "/api/v1"])
def test_no_such_path(anonymous, path):
    _assert_problem(anonymous.http.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", "/api/v1/auth/login", "POST"), ("POST", "/health", "GET"), ("PUT", "/api/health", "GET")],
)
def test_no_such_method(anonymous, method, path, allow):
    response = anonymous.http.generic(method, path)

    _assert_problem(response, 405, "method_not_allowed")
    assert allow in response["Allow"]
    assert response["X-Content-Type-Options"] == "nosniff"


def test_who_are_you(anonymous):
    response = anonymous.get("/auth/profile")

    _assert_problem(response, 401, "not_authenticated")
    assert response["WWW-Authenticate"] == 'Bearer realm="nexus"'


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"]
)
def test_only_json_is_read(anonymous, content_type):
    _assert_problem(anonymous.post("/auth/login", "a=b", content_type=content_type), 415, "unsupported_media_type")


@pytest.mark.threat(27)
def test_a_large_body_is_not_read(anonymous):
    _assert_problem(anonymous.post("/auth/login", {"email": "x" * 70_000}), 413, "body_too_large")


def test_broken_json_and_exact_pointers(anonymous):
    _assert_problem(anonymous.post("/auth/login", "{"), 400, "malformed")
    body = _assert_problem(anonymous.post("/auth/login", '{"email": 1e400, "password": NaN}'), 400, "malformed")
    assert {error["pointer"] for error in body["errors"]} == {"/email", "/password"}


def test_our_own_failure_tells_nothing(anonymous, monkeypatch, caplog):
    def broken(**_given):
        raise RuntimeError("SELECT secret_column FROM hidden_table")

    monkeypatch.setattr(sessions, "login", broken)

    response = anonymous.post("/auth/login", {"email": "a@b.example", "password": "x"})

    _assert_problem(response, 500, "internal_error")
    assert "hidden_table" not in response.content.decode()
    assert "RuntimeError" not in response.content.decode()
    assert "hidden_table" in caplog.text


def test_a_database_that_is_down_is_a_503(anonymous, monkeypatch):
    def down(**_given):
        raise OperationalError("server at 10.0.0.1 closed the connection")

    monkeypatch.setattr(sessions, "login", down)

    response = anonymous.post("/auth/login", {"email": "a@b.example", "password": "x"})

    _assert_problem(response, 503, "unavailable")
    assert "10.0.0.1" not in response.content.decode()


def test_a_transaction_that_the_server_ended_because_nothing_came_is_a_503_too():
    ended, other = (InternalError("terminating connection due to idle-in-transaction timeout") for _ in range(2))
    ended.__cause__, other.__cause__ = IdleInTransactionSessionTimeout(), InFailedSqlTransaction()

    error = http.as_error(ended)

    assert error is not None
    assert (error.status, error.headers) == (503, {"Retry-After": "1"})
    assert http.as_error(other) is None


def test_a_form_without_its_token_is_refused(anonymous):
    anonymous.http.handler.enforce_csrf_checks = True

    page = anonymous.http.post("/admin/login/", {"username": "a", "password": "b"})
    program = http.csrf_failure(HttpRequest())

    assert page.status_code == 403
    assert "nothing was done" in page.content.decode()
    assert (program.status_code, json.loads(program.content)["code"]) == (403, "csrf_failed")


def test_an_unknown_host_is_refused(anonymous):
    _assert_problem(anonymous.http.get("/health", headers={"host": "evil.example"}), 400, "malformed")


def test_nested_errors_become_pointers():
    error = http.as_error(
        exceptions.ValidationError(
            {
                "legs": [{}, {"a/b": [ErrorDetail("No.", code="bad")]}],
                "non_field_errors": [ErrorDetail("Odd.", code="odd")],
            }
        )
    )

    assert error is not None
    assert [item.as_dict() for item in error.errors] == [
        {"pointer": "/legs/1/a~1b", "code": "bad", "detail": "No."},
        {"pointer": "", "code": "odd", "detail": "Odd."},
    ]


def test_a_refusal_keeps_its_members_and_a_throttle_its_wait():
    conflict = http.answer(Conflict("Busy.", headers={"Retry-After": "1"}, order_id="7"))
    throttled = http.answer_exception(exceptions.Throttled(wait=12), {})

    assert (conflict.status_code, conflict["Retry-After"]) == (409, "1")
    assert json.loads(conflict.content)["order_id"] == "7"
    assert throttled is not None
    assert (throttled.status_code, throttled["Retry-After"]) == (429, "12")


@pytest.mark.parametrize(
    ("remote", "forwarded", "found"),
    [
        ("203.0.113.9", "1.1.1.1", "203.0.113.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "1.1.1.1, junk", None),
        ("::ffff:203.0.113.9", "", "203.0.113.9"),
        ("2001:db8::1%eth0", "", "2001:db8::1"),
        ("", "", None),
    ],
)
def test_the_address_is_the_first_hop_that_is_not_ours(settings, remote, forwarded, found):
    settings.TRUSTED_PROXY_CIDRS = ["10.0.0.0/8"]
    request = HttpRequest()
    request.META = {"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}

    assert http.client_ip(request) == found


def test_without_trusted_proxies_the_header_changes_nothing(settings):
    settings.TRUSTED_PROXY_CIDRS = []
    request = HttpRequest()
    request.META = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}

    assert http.client_ip(request) == "10.0.0.1"
