"""A fresh code where the matrix asks for one, and what is said to who has none."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from accounts.models import ApiKey, LoginGate, TokenFamily, User
from accounts.rules import Action, Step
from accounts.services import step_up
from accounts.states import TokenType
from accounts.types import Claims
from nexus.core.errors import NexusError
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.factories.second_factor import SEED, code_at, enrolled, fresh_code
from tests.threads import together

pytestmark = pytest.mark.django_db

PATH = "/auth/api-keys"
KEY = {"name": "My bot", "mode": "paper", "scopes": ["orders:read"]}


@pytest.fixture
def client(user: User) -> ApiClient:
    enrolled(user)
    return ApiClient(shows_codes=False).login(user)


def make(client: ApiClient, code: str = "", *, key: str = "") -> Any:
    headers = {"x_nexus_otp": code} if code else {}
    return client.post(PATH, KEY, idempotency_key=key or uuid.uuid4().hex, **headers)


def claims_of(user: User, family: TokenFamily) -> Claims:
    return Claims(
        user_public_id=user.public_id, family_id=family.pk, token_version=1, jti_hash=b"",
        token_type=TokenType.ACCESS, issued_at=now(), expires_at=now(), authenticated_at=now(), methods=(),
    )  # fmt: skip


def test_without_a_code_it_says_what_is_missing_and_does_nothing(client):
    answer = make(client)

    assert (answer.status_code, answer.json()["code"]) == (401, "step_up_required")
    challenge = answer["WWW-Authenticate"]
    assert challenge.startswith("Bearer ")
    assert 'error="insufficient_user_authentication"' in challenge
    assert 'max_age="0"' in challenge
    assert not ApiKey.objects.exists()


def test_who_has_no_second_factor_is_told_where_to_set_one_up(user):
    answer = make(ApiClient(shows_codes=False).login(user), "123456")

    assert (answer.status_code, answer.json()["code"]) == (401, "step_up_required")
    assert "/auth/2fa/enrol" in answer.json()["detail"]


def test_each_request_needs_a_code_of_its_own(client):
    code = code_at(SEED)
    assert make(client, code).status_code == 201

    used, wrong = make(client, code), make(client, "000000" if code != "000000" else "111111")

    assert (used.status_code, used.json()["code"]) == (401, "otp_invalid")
    assert {**used.json(), "instance": ""} == {**wrong.json(), "instance": ""}
    assert make(client).json()["code"] == "step_up_required"  # the code before it counts for its own request alone
    assert ApiKey.objects.count() == 1


def test_an_older_code_is_not_accepted_after_a_newer_one(client):
    assert make(client, code_at(SEED, steps=1)).status_code == 201  # a device whose clock runs ahead

    for steps in (0, -1):
        assert make(client, code_at(SEED, steps=steps)).json()["code"] == "otp_invalid"


@pytest.mark.parametrize("steps", [-2, 2])
def test_a_code_from_farther_away_than_one_step_is_wrong(client, steps):
    assert make(client, code_at(SEED, steps=steps)).json()["code"] == "otp_invalid"


def test_a_repetition_needs_no_second_code_and_a_failed_code_is_no_answer_to_repeat(client):
    name = uuid.uuid4().hex
    assert make(client, "000000", key=name).status_code == 401
    assert make(client, key=name).status_code == 401

    made = make(client, code_at(SEED), key=name)
    again = make(client, key=name)

    assert made.status_code == 201
    assert (again.status_code, again["Idempotency-Replayed"]) == (200, "true")
    assert again.json()["id"] == made.json()["id"]


def test_a_code_in_the_session_lasts_a_quarter_of_an_hour_and_only_there(client, user, rf):
    other = ApiClient(shows_codes=False).login(user)
    mine, others = (TokenFamily.objects.order_by("created_at")[index] for index in (0, 1))
    assert other
    request = rf.post("/")
    request.user = user

    def ask(family: TokenFamily) -> None:
        request.auth = claims_of(user, family)
        step_up.require(request, step=Step.S15, purpose="test")

    with pytest.raises(step_up.StepUpRequired) as caught:
        ask(mine)
    assert 'max_age="900"' in caught.value.headers["WWW-Authenticate"]
    assert client.post("/auth/2fa/verify", {"code": fresh_code(user)}).status_code == 204
    ask(mine)
    with pytest.raises(step_up.StepUpRequired):
        ask(others)
    TokenFamily.objects.filter(pk=mine.pk).update(stepped_up_at=now() - timedelta(minutes=15, seconds=1))
    with pytest.raises(step_up.StepUpRequired):
        ask(mine)


@pytest.mark.django_db(transaction=True)
def test_of_12_requests_at_once_with_one_code_all_find_the_session_fresh_and_no_code_is_locked(user, rf):
    enrolled(user)
    ApiClient(shows_codes=False).login(user)
    family, code = TokenFamily.objects.get(), code_at(SEED)

    def ask(number: int, *, given: str = code) -> str:
        request = rf.post("/", headers={"X-Nexus-OTP": given})
        request.user, request.auth = user, claims_of(user, family)
        try:
            step_up.require(request, step=Step.S15, purpose=f"close {number}")
        except NexusError as exc:
            return exc.code
        return "fresh"

    assert together(12, ask) == ["fresh"] * 12
    assert LoginGate.objects.get(kind="otp").failures == 0
    TokenFamily.objects.update(stepped_up_at=None)
    wrong = "000000" if code != "000000" else "111111"
    answers = together(8, lambda number: ask(number, given=wrong))
    assert sorted(answers) == ["otp_invalid"] * 5 + ["otp_locked"] * 3  # and what is wrong is counted as ever


@pytest.mark.threat(26)
@pytest.mark.django_db(transaction=True)
def test_a_machine_door_asks_as_well_and_the_stop_never():
    operator = UserFactory.create(role="OPERATOR")
    enrolled(operator)
    client = ApiClient(shows_codes=False).login(operator)

    assert client.post("/system/resume", {"reason": "x"}).json()["code"] == "step_up_required"
    assert client.post("/system/emergency-stop", {"reason": "x"}).status_code == 200  # nothing stands in its way


def test_every_code_is_kept_with_what_it_was_for(client, new_events):
    code = code_at(SEED)
    make(client, code)
    make(client, code)

    events = [each for each in new_events() if each.action.startswith("auth.otp")]
    kept = [(each.action, json.loads(each.canonical)["detail"]["purpose"]) for each in events]
    assert kept == [("auth.otp.accepted", Action.KEY_CREATE), ("auth.otp.failed", Action.KEY_CREATE)]
    assert not any(code in each.canonical for each in new_events())
