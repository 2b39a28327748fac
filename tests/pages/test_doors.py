"""Who comes in, under which headers, in which language and zone."""

import re
import uuid
import zoneinfo
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.rules import Action, may
from accounts.services.pages import PUBLIC
from accounts.states import Role
from nexus.core import figures
from tests.factories.accounts import PASSWORD, UserFactory
from tests.pages.conftest import Browser
from trading.services import accounts

OPEN = {"/login", "/enrol", "/reset", "/language", "/help/refusals"}


def _pages(patterns: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for entry in patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _pages(entry.url_patterns, route)
        elif isinstance(entry, URLPattern) and ".pages." in entry.callback.__module__:
            path = re.sub(r"<uuid:[a-z_]+>", str(uuid.UUID(int=7)), route)
            yield "/" + path, entry.callback


PAGES = list(_pages(get_resolver().url_patterns))


def test_every_page_declares_what_it_does():
    assert len(PAGES) > 8
    for path, view in PAGES:
        assert view.action in {*Action, PUBLIC}, path
        assert (view.action == PUBLIC) is (path in OPEN), path


@pytest.mark.parametrize("path", sorted({path for path, _ in PAGES} - OPEN))
def test_a_stranger_is_sent_to_the_login(anonymous, path):
    page = anonymous.http.get(path)
    part = anonymous.http.get(path, headers={"hx-request": "true"})

    assert page.status_code in (302, 405)
    if page.status_code == 302:
        assert page["Location"].startswith("/login")
        assert part["HX-Redirect"] == "/login"


@pytest.mark.django_db
def test_whoever_may_not_is_refused_by_every_page_and_each_time_it_is_kept(floor, new_events):
    officer = Browser().login(UserFactory.create(role=Role.COMPLIANCE))
    closed = [(path, view) for path, view in PAGES if view.action != PUBLIC and not may(Role.COMPLIANCE, view.action)]
    for path, view in closed:
        already = len(new_events())
        answer = officer.get(path)
        if answer.status_code == 405:
            answer = officer.send(path, {})
        told = [event for event in new_events()[already:] if event.action in ("access.denied", "order.refused")]
        assert (answer.status_code, [event.outcome for event in told]) == (403, ["denied"]), path
        assert told[0].action == "order.refused" or told[0].object_id == view.action

    assert {"LIVE_ARM", "KEY_CREATE", "ORDER_PLACE"} <= {view.action for _, view in closed}


def test_login_opens_a_session_and_is_kept(new_events):
    user = UserFactory.create()
    browser = Browser()
    before = browser.get("/login").wsgi_request.session.session_key

    answer = browser.send("/login", {"email": user.email, "password": PASSWORD, "next": "/security"}, page="/login")

    assert (answer.status_code, answer["Location"]) == (302, "/security")
    assert browser.http.session.session_key not in (None, before)
    event = new_events()[-1]
    assert (event.action, event.outcome) == ("auth.login.succeeded", "success")
    assert '"door":"dashboard"' in event.canonical.replace(": ", ":")
    assert browser.get("/security").status_code == 200
    assert browser.send("/logout", {}).status_code == 302
    assert browser.get("/security").status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize("wanted", ["https://elsewhere.example/", "//elsewhere.example", "javascript:alert(1)"])
def test_login_never_leads_to_another_site(wanted):
    user = UserFactory.create()

    answer = Browser().send("/login", {"email": user.email, "password": PASSWORD, "next": wanted}, page="/login")

    assert (answer.status_code, answer["Location"]) == (302, "/")


@pytest.mark.threat(5)
@pytest.mark.django_db
def test_a_wrong_password_and_an_inactive_user_look_the_same(new_events):
    wrong = UserFactory.create()
    inactive = UserFactory.create(is_active=False)
    texts = []
    for email, password in ((wrong.email, "no such password"), (inactive.email, PASSWORD), ("x@nexus.example", "y")):
        answer = Browser().send("/login", {"email": email, "password": password}, page="/login")
        assert answer.status_code == 401
        texts.append(re.findall(r'role="alert">([^<]+)', answer.content.decode()))

    assert texts == [["The email or the password is wrong."]] * 3
    assert [event.action for event in new_events()].count("auth.login.failed") == 3


@pytest.mark.django_db
def test_ending_every_session_ends_this_one_too():
    user = UserFactory.create()
    browser, other = Browser().login(user), Browser().login(user)

    browser.send("/security/end-sessions", {})

    assert browser.get("/security").status_code == 302
    assert other.get("/security").status_code == 302


@pytest.mark.threat(20)
@pytest.mark.django_db
def test_pages_run_and_show_nothing_but_what_we_serve():
    page = Browser().get("/login")

    policy = page["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy
    assert page["X-Frame-Options"] == "DENY"
    assert page["Cache-Control"] == "no-store"
    text = page.content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)|<style|\sstyle=|\son\w+=|//cdn|https?://", text)


@pytest.mark.threat(19)
@pytest.mark.django_db
def test_a_form_without_its_token_does_nothing():
    user = UserFactory.create()
    browser = Browser(language="fr").login(user)

    answer = browser.http.post("/security/end-sessions", {})

    assert answer.status_code == 403
    assert answer["Content-Type"].startswith("text/html")
    assert browser.get("/security").status_code == 200


def test_a_path_that_is_not_there_is_a_page_for_people_and_a_document_for_programs(browser, anonymous):
    page = browser.http.get("/nothing-here", headers={"accept": "text/html,*/*", "accept-language": "fr"})
    document = anonymous.http.get("/nothing-here")
    api = browser.http.get("/api/v1/nothing-here", headers={"accept": "text/html,*/*"})

    assert (page.status_code, document.status_code, api.status_code) == (404, 404, 404)
    assert "Introuvable" in page.content.decode()
    assert page["Content-Security-Policy"]
    assert document["Content-Type"] == api["Content-Type"] == "application/problem+json"


def test_a_database_that_is_down_is_a_page_too(browser, monkeypatch):
    from django.db import OperationalError  # noqa: PLC0415

    from trading.pages import frame  # noqa: PLC0415
    from trading.services import desk  # noqa: PLC0415

    def down(*_: object, **__: object) -> None:
        raise OperationalError("could not connect to 10.0.0.1")

    monkeypatch.setattr(desk, "read", down)
    monkeypatch.setattr(frame, "read", down)
    answer = browser.get("/")

    assert answer.status_code == 503
    assert answer["Content-Type"].startswith("text/html")
    assert "10.0.0.1" not in answer.content.decode()


def test_a_failure_of_ours_is_a_page_without_its_inside(browser, monkeypatch):
    from trading.services import desk  # noqa: PLC0415

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret of the inside")

    browser.http.raise_request_exception = False
    monkeypatch.setattr(desk, "read", broken)
    answer = browser.http.get("/", headers={"accept": "text/html"})

    assert answer.status_code == 500
    assert "A fault of ours" in answer.content.decode()
    assert "a secret" not in answer.content.decode()


def test_the_overview_shows_the_account_and_whose_money_it_is(browser, account, execute):
    execute()
    balance = figures.amount(accounts.broker_of(account).snapshot(symbols=[]).balance)

    text = browser.get("/").content.decode()

    assert 'class="badge paper">PAPER<' in text
    assert "LIVE" not in text
    assert f'data-live="balance">{balance}<' in text
    assert "EURUSD" in text
    assert "Filled" in text
    assert f'data-account="{account.public_id}"' in text


def test_real_money_is_said_at_the_top_on_the_account_and_on_the_button(browser, account, settings, monkeypatch):
    from trading.brokers import registry  # noqa: PLC0415

    type(account).objects.filter(pk=account.pk).update(is_live=True)
    overview = browser.get("/").content.decode()
    ticket = browser.get("/ticket").content.decode()

    assert 'class="strip live"' in overview
    assert 'class="strip paper"' not in overview
    assert 'class="badge live">LIVE<' in overview
    assert "LIVE · Paper" in ticket

    monkeypatch.setattr(accounts, "broker_of", lambda each: registry.get(_paper_link(each)))
    values = {"account": str(account.public_id), "symbol": "EURUSD", "side": "BUY", "type": "MARKET", "quantity": "0.1",
              "stop_loss": "1.0800"}  # fmt: skip
    shown = browser.send("/ticket/check", values, page="/ticket", is_part=True).content.decode()
    assert 'href="/help/refusals#STEP_UP_REQUIRED"' in shown  # and so there is no button yet
    assert "/ticket/send" not in shown


def _paper_link(account: Any) -> Any:
    """Reach an account that is only marked as live: there is no live broker in a test."""
    account.is_live = False
    link = accounts.link_of(account)
    account.is_live = True
    return link


@pytest.mark.threat(21)
def test_somebody_elses_account_is_not_there(stranger, account):
    text = stranger.get("/").content.decode()
    assert "No account yet" in text
    assert str(account.public_id) not in text
    assert stranger.get(f"/parts/room/{account.public_id}", is_part=True).status_code == 404


def test_the_room_under_each_limit_is_shown(browser, account):
    text = browser.get(f"/parts/room/{account.public_id}", is_part=True).content.decode()

    assert "Loss of the day" in text
    assert "1,000.00 USD left" in text
    assert "refusals#" not in text  # nothing is refused, for nothing is ordered


def test_a_broker_that_cannot_be_asked_is_said(browser, settings, execute):
    from trading.brokers import registry  # noqa: PLC0415

    order = execute()
    registry.close()
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:9"

    answer = browser.get("/")

    assert answer.status_code == 200
    assert "The broker cannot be asked now" in answer.content.decode()
    assert 'data-live="bid">–<' in answer.content.decode()
    positions = browser.get("/positions").content.decode()
    assert "its profit is not known" in positions
    assert 'data-live="profit" class="">–<' in positions
    for path in ("/ledger", f"/orders/{order.public_id}", "/ticket"):
        assert browser.get(path).status_code == 200


def test_times_are_in_the_readers_zone(trader, execute):
    order = execute()
    there = order.created_at.astimezone(zoneinfo.ZoneInfo("Asia/Kolkata"))

    text = Browser(zone="Asia/Kolkata").login(trader).get("/").content.decode()
    odd = Browser(zone="../../etc/passwd").login(trader).get("/")

    assert f"{there:%H:%M:%S}" in text
    assert "Asia/Kolkata" in text
    assert odd.status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "words"), [("en", "Too many passwords were tried."), ("fr", "Trop de mots de passe")]
)
def test_a_locked_login_is_said_on_a_page_and_for_how_long(language, words):
    user, browser = UserFactory.create(), Browser(language=language)
    for _ in range(5):
        assert browser.send("/login", {"email": user.email, "password": "wrong"}, page="/login").status_code == 401

    answer = browser.send("/login", {"email": user.email, "password": PASSWORD}, page="/login")

    assert (answer.status_code, answer["Content-Type"]) == (429, "text/html; charset=utf-8")
    assert words in answer.content.decode()
    assert 0 < int(answer["Retry-After"]) <= 900
    assert "default-src 'none'" in answer["Content-Security-Policy"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/login", "/admin/login/"])
def test_a_form_without_its_token_is_refused_on_a_page(path):
    answer = Client(enforce_csrf_checks=True).post(path, {"email": "x", "username": "x"})

    assert (answer.status_code, answer["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert "The form has expired" in answer.content.decode()
    assert "default-src 'none'" in answer["Content-Security-Policy"]
