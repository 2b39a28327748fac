"""What somebody else's page makes an operator's browser send, and what somebody writes for operators to read."""

from html import escape

import pytest
from django.test import Client
from django.utils.timezone import now

from accounts.services import staffing
from accounts.states import Role
from nexus.alerts.models import Alert
from nexus.console.acts import Act
from tests.factories.accounts import UserFactory
from tests.nexus.console.conftest import _always_true, account, console, execute, floor, operators, paper, trader
from tests.nexus.console.people import code_of, enter, seen
from tests.nexus.console.test_walk import a_week_later, pages, places, quiet, reconcile, state

__all__ = [
    "_always_true", "a_week_later", "account", "console", "execute", "floor", "operators", "paper", "places", "quiet",
    "reconcile", "trader",
]  # fmt: skip

NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}"


@pytest.mark.threat(19)
def test_no_act_of_the_console_is_done_without_the_token_of_its_form(places, console):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = console.cookies
    before, tried = state(), 0

    for address, page, name in pages(places):
        if not issubclass(page, Act):
            continue
        form = {"reason": "Another site would like this.", "scope": "SYSTEM", "level": "ACTIVE", "version": "1"}
        for headers in ({}, {"origin": "https://elsewhere.example"}, {"referer": "https://elsewhere.example/"}):
            answer = strict.post(address, form, headers=headers)
            assert answer.status_code == 403, name
            assert "The form has expired" in answer.content.decode(), name
        tried += 1

    assert tried >= 10
    assert state() == before


@pytest.mark.threat(19)
def test_other_sites_requests_carry_no_session(operators, settings):
    answer = Client().post("/admin/login/", {"username": "nobody@nexus.example", "password": "x", "code": "000000"})
    client = enter(operators[0])

    assert client.get("/admin/").status_code == 200
    held = {name: cookie for name, cookie in client.cookies.items() if cookie.value}
    assert {settings.SESSION_COOKIE_NAME} <= set(held)
    for cookie in [*held.values(), *answer.cookies.values()]:
        assert cookie["samesite"] == "Strict", cookie.key
        assert cookie["httponly"], cookie.key
        assert not cookie["domain"], cookie.key


@pytest.mark.threat(20)
def test_a_script_in_a_reason_a_name_or_an_alert_is_read_as_text(operators, console):
    asked = staffing.ask_to_create(
        email="new@nexus.example", full_name=NASTY, role=Role.TRADER, reason=NASTY, by=operators[1], at=now()
    )
    Alert.objects.create(severity="CRITICAL", kind="X", dedupe_key="x", text=NASTY, opened_at=now(), last_seen_at=now())
    UserFactory.create(full_name=NASTY)
    item = f"/admin/approvals/{asked.public_id}/"
    shown = {
        path: console.get(path)
        for path in (item, f"{item}approve/", "/admin/approvals/", "/admin/alerts/", "/admin/", "/admin/accounts/user/")
    }

    for path, page in shown.items():
        body = page.content.decode()
        assert page.status_code == 200, path
        assert "<script>alert" not in body, path
        assert "<img src=x" not in body, path
        assert "script-src 'self'" in page["Content-Security-Policy"], path
        assert "unsafe-inline" not in page["Content-Security-Policy"], path
    for path in (item, "/admin/alerts/"):
        assert escape(NASTY) in shown[path].content.decode(), path  # it was there to be run


@pytest.mark.threat(20)
def test_what_a_script_could_send_lacks_the_code(operators, console):
    """A script in the page has the session and the form's token. It does not have the person's phone."""
    asked = staffing.ask_to_create(
        email="new@nexus.example", full_name="", role=Role.TRADER, reason="A test.", by=operators[1], at=now()
    )
    path = f"/admin/approvals/{asked.public_id}/approve/"
    form = {"reason": "A reason that is long enough.", "version": seen(console, path)}

    without = console.post(path, form)
    guessed = console.post(path, form | {"otp": "000000"})
    asked.refresh_from_db()
    stood = asked.state
    done = console.post(path, form | {"otp": code_of(console)})

    assert (without.status_code, guessed.status_code, stood) == (401, 401, "PENDING")
    assert done.status_code == 200
