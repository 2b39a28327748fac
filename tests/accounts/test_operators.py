"""How operators come to be, and what stands between them and the console."""

import json
import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import RecoveryCode, TotpDevice, User
from accounts.services import staffing
from accounts.states import Role
from nexus.core import ciphers
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, WRONG, UserFactory
from tests.factories.second_factor import SEED, code_at, enrolled, fresh_code

pytestmark = pytest.mark.django_db

EMAIL = "first@nexus.example"


def typed(prompt: str) -> str:
    """Answer as somebody who sets up an account: the password twice, then what the new device shows."""
    if "code" in prompt:
        return code_at(ciphers.unseal(TotpDevice.objects.get(confirmed=False).seed))
    return PASSWORD


def enter(user: User, *, code: str, password: str = PASSWORD) -> Client:
    console = Client()
    console.post("/admin/login/?next=/admin/", {"username": user.email, "password": password, "code": code})
    return console


def test_the_first_operator_is_made_with_password_and_second_factor(monkeypatch, new_events):
    monkeypatch.setattr("getpass.getpass", typed)
    said = StringIO()

    call_command("create_operator", EMAIL, "--name", "The First", stdout=said)

    user = User.objects.get(email=EMAIL)
    assert (user.role, user.full_name, user.is_superuser) == (Role.OPERATOR, "The First", False)
    assert RecoveryCode.objects.filter(user=user).count() == 10
    assert PASSWORD not in said.getvalue()
    assert enter(user, code=fresh_code(user)).get("/admin/").status_code == 200
    told = {each.action: each.actor_id for each in new_events()}
    assert told["accounts.user.created"] == "create_operator"
    assert told["accounts.second_factor.confirmed"] == str(user.public_id)


def test_two_different_passwords_make_nobody(monkeypatch):
    answers = iter([PASSWORD, WRONG])
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))

    with pytest.raises(CommandError, match="not the same"):
        call_command("create_operator", EMAIL)
    assert not User.objects.exists()


def test_with_a_link_the_operator_sets_both_elsewhere():
    said = StringIO()
    call_command("create_operator", EMAIL, "--link", stdout=said)
    match = re.search(r"^  (\S{40,})$", said.getvalue(), re.MULTILINE)
    assert match

    form = {"token": match[1], "password": PASSWORD}
    assert ApiClient().post("/auth/enrol", form).status_code == 204
    assert ApiClient().post("/auth/enrol", form).status_code == 401  # once

    user = User.objects.get(email=EMAIL)
    assert user.role == Role.OPERATOR
    assert enter(user, code="000000").get("/admin/").status_code == 302
    client = ApiClient(shows_codes=False).login(user)
    secret = client.post("/auth/2fa/enrol", {"password": PASSWORD}).json()["secret"]
    assert client.post("/auth/2fa/confirm", {"code": code_at(secret)}).status_code == 200
    assert enter(user, code=fresh_code(user)).get("/admin/").status_code == 200


def test_the_third_operator_is_agreed_to_by_two(monkeypatch):
    for _ in range(staffing.FOUNDERS):
        UserFactory.create(role=Role.OPERATOR)
    monkeypatch.setattr("getpass.getpass", typed)

    for words in ([], ["--link"]):
        with pytest.raises(CommandError, match="together"):
            call_command("create_operator", EMAIL, *words)
    assert not User.objects.filter(email=EMAIL).exists()


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.COMPLIANCE])
def test_the_console_opens_with_a_code_and_with_nothing_less(role, new_events):
    user = UserFactory.create(role=role)
    assert enter(user, code="123456").get("/admin/").status_code == 302  # no second factor at all
    enrolled(user)

    assert enter(user, code="").get("/admin/").status_code == 302
    assert enter(user, code="not-it").get("/admin/").status_code == 302
    assert enter(user, code=fresh_code(user), password=WRONG).get("/admin/").status_code == 302
    forced = Client()
    forced.force_login(user)  # a session without a code, wherever it came from
    assert forced.get("/admin/").status_code == 302
    console = enter(user, code=fresh_code(user))

    assert console.get("/admin/").status_code == 200
    entries = [json.loads(each.canonical)["detail"] for each in new_events() if each.action == "auth.login.succeeded"]
    assert [each["methods"] for each in entries] == [["pwd", "otp"]]
    TotpDevice.objects.filter(user=user).delete()
    assert console.get("/admin/").status_code == 302


def test_djangos_own_change_of_passwords_is_shut():
    user = UserFactory.create(role=Role.OPERATOR)
    console = enter(user, code=fresh_code(user))
    form = {"old_password": PASSWORD, "new_password1": "another-walk-9-9", "new_password2": "another-walk-9-9"}

    assert console.get("/admin/password_change/").status_code == 404
    assert console.post("/admin/password_change/", form).status_code == 404
    assert User.objects.get(pk=user.pk).check_password(PASSWORD)
    assert b"password_change" not in console.get("/admin/").content


def test_a_recovery_code_opens_the_console_once():
    user = UserFactory.create(role=Role.OPERATOR)
    client = ApiClient(shows_codes=False).login(user)
    secret = client.post("/auth/2fa/enrol", {"password": PASSWORD}).json()["secret"]
    shown = client.post("/auth/2fa/confirm", {"code": code_at(secret)}).json()["recovery_codes"]

    assert enter(user, code=shown[0]).get("/admin/").status_code == 200
    assert enter(user, code=shown[0]).get("/admin/").status_code == 302


def test_a_lost_device_is_removed_by_two_operators_and_not_by_its_owner():
    first, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
    user = UserFactory.create()
    path = f"/users/{user.public_id}/reset-second-factor"
    asking, agreeing = ApiClient().login(first), ApiClient().login(second)
    assert asking.post(path, {"reason": "Lost."}).json()["code"] == "no_second_factor"
    enrolled(user)
    session = ApiClient(shows_codes=False).login(user)
    assert session.post(path, {"reason": "Mine."}).status_code == 403
    asked = asking.post(path, {"reason": "Lost."})
    assert asked.status_code == 202, asked.content
    number = asked.json()["id"]

    assert asking.post(f"/approvals/{number}/approve", {"reason": "Me."}).status_code == 403
    assert TotpDevice.objects.filter(user=user).exists()
    assert agreeing.post(f"/approvals/{number}/approve", {"reason": "Seen him."}).status_code == 200

    assert not TotpDevice.objects.filter(user=user).exists()
    assert session.get("/auth/profile").status_code == 401


def test_a_reset_is_about_the_device_of_its_day():
    first, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
    user = UserFactory.create()
    enrolled(user)
    asked = ApiClient().login(first).post(f"/users/{user.public_id}/reset-second-factor", {"reason": "Lost."}).json()
    TotpDevice.objects.filter(user=user).delete()
    enrolled(user, seed=SEED[::-1])

    answer = ApiClient().login(second).post(f"/approvals/{asked['id']}/approve", {"reason": "Seen him."})

    assert (answer.status_code, answer.json()["code"]) == (409, "approval_stale")
    assert TotpDevice.objects.filter(user=user).exists()
