"""Whoever looks at personal data of others is in the log before it is shown."""

import json
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.utils.timezone import now

from accounts.models import TokenFamily
from nexus.audit.services import trail
from tests.client import ApiClient
from tests.factories.accounts import UserFactory

FAMILIES, ATTEMPTS = "/admin/accounts/tokenfamily/", "/admin/axes/accessattempt/"


@pytest.fixture
def looks(new_events):
    def found() -> list[tuple[str, str, dict[str, Any]]]:
        events = [event for event in new_events() if event.action == "personal_data.read"]
        return [(each.object_type, each.actor_id, json.loads(each.canonical)["detail"]) for each in events]

    return found


@pytest.fixture
def attempt(db: None) -> AccessAttempt:
    return AccessAttempt.objects.create(
        username="stranger@example.test", ip_address="203.0.113.9", user_agent="curl", attempt_time=now(),
        failures_since_start=1,
    )  # fmt: skip


def test_a_session_that_is_looked_at_is_an_event_and_the_list_without_addresses_is_none(console, operators, looks):
    ApiClient().login(UserFactory.create())
    family = TokenFamily.objects.latest("created_at")

    assert "127.0.0.1" not in console.get(FAMILIES).content.decode()
    assert looks() == []
    assert "127.0.0.1" in console.get(f"{FAMILIES}{family.pk}/change/").content.decode()

    detail = {"fields": ["ip", "user_agent"], "records": [str(family.pk)], "count": 1}
    assert looks() == [("tokenfamily", str(operators[0].public_id), detail)]


def test_attempts_are_events_in_a_list_and_one_by_one(console, operators, attempt, looks):
    fields = ["username", "ip_address", "user_agent"]
    assert "203.0.113.9" in console.get(ATTEMPTS).content.decode()
    console.get(f"{ATTEMPTS}{attempt.pk}/change/")

    detail = {"fields": fields, "records": [str(attempt.pk)], "count": 1}
    assert looks() == [("accessattempt", str(operators[0].public_id), detail)] * 2


def test_a_list_of_nothing_is_no_look(console, looks):
    console.get(ATTEMPTS)
    console.get("/admin/logins/")

    assert looks() == []


def test_who_is_locked_is_personal_data_too(console, operators, looks):
    for _ in range(6):
        ApiClient().post("/auth/login", {"email": "stranger@example.test", "password": "a wrong password"})

    assert "stranger@example.test" in console.get("/admin/logins/").content.decode()

    ((kind, by, detail),) = looks()
    assert (kind, by, detail["fields"], detail["count"]) == (
        "login_lock",
        str(operators[0].public_id),
        ["username", "ip"],
        1,
    )


@pytest.mark.parametrize("path", [ATTEMPTS, FAMILIES])
def test_nothing_is_shown_whose_event_cannot_be_kept(console, attempt, monkeypatch, path):
    ApiClient().login(UserFactory.create())
    key = attempt.pk if path == ATTEMPTS else TokenFamily.objects.latest("created_at").pk
    console.raise_request_exception = False

    def broken(**_: object) -> int:
        raise RuntimeError("the log is gone")

    monkeypatch.setattr(trail, "record", broken)
    answer = console.get(f"{path}{key}/change/")

    assert answer.status_code == 500
    assert b"203.0.113.9" not in answer.content
