"""A session of the console: nobody there for a quarter of an hour, or eight hours on, and it asks who you are."""

from datetime import datetime, timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.tasks import purge_tokens
from risk.models import TradingControl
from risk.states import StopLevel
from tests.factories.accounts import PASSWORD, UserFactory

EXPORT = "/admin/audit/exports/1/live/"


@pytest.fixture
def pass_time(monkeypatch):
    """Return what lets so much time pass on Django's own clock."""
    real, passed = timezone.now, [timedelta(0)]
    for place in ("django.utils.timezone.now", "nexus.console.site.now"):
        monkeypatch.setattr(place, lambda: real() + passed[0])

    def let(**span: int) -> datetime:
        passed[0] += timedelta(**span)
        return real() + passed[0]

    return let


def is_in(client: Client, path: str = "/admin/users/") -> bool:
    answer = client.get(path)
    return not (answer.status_code == 302 and answer["Location"].startswith("/admin/login/"))


def test_it_asks_anew_after_a_quarter_of_an_hour_without_anybody(console, pass_time, new_events):
    for _ in range(3):
        pass_time(minutes=14)
        assert is_in(console)
    pass_time(minutes=15, seconds=1)

    assert not is_in(console)

    assert console.get("/").status_code == 302  # the dashboard of the same session is left, too
    assert not Session.objects.exists()
    assert '"idle": true' in next(each for each in new_events() if each.action == "auth.logout").canonical


@pytest.mark.parametrize("path", ["/admin/live/", EXPORT])
def test_a_page_that_reads_itself_anew_keeps_nobody_in(console, pass_time, path):
    for _ in range(2):
        pass_time(minutes=7)
        assert is_in(console, path)
    pass_time(minutes=2)

    assert not is_in(console, path)


def test_what_is_confirmed_too_late_is_not_done(console, pass_time):
    pass_time(minutes=16)

    words = {"scope": "SYSTEM", "level": "HALTED", "sweep": "NONE", "reason": "It runs away."}
    answer = console.post("/admin/stop/", words)

    assert (answer.status_code, answer["Location"].startswith("/admin/login/")) == (302, True)
    assert not TradingControl.objects.exclude(level=StopLevel.ACTIVE).exists()


def test_eight_hours_after_the_login_it_ends_whatever_was_done_in_it(console, pass_time):
    for _ in range(47):
        pass_time(minutes=10)
        assert is_in(console)
    pass_time(minutes=11)

    assert not is_in(console)


def test_a_session_of_the_dashboard_ends_after_eight_hours_too(floor, pass_time):
    trader, client = UserFactory.create(), Client()
    client.post("/login", {"email": trader.email, "password": PASSWORD, "code": ""})
    pass_time(hours=7, minutes=59)
    session = client.session
    session["something"] = "kept"
    session.save()
    assert client.get("/security").status_code == 200
    pass_time(minutes=2)

    assert client.get("/security").status_code == 302


def test_the_eight_hours_begin_anew_with_another_login_of_the_same_browser(floor, pass_time):
    trader, client = UserFactory.create(), Client()
    for _ in range(2):
        client.post("/login", {"email": trader.email, "password": PASSWORD, "code": ""})
        pass_time(hours=7)
        assert client.get("/security").status_code == 200
        client.post("/logout")


def test_a_login_of_the_api_prolongs_no_browsers_session(floor, pass_time):
    trader, client = UserFactory.create(), Client()
    client.post("/login", {"email": trader.email, "password": PASSWORD, "code": ""})
    (before,) = Session.objects.values_list("session_data", "expire_date")
    pass_time(hours=1)

    body = {"email": trader.email, "password": PASSWORD}
    answer = client.post("/api/v1/auth/login", body, content_type="application/json")

    assert (answer.status_code, answer.cookies.keys()) == (200, {}.keys())
    assert list(Session.objects.values_list("session_data", "expire_date")) == [before]


def test_what_has_ended_is_deleted_within_the_hour(console, other_console, pass_time):
    pass_time(hours=8, minutes=1)
    client = Client()
    client.post("/login", {"email": UserFactory.create().email, "password": PASSWORD, "code": ""})
    assert Session.objects.count() == 3

    purge_tokens()

    assert client.get("/security").status_code == 200
    assert Session.objects.count() == 1
