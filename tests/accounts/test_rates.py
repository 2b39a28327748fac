"""How often one may ask in a minute: exact counts, of a caller and of an address, and a brake that is never held up."""

from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.utils.timezone import now

from accounts.models import RequestRate, TokenFamily
from accounts.rules import Action
from accounts.services import keys, rates
from accounts.states import Role
from nexus.audit.types import Actor
from nexus.core.http import TooManyRequests
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.threads import together

NEXT_MINUTE = timedelta(minutes=1)


@pytest.fixture
def few(settings):
    settings.READS_PER_MINUTE, settings.ANONYMOUS_PER_MINUTE = 5, 4


@pytest.fixture
def operator_api(transactional_db):
    return ApiClient().login(UserFactory.create(role=Role.OPERATOR))


def _turn_the_clock() -> None:
    RequestRate.objects.update(window_started_at=F("window_started_at") - NEXT_MINUTE)


def _statuses(client: ApiClient, path: str, times: int) -> list[int]:
    return [client.get(path).status_code for _ in range(times)]


@pytest.mark.threat(27)
@pytest.mark.django_db(transaction=True)
def test_of_320_reads_at_once_300_pass(user):
    actor = Actor.user(user.public_id)

    def read(_number: int) -> list[str]:
        return [_read(actor) for _ in range(20)]

    answers = Counter(answer for each in together(16, read) for answer in each)

    assert answers == {"read": 300, "rate_limited": 20}
    assert RequestRate.objects.get().used == 301


def _read(actor: Actor) -> str:
    try:
        rates.count_read(actor, role=Role.TRADER, action=Action.ORDER_READ)
    except TooManyRequests as exc:
        return exc.code
    return "read"


@pytest.mark.django_db(transaction=True)
def test_both_doors_count_the_same_reads_and_say_when_to_come_back(few, user):
    client = ApiClient().login(user)
    paths = ["/auth/profile", "/trading/status"] * 6

    answers = together(12, lambda number: client.get(paths[number]))

    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 7}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused["Content-Type"] == "application/problem+json"
    assert (refused.json()["code"], refused.json()["type"]) == ("rate_limited", "urn:nexus:problem:rate_limited")
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert refused["RateLimit-Policy"] == '"reads";q=5;w=60'
    assert refused["RateLimit"] == f'"reads";r=0;t={refused["Retry-After"]}'


@pytest.mark.django_db
def test_a_new_minute_begins_with_the_first_read_after_the_old_one(few, api):
    assert _statuses(api, "/auth/profile", 6) == [200] * 5 + [429]

    _turn_the_clock()

    assert _statuses(api, "/auth/profile", 6) == [200] * 5 + [429]


@pytest.mark.django_db
def test_reads_are_counted_for_each_caller_and_writes_are_not(few, api):
    other = ApiClient().login(UserFactory.create())
    again = ApiClient().login(api.user)
    _statuses(api, "/auth/profile", 6)

    assert again.get("/auth/profile").status_code == 429  # another session of the same person
    assert other.get("/auth/profile").status_code == 200
    assert api.post("/auth/logout").status_code == 204


@pytest.mark.django_db
def test_what_is_refused_or_not_there_is_counted_too(few, api):
    assert _statuses(api, "/system/alerts", 6) == [403] * 5 + [429]
    assert api.get("/trading/ledger/00000000-0000-4000-8000-000000000000").status_code == 429


@pytest.mark.django_db(transaction=True)
def test_nobody_who_can_stop_everything_waits_at_the_brake(few, operator_api):
    _statuses(operator_api, "/auth/profile", 6)

    assert operator_api.get("/auth/profile").status_code == 429
    assert _statuses(operator_api, "/trading/status", 7) == [200] * 7
    assert _statuses(operator_api, "/system/alerts", 7) == [200] * 7
    assert operator_api.post("/system/emergency-stop", {"reason": "too many questions"}).status_code == 200


@pytest.mark.django_db
def test_an_address_that_shows_nobody_is_told_to_come_back(few, anonymous):
    refused = [anonymous.get(path) for path in ["/auth/profile", "/trading/ledger"] * 3]

    assert [each.status_code for each in refused] == [401] * 4 + [429] * 2
    assert refused[-1]["RateLimit-Policy"] == '"anonymous";q=4;w=60'
    assert anonymous.http.get("/api/v1/auth/profile", REMOTE_ADDR="198.51.100.7").status_code == 401
    _turn_the_clock()
    assert anonymous.get("/auth/profile").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_of_70_strangers_at_once_60_are_looked_at():
    strangers = [ApiClient() for _ in range(14)]

    answers = Counter(status for each in together(14, lambda n: _statuses(strangers[n], "/auth/profile", 5))
                      for status in each)  # fmt: skip

    assert answers == {401: 60, 429: 10}


@pytest.mark.django_db
@pytest.mark.parametrize("token", ["nonsense", "é", f"{keys.PREFIX}paper_0000000000000000_{'x' * 43}000000"])
def test_a_forged_token_is_a_stranger_at_both_doors(few, anonymous, token):
    headers = {"authorization": f"Bearer {token}"}

    statuses = [anonymous.get("/auth/profile", **headers).status_code for _ in range(6)]

    assert statuses == [401] * 4 + [429] * 2
    assert anonymous.post("/auth/enrol", {"token": "x", "password": "y"}).status_code == 429
    assert anonymous.post("/auth/password/reset", {"token": "x", "password": "y"}).status_code == 429
    assert anonymous.post("/auth/refresh", {"refresh_token": "x"}).status_code == 429
    assert anonymous.http.get("/docs/openapi.json").status_code == 429


@pytest.mark.django_db(transaction=True)
def test_a_flood_of_strangers_keeps_nobody_from_coming_in_or_stopping(few, anonymous, operator_api):
    _statuses(anonymous, "/auth/profile", 9)
    user = UserFactory.create()

    client = ApiClient().login(user)

    assert client.get("/auth/profile").status_code == 200
    assert anonymous.http.get("/login").status_code == 200
    assert anonymous.http.get("/admin/login/").status_code == 200
    assert anonymous.get("/health").status_code == 200
    assert operator_api.post("/system/emergency-stop", {"reason": "a flood"}).status_code == 200
    assert _statuses(anonymous, "/trading/status", 6) == [401] * 6  # the brake says the truth: log in again


@pytest.mark.django_db
def test_a_session_that_is_over_counts_for_itself(few, api, anonymous):
    TokenFamily.objects.update(revoked_at=F("created_at"))

    assert _statuses(api, "/auth/profile", 6) == [401] * 4 + [429] * 2
    assert anonymous.get("/auth/profile").status_code == 401


@pytest.mark.django_db
def test_no_read_waits_for_a_disk():
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence::text FROM pg_class WHERE oid = 'request_rate'::regclass")
        assert cursor.fetchone() == ("u",)


@pytest.mark.django_db
def test_minutes_that_are_long_over_are_deleted(few, api):

    api.get("/auth/profile")

    rates.purge(at=now())
    assert RequestRate.objects.count() == 1
    rates.purge(at=now() + timedelta(days=1, minutes=1))
    assert not RequestRate.objects.exists()
