"""Nobody learns from a refused login who has an account: not by its words, headers or size, and not by its work.

What a login costs is compared by what it does: the statements that it sends to the database, how often it hashes a
password, by the one hasher at its one cost, and which jobs it hands out. A clock would say less on a shared machine.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Notice
from accounts.services import notices
from accounts.services.lockout import PAIR
from accounts.states import Role
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.hashers import CountedArgon2

WRONG = "a wrong password"
OF_EACH = {"x-request-id", "date", "set-cookie"}  # one of its own for each answer
TIMES = {"expires", "retry-after", "ratelimit"}

Seen = tuple[int, dict[str, str], str, list[str], int]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the jobs that notices hand out."""
    handed: list[str] = []
    monkeypatch.setattr(notices, "enqueue", lambda name, **_: handed.append(name))
    return handed


def api(email: str, password: str) -> Any:
    return ApiClient().post("/auth/login", {"email": email, "password": password})


def page(email: str, password: str) -> Any:
    return Client().post("/login", {"email": email, "password": password})


def console(email: str, password: str) -> Any:
    return Client().post("/admin/login/", {"username": email, "password": password, "code": "123456"})


def make(reason: str) -> tuple[str, str]:
    """Return the name and password of somebody who is not let in, each tried for the first time, and equally long."""
    match reason:
        case "a trader's wrong password":
            return UserFactory.create(email="some-trader@nexus.example").email, WRONG
        case "an operator's wrong password":
            return UserFactory.create(email="an-operator@nexus.example", role=Role.OPERATOR).email, WRONG
        case "an inactive user's password":
            return UserFactory.create(email="is-inactive@nexus.example", is_active=False).email, PASSWORD
    return "nobody-here@nexus.example", WRONG


def look(door: Callable[[str, str], Any], email: str, password: str) -> Seen:
    before = CountedArgon2.hashed
    with CaptureQueriesContext(connection) as run:
        answer = door(email, password)
    given = {name.lower(): value for name, value in answer.items() if name.lower() not in OF_EACH}
    headers = {name: "a time" if name in TIMES else value for name, value in given.items()}
    return (
        answer.status_code, headers, _plain(answer.content.decode(), email),
        [_shape(each["sql"]) for each in run.captured_queries], CountedArgon2.hashed - before,
    )  # fmt: skip


def _plain(text: str, email: str) -> str:
    """Return a body without what is of this very request: its id, its form's token, and the name that was typed."""
    text = re.sub(r'(name="csrfmiddlewaretoken" value=|"instance": )"[^"]*"', r"\1…", text)
    return text.replace(email, "NAME")


def _shape(statement: str) -> str:
    """Return a statement without its values."""
    return re.sub(r"\bs\d+_x\d+\b|'(?:[^']|'')*'(?:::\w+)?|\b\d+\b|\bNULL\b|\b(?:true|false)\b", "?", statement)


REASONS = ["a trader's wrong password", "an operator's wrong password", "an inactive user's password"]


@pytest.mark.threat(5)
@pytest.mark.django_db
@pytest.mark.parametrize("door", [api, page, console])
@pytest.mark.parametrize("reason", REASONS)
def test_a_name_that_nobody_has_is_refused_by_the_same_words_and_the_same_work(door, reason, jobs):
    door("the-warm-up@nexus.example", WRONG)  # what a process reads once
    known, stranger = look(door, *make(reason)), look(door, *make("nobody"))

    _compare(known, stranger)
    assert stranger[4] == 1
    assert len(stranger[3]) > 3
    assert jobs == []


@pytest.mark.threat(5)
@pytest.mark.django_db
@pytest.mark.parametrize("door", [api, page, console])
@pytest.mark.parametrize("reason", REASONS)
def test_a_name_that_nobody_has_is_locked_by_the_same_words_and_the_same_work(door, reason, jobs):
    names = make(reason), make("nobody")
    known, stranger = ([look(door, *name) for _ in range(PAIR.most + 2)] for name in names)

    for one, other in zip(known[1:], stranger[1:], strict=True):
        _compare(one, other)
    assert [each[0] for each in stranger[-2:]] == [429, 429]
    assert [each[4] for each in stranger[-2:]] == [0, 0]
    assert Notice.objects.filter(kind="LOGIN_LOCKED").count() == 1  # all the same, its owner is told
    assert jobs == []


def _compare(known: Seen, stranger: Seen) -> None:
    for one, other in zip(known, stranger, strict=True):
        assert one == other
