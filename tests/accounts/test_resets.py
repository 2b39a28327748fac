"""A lost password: two operators agree to a link, which its owner alone can use, once, within the hour."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from accounts.models import Enrolment, LoginGate, Notice, User
from accounts.services import resets
from accounts.services.enrolments import EnrolmentInvalid
from accounts.states import Role
from accounts.types import ClientInfo
from nexus.core.errors import NexusError
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.links import token_of
from tests.factories.second_factor import enrolled, fresh_code
from tests.threads import together

pytestmark = pytest.mark.django_db

ANOTHER = "a-swim-across-the-lake-9"
USE = "/auth/password/reset"


@pytest.fixture
def operators(db: None) -> tuple[ApiClient, ApiClient]:
    """Two operators, logged in."""
    first, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
    return ApiClient().login(first), ApiClient().login(second)


def link(user: User, operators: tuple[ApiClient, ApiClient]) -> str:
    asked = operators[0].post(f"/users/{user.public_id}/reset-password", {"reason": "He has called."})
    assert asked.status_code == 202, asked.content
    agreed = operators[1].post(f"/approvals/{asked.json()['id']}/approve", {"reason": "It was his voice."})
    return token_of(agreed.json(), operators[0])


def use(token: str, password: str = ANOTHER, **headers: str) -> Any:
    return ApiClient().post(USE, {"token": token, "password": password}, **headers)


def logs_in(user: User, password: str) -> bool:
    return bool(ApiClient().post("/auth/login", {"email": user.email, "password": password}).status_code == 200)


def test_its_owner_sets_another_with_a_code_and_everything_begun_before_ends(user, operators, new_events):
    session = ApiClient().login(user)
    enrolled(user)
    token = link(user, operators)
    assert logs_in(user, PASSWORD)  # until the link is used, the old one holds

    without, done = use(token), use(token, x_nexus_otp=fresh_code(user))

    assert (without.status_code, without.json()["code"], done.status_code) == (401, "otp_invalid", 204)
    assert (logs_in(user, PASSWORD), logs_in(user, ANOTHER)) == (False, True)
    assert session.get("/auth/profile").status_code == 401
    again = use(token, PASSWORD, x_nexus_otp=fresh_code(user))
    assert (again.status_code, again.json()["code"]) == (401, "enrolment_invalid")
    assert Notice.objects.filter(user=user, kind="PASSWORD_CHANGED").count() == 1
    actions = [event.action for event in new_events()]
    assert actions.count("accounts.password.link_made") == 1
    assert [event.outcome for event in new_events() if event.action == "accounts.password.reset"] == [
        "success",
        "failure",
    ]
    assert not [event for event in new_events() if token in event.canonical or ANOTHER in event.canonical]


def test_one_operator_makes_no_link_and_none_for_himself(user, operators):
    first, _ = operators
    own = first.post(f"/users/{first.user.public_id}/reset-password", {"reason": "Mine."})
    asked = first.post(f"/users/{user.public_id}/reset-password", {"reason": "He has called."}).json()
    alone = first.post(f"/approvals/{asked['id']}/approve", {"reason": "Me again."})
    trader = ApiClient().login(user).post(f"/users/{user.public_id}/reset-password", {"reason": "Please."})

    assert (own.status_code, alone.status_code, trader.status_code) == (422, 403, 403)
    assert not Enrolment.objects.exists()


def test_a_link_ends_after_an_hour_with_the_next_and_with_its_owner(user, operators):
    client, old = ClientInfo(ip="203.0.113.1"), link(user, operators)
    new = link(user, operators)
    late = now() + timedelta(minutes=61)

    for token, at in ((old, now()), (new, late)):
        with pytest.raises(EnrolmentInvalid):
            resets.reset(token=token, password=ANOTHER, code="", client=client, at=at)
    User.objects.filter(pk=user.pk).update(is_active=False)
    with pytest.raises(EnrolmentInvalid):
        resets.reset(token=new, password=ANOTHER, code="", client=client, at=now())
    assert User.objects.get(pk=user.pk).check_password(PASSWORD)


def test_a_link_for_a_lost_password_is_none_for_a_first_one_and_the_other_way_round(user, operators):
    token = link(user, operators)
    asked = operators[0].post("/users", {"email": "new@nexus.example", "role": "TRADER", "reason": "Hired."}).json()
    agreed = operators[1].post(f"/approvals/{asked['id']}/approve", {"reason": "Agreed."}).json()

    assert ApiClient().post("/auth/enrol", {"token": token, "password": ANOTHER}).status_code == 401
    assert use(token_of(agreed, operators[0])).status_code == 401


def test_a_poor_password_is_refused_and_costs_no_try(user, operators):
    token = link(user, operators)

    refused = [use(token, "password").status_code for _ in range(6)]

    assert refused == [422] * 6
    assert use(token).status_code == 204


@pytest.mark.threat(12)
def test_links_and_codes_are_guessed_three_times_an_hour(user, operators):
    enrolled(user)
    token = link(user, operators)

    guesses = [use(f"{number}" * 43).status_code for number in range(3)]
    locked = use(token, x_nexus_otp=fresh_code(user))

    assert guesses == [401, 401, 401]
    assert (locked.status_code, locked.json()["code"]) == (429, "rate_limited")
    assert int(locked["Retry-After"]) > 3000
    LoginGate.objects.all().delete()
    elsewhere = [use(token, x_nexus_otp="000000", x_forwarded_for="203.0.113.9").status_code for _ in range(4)]
    assert elsewhere == [401, 401, 401, 429]
    assert User.objects.get(pk=user.pk).check_password(PASSWORD)


def test_whoever_has_a_whole_network_of_version_six_guesses_three_times_too(settings):
    settings.TRUSTED_PROXY_CIDRS = ["127.0.0.0/8"]

    guesses = [use("x" * 43, x_forwarded_for=f"2001:db8::{number}").status_code for number in range(1, 6)]

    assert guesses == [401, 401, 401, 429, 429]
    assert use("x" * 43, x_forwarded_for="2001:db8:0:1::1").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_of_12_who_use_a_link_at_once_one_has_set_the_password(user, operators):
    token = link(user, operators)

    def act(number: int) -> str:
        client = ClientInfo(ip=f"203.0.113.{number}")
        try:
            resets.reset(token=token, password=f"{ANOTHER}-{number}", code="", client=client, at=now())
        except NexusError as exc:
            return exc.code
        return "done"

    came = together(12, act)

    assert came.count("done") == 1
    assert set(came) <= {"done", "enrolment_invalid", "rate_limited"}
    assert User.objects.get(pk=user.pk).check_password(f"{ANOTHER}-{came.index('done')}")
