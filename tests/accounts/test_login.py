"""Logging in: right, wrong, unknown, inactive."""

import json

import pytest
from django.test import Client

from accounts.models import TokenFamily, User
from accounts.services import entrances
from accounts.states import RevokeReason, Role
from nexus.alerts.models import Alert
from nexus.audit.models import Pii
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.second_factor import fresh_code
from tests.hashers import CountedArgon2

pytestmark = pytest.mark.django_db


def test_a_right_password_begins_a_session(user, anonymous, new_events):
    response = anonymous.post("/auth/login", {"email": f"  {user.email.upper()} ", "password": PASSWORD})

    body = response.json()
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    assert set(body) == {
        "access_token", "refresh_token", "token_type", "expires_in", "access_expires_at", "refresh_expires_at",
    }  # fmt: skip
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    assert TokenFamily.objects.get().user_id == user.pk
    (event,) = [item for item in new_events() if item.action.startswith("auth.")]
    assert (event.action, event.outcome, event.actor_id) == ("auth.login.succeeded", "success", str(user.public_id))


@pytest.mark.parametrize("prefix", ["/api/v1", "/api"])
def test_both_prefixes_answer_the_same(user, prefix):
    api = ApiClient(prefix=prefix).login(user)

    profile = api.get("/auth/profile").json()

    assert profile["id"] == str(user.public_id)
    assert (profile["email"], profile["role"]) == (user.email, "TRADER")
    assert "password" not in profile


@pytest.mark.threat(5)
def test_unknown_wrong_and_inactive_look_the_same_and_cost_the_same(user, anonymous, new_events):
    inactive = UserFactory.create(is_active=False)
    answers, costs = [], []

    for email, password in [("nobody@nexus.example", "x"), (user.email, "x"), (inactive.email, PASSWORD)]:
        before = CountedArgon2.hashed
        response = anonymous.post("/auth/login", {"email": email, "password": password})
        costs.append(CountedArgon2.hashed - before)
        body = response.json()
        body.pop("instance")
        answers.append((response.status_code, response["WWW-Authenticate"], json.dumps(body)))

    assert len(set(answers)) == 1
    assert answers[0][0] == 401
    assert '"code": "invalid_credentials"' in answers[0][2]
    assert costs == [1, 1, 1]
    assert not TokenFamily.objects.exists()
    failures = [event for event in new_events() if event.action == "auth.login.failed"]
    assert len(failures) == 3
    assert {event.outcome for event in failures} == {"failure"}


def test_an_attempted_name_is_kept_only_as_personal_data(anonymous, new_events):
    anonymous.post("/auth/login", {"email": "Somebody@Nexus.Example", "password": "secret-password"})

    (event,) = new_events()
    assert "somebody@nexus.example" not in event.canonical
    assert json.loads(Pii.objects.get(event=event).data)["email"] == "somebody@nexus.example"
    assert "secret-password" not in event.canonical + Pii.objects.get(event=event).data


def test_the_sixth_session_ends_the_oldest(user):
    clients = [ApiClient().login(user) for _ in range(6)]

    statuses = [client.get("/auth/profile").status_code for client in clients]

    assert statuses == [401, 200, 200, 200, 200, 200]
    assert TokenFamily.objects.get(revoked_at__isnull=False).revoke_reason == RevokeReason.EVICTED


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"email": "a@b.example"}, "/password"),
        ({"password": "x"}, "/email"),
        ({"email": "a@b.example", "password": "x", "role": "OPERATOR"}, "/role"),
        ({"email": "a" * 300, "password": "x"}, "/email"),
        ({"email": "a@b.example", "password": "x" * 129}, "/password"),
        ({"email": ["a@b.example"], "password": "x"}, "/email"),
        ({"email": None, "password": "x"}, "/email"),
        ([], ""),
    ],
)
def test_a_bad_form_names_its_field(anonymous, new_events, body, pointer):
    response = anonymous.post("/auth/login", body)

    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in response.json()["errors"]]
    assert not new_events()


def test_a_role_that_is_not_one_of_four_is_refused_by_the_database(user):
    from django.db import IntegrityError, transaction  # noqa: PLC0415

    with pytest.raises(IntegrityError, match="users_role_known"), transaction.atomic():
        User.objects.filter(pk=user.pk).update(role="ADMIN")
    with pytest.raises(IntegrityError, match="users_superuser_is_operator"), transaction.atomic():
        User.objects.filter(pk=user.pk).update(is_superuser=True)
    user.refresh_from_db()
    assert user.role == Role.TRADER


@pytest.mark.parametrize("door", ["api", "dashboard", "console", "command"])
def test_the_break_glass_account_wakes_people_each_time_through_every_door(transactional_db, new_events, door):
    glass = UserFactory.create(role=Role.OPERATOR)

    def come_in() -> None:
        words = {"password": PASSWORD, "code": fresh_code(glass)}
        match door:
            case "api":
                ApiClient().login(glass)
            case "dashboard":
                assert Client().post("/login", words | {"email": glass.email}).status_code == 302
            case "console":
                assert Client().post("/admin/login/", words | {"username": glass.email}).status_code == 302
            case "command":
                entrances.enter_command(email=glass.email, password=PASSWORD, command="stop")

    come_in()
    assert not Alert.objects.exists()
    User.objects.filter(pk=glass.pk).update(is_superuser=True)
    come_in()
    come_in()

    assert [(alert.kind, alert.severity) for alert in Alert.objects.all()] == [("BREAK_GLASS", "CRITICAL")] * 2
    assert [event.action for event in new_events()].count("auth.break_glass.entered") == 2
