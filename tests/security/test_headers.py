"""What browsers are told about every answer, and what is refused over a wire that anybody can read."""

import re

import pytest
from django.test import Client

from tests.factories.accounts import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.mark.threat(20)
@pytest.mark.parametrize(
    "path", ["/api/v1/health", "/api/v1/auth/profile", "/health", "/nothing", "/api/v1/nothing", "/metrics"]
)
def test_an_answer_for_programs_shows_and_runs_nothing(client, path):
    answer = client.get(path)

    assert answer["Content-Security-Policy"] == (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    denied = set(answer["Permissions-Policy"].split(", "))
    assert {f"{each}=()" for each in ("camera", "microphone", "hid", "display-capture", "serial", "usb")} <= denied
    assert answer["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer


@pytest.mark.threat(20)
@pytest.mark.parametrize(("path", "is_styled"), [("/admin/login/", False), ("/docs", True)])
def test_a_page_runs_only_scripts_that_we_serve(client, path, is_styled):
    policy = dict(part.strip().partition(" ")[::2] for part in client.get(path)["Content-Security-Policy"].split(";"))

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert ("'unsafe-inline'" in policy["style-src"]) is is_styled
    assert not re.search(r"https?:|\*|eval", " ".join(policy.values()))


def test_the_api_is_not_spoken_to_in_clear(settings, user):
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_REDIRECT_EXEMPT = [r"^api/", r"^health$", r"^metrics$"]
    body = {"email": user.email, "password": PASSWORD}

    clear = Client().post("/api/v1/auth/login", body, content_type="application/json")
    safe = Client().post("/api/v1/auth/login", body, content_type="application/json", secure=True)

    assert (clear.status_code, clear.json()["code"]) == (403, "tls_required")
    assert safe.status_code == 200
    assert Client().get("/health").status_code == 200
    assert Client().get("/admin/login/")["Location"].startswith("https://")


class Unread:
    """A body of which nobody may read."""

    def read(self, *_: object) -> bytes:
        raise AssertionError("it was read")

    readline = read


@pytest.mark.threat(27)
@pytest.mark.parametrize("path", ["/login", "/admin/login/", "/api/v1/auth/login", "/health", "/nothing"])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(client, path):
    """Django counts a form's words and not its files, which it would store for anybody."""
    kinds = ("multipart/form-data; boundary=x", "application/json", "application/x-www-form-urlencoded")

    for kind in kinds:
        size = {"CONTENT_LENGTH": str(64 * 1024 + 1), "wsgi.input": Unread()}
        answer = client.generic("POST", path, content_type=kind, **size)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large"), kind
