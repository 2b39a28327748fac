"""What is kept of refusals: every one, until somebody hammers; then so many a minute of one caller, and no more."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from accounts.models import ApiKey, RequestRate
from accounts.services import codes, gates, keys, refusals
from accounts.services.codes import OTP
from accounts.states import Role
from nexus.alerts.models import Alert
from nexus.audit.models import Event, Pii
from tests.accounts.test_keys import bot, make
from tests.accounts.test_lockout import attempt
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.second_factor import enrolled
from tests.threads import together

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def three_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep three a minute: sixty are as many of the same."""
    monkeypatch.setattr(refusals, "KEPT_A_MINUTE", 3)


@pytest.fixture
def kept(new_events: Callable[[], list[Event]]) -> Callable[[str], list[Event]]:
    """Return the new events of an action."""
    return lambda action: [event for event in new_events() if event.action == action]


def is_last(events: list[Event]) -> list[bool]:
    return [refusals.LAST in event.canonical for event in events]


@pytest.mark.threat(27)
def test_who_may_not_and_goes_on_asking_is_kept_three_times_a_minute_and_refused_each_time(kept):
    client, other = (ApiClient().login(UserFactory.create(role=Role.COMPLIANCE)) for _ in range(2))
    ask = {"email": "x@nexus.example", "role": "TRADER", "reason": "x"}

    answers = [client.post("/users", ask) for _ in range(6)]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "denied")}
    assert is_last(kept("access.denied")) == [False, False, True]
    other.post("/users", ask)
    assert len(kept("access.denied")) == 4  # who else is refused has nothing to do with it
    RequestRate.objects.update(window_started_at=F("window_started_at") - MINUTE)
    client.post("/users", ask)
    assert is_last(kept("access.denied"))[3:] == [False, False]


@pytest.mark.threat(27)
def test_a_locked_login_that_is_hammered_fills_no_log_and_tells_who_it_knows_as_before(user, kept):
    answers = [attempt(user.email, ip="203.0.113.66").status_code for _ in range(12)]
    attempt(user.email, ip="203.0.113.66")

    assert answers == [401] * 5 + [429] * 7
    assert (len(kept("auth.login.failed")), is_last(kept("auth.login.locked"))) == (5, [False, False, True])


def test_codes_that_are_locked_and_hammered_fill_no_log(kept, monkeypatch):
    client = ApiClient().login(UserFactory.create())
    assert client.user is not None
    enrolled(client.user)
    monkeypatch.setattr(codes, "OTP", gates.Gate("otp", 1, OTP.window, OTP.lock))

    answers = [client.post("/auth/2fa/verify", {"code": "000000"}).status_code for _ in range(7)]

    assert answers == [401] + [429] * 6
    assert (len(kept("auth.otp.failed")), len(kept("auth.otp.locked"))) == (1, 3)


def test_a_link_that_is_none_is_kept_where_it_came_from_can_be_erased(kept):
    answers = [ApiClient().post("/auth/enrol", {"token": "x" * 43, "password": PASSWORD}) for _ in range(5)]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(401, "enrolment_invalid")}
    told = kept("accounts.user.enrolled")
    assert [(event.actor_type, event.outcome) for event in told] == [("anonymous", "failure")] * 3
    assert "127.0.0.1" in Pii.objects.get(event=told[0]).data
    assert "127.0.0.1" not in told[0].canonical


def test_a_trader_that_sends_what_cannot_be_an_order_fills_no_log(kept):
    client = ApiClient().login(UserFactory.create())

    answers = [client.post("/trading/execute", {}, idempotency_key=uuid.uuid4().hex).status_code for _ in range(6)]

    assert set(answers) == {400}
    assert is_last(kept("order.refused")) == [False, False, True]


@pytest.mark.threat(13)
@pytest.mark.django_db(transaction=True)
def test_a_key_that_comes_from_elsewhere_fills_no_log_however_many_come_at_once(kept):
    client = ApiClient().login(UserFactory.create())
    secret = make(client, scopes=["orders:read"], networks=["203.0.113.0/24"]).json()["secret"]

    answers = together(12, lambda _: bot(secret).get("/trading/ledger").status_code)

    assert answers == [403] * 12
    assert (len(kept("auth.api_key.address_denied")), Alert.objects.count()) == (3, 1)


@pytest.mark.threat(13)
@pytest.mark.parametrize("end", [{"revoked_at": now(), "revoke_reason": "x"}, {"expires_at": now()}])
def test_a_key_that_holds_no_more_is_kept_as_its_own_and_a_wrong_secret_as_nobodys(kept, end: dict[str, Any]):
    client = ApiClient().login(UserFactory.create())
    secret = make(client).json()["secret"]
    ApiKey.objects.update(**end)
    number = str(ApiKey.objects.get().public_id)
    wrong = secret[:-7] + ("B" if secret[-7] != "B" else "C")
    tried = [bot(each).get("/trading/ledger") for each in (secret, wrong + keys._checksum(wrong))]

    assert {answer.status_code for answer in tried} == {401}
    known, unknown = kept("auth.api_key.failed")
    assert (known.actor_type, known.actor_id, known.object_id) == ("api_key", number, number)
    assert (unknown.actor_type, unknown.actor_id, unknown.object_id) == ("anonymous", "", number)
    assert {known.outcome, unknown.outcome} == {"failure"}
    for event in (known, unknown):
        assert secret not in event.canonical
        assert "127.0.0.1" not in event.canonical
