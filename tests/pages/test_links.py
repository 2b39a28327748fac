"""The pages of a link: whoever holds its token sets a password there and logs in, and nobody else does."""

from typing import Any

import pytest
from django.utils.timezone import now

from accounts.models import Enrolment, User
from accounts.services import enrolments, resets
from accounts.states import Role
from nexus.audit.types import Actor
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.links import token_of
from tests.factories.second_factor import enrolled
from tests.pages.conftest import Browser

pytestmark = pytest.mark.django_db

NEW, SET = "new@nexus.example", "a-swim-across-the-lake-9"
ASKED = {"email": NEW, "role": "TRADER", "reason": "Hired."}


def fill(path: str, token: str, /, **changes: str) -> Any:
    return Browser().send(path, {"token": token, "password": SET, "again": SET, **changes}, page=path)


def log_in(email: str, password: str) -> int:
    answer = Browser().send("/login", {"email": email, "password": password}, page="/login")
    return int(answer.status_code)


def reset_of(user: User) -> str:
    token = "a-token-that-was-mailed"
    Enrolment.objects.create(
        user=user, token_sha256=enrolments.digest(token), is_reset=True, expires_at=now() + resets.LIFETIME
    )
    return token


def test_two_halves_pasted_with_a_gap_set_the_first_password():
    first, second = (ApiClient().login(UserFactory.create(role=Role.OPERATOR)) for _ in range(2))
    asked = first.post("/users", ASKED)
    agreed = second.post(f"/approvals/{asked.json()['id']}/approve", {"reason": "Agreed."})
    token = token_of(agreed.json(), first)
    half = len(token) // 2

    answer = fill("/enrol", f" {token[:half]}\n{token[half:]} ")

    assert (answer.status_code, answer["Location"]) == (302, "/login?set=1")
    assert "Your password is set" in Browser().get("/login?set=1").content.decode()
    assert log_in(NEW, SET) == 302
    assert fill("/enrol", token).status_code == 401  # once


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"token": "no-such-token"}, 401, "The token is not valid"),
        ({"again": "a-swim-across-the-lake-8"}, 400, "This is not the same password."),
        ({"password": "short", "again": "short"}, 422, "12"),
        ({"token": ""}, 400, "required"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_changes_nothing(changes, status, words):
    token = enrolments.found(email=NEW, full_name="New", actor=Actor.system("tests"), at=now())

    answer = fill("/enrol", token, **changes)

    page = answer.content.decode()
    assert (answer.status_code, words in page) == (status, True), page
    assert SET not in page
    assert not User.objects.get(email=NEW).has_usable_password()
    assert fill("/enrol", token).status_code == 302


def test_a_lost_password_is_set_anew_by_its_page():
    user = UserFactory.create()
    token = reset_of(user)

    assert fill("/enrol", token).status_code == 401  # a token of the other kind
    answer = fill("/reset", token)

    assert (answer.status_code, answer["Location"]) == (302, "/login?set=1")
    assert (log_in(user.email, PASSWORD), log_in(user.email, SET)) == (401, 302)


def test_who_has_a_second_factor_shows_a_code_of_it():
    user = UserFactory.create(role=Role.OPERATOR)
    enrolled(user)
    token = reset_of(user)

    for code in ("", "000000"):
        answer = fill("/reset", token, code=code)
        assert answer.status_code == 401, answer.content
        assert 'id="id_code_error"' in answer.content.decode()
    assert log_in(user.email, SET) == 401


def test_strangers_may_not_try_tokens_for_ever(settings):
    settings.ANONYMOUS_PER_MINUTE = 2

    assert [fill("/enrol", "no-such-token").status_code for _ in range(3)] == [401, 401, 429]


def test_the_login_leads_to_both():
    page = Browser().get("/login").content.decode()

    assert 'href="/enrol"' in page
    assert 'href="/reset"' in page
    for path in ("/enrol", "/reset"):
        assert Browser().get(path).status_code == 200
