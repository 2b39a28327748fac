"""API keys: shown once, bound to a mode, scopes and addresses, narrowed and never widened, dead with their owner."""

import json
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from accounts.models import ApiKey, User
from accounts.services import keys, staffing, step_up
from accounts.services.tokens import TokenInvalid
from accounts.states import KeyMode, Role, Scope
from nexus.alerts.models import Alert
from nexus.audit.models import Pii
from nexus.core import statements
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.threads import together

READS = ["account:read", "orders:read"]
PAPER = [*READS, "orders:write:paper"]
PATH = "/auth/api-keys"


@pytest.fixture
def trader(transactional_db: None) -> User:
    return UserFactory.create()


@pytest.fixture
def client(trader: User) -> ApiClient:
    return ApiClient().login(trader)


@pytest.fixture
def without_codes(monkeypatch):
    """Let everybody pass who would need a code: 30 at once would lock one another's codes, which is another test."""
    monkeypatch.setattr(step_up, "require", lambda *_, **__: None)


def make(client: ApiClient, *, key: str = "", **changes: Any) -> Any:
    body = {"name": "My bot", "mode": "paper", "scopes": PAPER} | changes
    return client.post(PATH, body, idempotency_key=key or uuid.uuid4().hex)


def live(**changes: Any) -> dict[str, Any]:
    in_a_month = (now() + timedelta(days=30)).isoformat()
    return {
        "mode": "live", "scopes": ["orders:write:live"], "networks": ["127.0.0.0/24"], "expires_at": in_a_month,
    } | changes  # fmt: skip


def bot(secret: str) -> ApiClient:
    client = ApiClient()
    client.tokens = {"access_token": secret}
    return client


def test_it_is_shown_once_and_kept_as_a_hash(client, trader, new_events):
    answer = make(client)

    body = answer.json()
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    kind, mode, key_id, rest = body["secret"].split("_", 3)
    assert (kind, mode, len(key_id), len(rest)) == ("nxk", "paper", 16, 49)
    assert bot(body["secret"]).get("/trading/ledger").status_code == 200
    key = ApiKey.objects.get()
    assert (key.user, key.key_id, len(bytes(key.secret_sha256))) == (trader, key_id, 32)
    listed = client.get(PATH)
    assert [row["id"] for row in listed.json()["results"]] == [body["id"]]
    assert rest[:43] not in listed.content.decode() + "".join(event.canonical for event in new_events())
    assert "accounts.api_key.created" in [event.action for event in new_events()]


@pytest.mark.threat(15)
def test_30_creations_with_one_idempotency_key_make_one_row_and_show_one_secret(trader, client, without_codes):
    name = uuid.uuid4().hex

    answers = together(30, lambda _: make(client, key=name))

    statuses = sorted(each.status_code for each in answers)
    assert statuses.count(201) == 1
    assert set(statuses) <= {200, 201, 409}
    assert ApiKey.objects.count() == 1
    assert sum(bool(each.json().get("secret")) for each in answers) == 1


@pytest.mark.threat(16)
def test_a_repetition_shows_no_secret_and_another_body_is_refused(client):
    first = make(client, key="one-and-the-same")

    client.shows_codes = False
    again = make(client, key="one-and-the-same")
    other = make(client, key="one-and-the-same", name="Another")

    assert (again.status_code, again["Idempotency-Replayed"]) == (200, "true")
    assert (again.json()["id"], again.json()["secret"]) == (first.json()["id"], None)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_mismatch")
    assert make(client, key="a-fresh-one").status_code == 401  # only a repetition needs no code
    assert ApiKey.objects.count() == 1


def test_who_may_be_known_takes_one_query(client, monkeypatch):
    secret = make(client).json()["secret"]
    keys.identify(text=secret, ip="127.0.0.1", at=now())
    asked: list[str] = []
    fetch = statements.fetch

    def counted(query: Any, *args: Any) -> Any:
        asked.append(query)
        return fetch(query, *args)

    monkeypatch.setattr(statements, "fetch", counted)
    with CaptureQueriesContext(connection) as others:
        keys.identify(text=secret, ip="127.0.0.1", at=now())

    assert len(asked) == 1
    assert [each["sql"] for each in others if "api_key" not in each["sql"]] == []


def test_unknown_wrong_expired_and_revoked_look_the_same(client, trader):
    secret = make(client).json()["secret"]
    unknown = secret[:10] + ("B" if secret[10] != "B" else "C") + secret[11:-6]
    wrong = secret[:-7] + ("B" if secret[-7] != "B" else "C")
    bodies: list[Any] = []
    forged = (secret[:-1] + "!", unknown + keys._checksum(unknown), wrong + keys._checksum(wrong), "nxk_", secret[:-6])
    bodies.extend(bot(each).get("/trading/ledger") for each in forged)
    ApiKey.objects.update(expires_at=now() - timedelta(seconds=1))
    bodies.append(bot(secret).get("/trading/ledger"))
    ApiKey.objects.update(expires_at=None, revoked_at=now(), revoke_reason="x")
    bodies.append(bot(secret).get("/trading/ledger"))
    ApiKey.objects.update(revoked_at=None, revoke_reason="")
    assert bot(secret).get("/trading/ledger").status_code == 200
    as_live = secret.replace("_paper_", "_live_")[:-6]
    bodies.append(bot(as_live + keys._checksum(as_live)).get("/trading/ledger"))
    User.objects.filter(pk=trader.pk).update(is_active=False)
    bodies.append(bot(secret).get("/trading/ledger"))

    assert {each.status_code for each in bodies} == {401}
    texts = {json.dumps({**each.json(), "instance": ""}, sort_keys=True) for each in bodies}
    assert len(texts) == 1


@pytest.mark.threat(13)
def test_a_leaked_key_is_worth_nothing_elsewhere_and_people_are_told(client, new_events):
    secret = make(client, scopes=READS, networks=["203.0.113.0/24"]).json()["secret"]

    answer = bot(secret).get("/trading/ledger")

    assert (answer.status_code, answer.json()["code"]) == (403, "ip_not_allowed")
    assert Alert.objects.get().kind == "API_KEY_ADDRESS"
    (event,) = (each for each in new_events() if each.action == "auth.api_key.address_denied")
    assert (event.actor_type, event.outcome, "127.0.0.1" in event.canonical) == ("api_key", "denied", False)


def test_where_a_bot_lives_stands_in_the_log_where_it_can_be_erased(client, new_events):
    made = make(client, **live(networks=["127.0.0.0/24"])).json()
    narrowed = client.send("PATCH", f"{PATH}/{made['id']}", {"networks": ["127.0.0.1/32"]})

    assert narrowed.status_code == 200
    told = [event for event in new_events() if event.action.startswith("accounts.api_key")]
    assert [event.action.rpartition(".")[2] for event in told] == ["created", "narrowed"]
    assert not [event.action for event in told if "127.0.0" in event.canonical]
    kept = [json.loads(Pii.objects.get(event=event).data)["networks"] for event in told]
    assert kept == [["127.0.0.0/24"], {"before": ["127.0.0.0/24"], "after": ["127.0.0.1/32"]}]


@pytest.mark.threat(13)
def test_no_scope_takes_money_out_or_touches_people_or_keys(client, trader):
    for scope in ("withdrawals:write", "keys:write", "audit:read", "*"):
        assert make(client, scopes=[scope]).status_code == 400
    assert set(Scope.values) == {"account:read", "orders:read", "orders:write:paper", "orders:write:live"}
    secret = make(client).json()["secret"]
    for path in ("/auth/profile", PATH, "/users", "/approvals"):
        answer = bot(secret).get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    for path in (PATH, "/auth/revoke-all", "/auth/logout", "/system/emergency-stop", "/system/resume"):
        answer = bot(secret).post(path, {"reason": "x"}, idempotency_key="12345678")
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    with pytest.raises(DatabaseError, match="api_key_scopes_known"), transaction.atomic():
        ApiKey.objects.update(scopes=["withdrawals:write"])


def test_a_key_does_what_its_scopes_say(client, new_events):
    secret = make(client, scopes=["account:read"]).json()["secret"]

    assert bot(secret).get("/trading/accounts").status_code == 200
    for answer in (bot(secret).get("/trading/ledger"), bot(secret).post("/trading/execute", {})):
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    denied = [each for each in new_events() if each.outcome == "denied"]
    assert {each.actor_type for each in denied} == {"api_key"}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"networks": []}, "/networks"),
        ({"networks": ["10.0.0.0/23"]}, "/networks/0"),
        ({"networks": ["2001:db8::/47"]}, "/networks/0"),
        ({"networks": ["10.0.0.1/24"]}, "/networks/0"),
        ({"networks": ["0.0.0.0/0"]}, "/networks/0"),
        ({"expires_at": None}, "/expires_at"),
        ({"expires_at": "2099-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"mode": "paper"}, "/scopes"),
    ],
)
def test_a_key_for_money_is_bound(client, changes, pointer):
    answer = make(client, **live(**changes))

    assert answer.status_code == 422
    assert pointer in [each["pointer"] for each in answer.json()["errors"]]
    assert not ApiKey.objects.exists()


def test_a_key_for_money_that_is_bound_is_made_and_the_table_holds_it_so(client):
    assert make(client, **live()).status_code == 201
    loose: list[dict[str, Any]] = [{"networks": []}, {"expires_at": None}, {"mode": "paper"}]
    for changes in loose:
        with pytest.raises(DatabaseError, match="api_key_live_is_bound"), transaction.atomic():
            ApiKey.objects.update(**changes)


def test_ten_keys_and_not_one_more_however_many_ask_at_once(trader, client, without_codes):
    together(14, lambda _: make(client))

    assert ApiKey.objects.count() == 10
    answer = make(client)
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_api_keys")
    ApiKey.objects.update(revoked_at=now(), revoke_reason="x")
    assert make(client).status_code == 429  # and ten a day


def test_ten_are_made_in_a_day_however_many_ask_at_once(client, without_codes, monkeypatch):
    monkeypatch.setattr(keys, "KEYS_MAX", 100)

    answers = together(14, lambda _: make(client))

    assert Counter(each.status_code for each in answers) == {201: 10, 429: 4}
    refused = next(each for each in answers if each.status_code == 429)
    assert (refused["Content-Type"], refused.json()["code"]) == ("application/problem+json", "rate_limited")
    assert 86_000 < int(refused["Retry-After"]) <= 86_400
    assert refused["RateLimit-Policy"] == '"api_keys";q=10;w=86400'
    first = ApiKey.objects.order_by("created_at", "pk").first()
    assert first is not None
    ApiKey.objects.filter(pk=first.pk).update(created_at=now() - timedelta(days=1))
    assert [make(client).status_code for _ in range(2)] == [201, 429]


@pytest.mark.parametrize(
    "wider",
    [
        {"scopes": [*PAPER, "orders:write:live"]}, {"networks": []}, {"networks": ["203.0.112.0/24"]},
        {"networks": ["203.0.113.0/25", "198.51.100.1/32"]}, {"expires_at": "2099-01-01T00:00:00Z"},
    ],
)  # fmt: skip
def test_an_edit_narrows_and_never_widens(client, wider):
    soon = (now() + timedelta(days=3)).isoformat()
    made = make(client, networks=["203.0.113.0/24"], expires_at=soon).json()
    path = f"{PATH}/{made['id']}"

    refused = client.send("PATCH", path, wider)
    narrowed = client.send("PATCH", path, {"scopes": READS, "networks": ["203.0.113.8/32"], "name": "Less"})

    assert (refused.status_code, refused.json()["code"]) == (409, "api_key_widened")
    assert narrowed.status_code == 200
    assert (narrowed.json()["scopes"], narrowed.json()["networks"]) == (READS, ["203.0.113.8/32"])


def test_a_rotated_key_and_its_successor_overlap(client, trader):
    old = make(client).json()
    path = f"{PATH}/{old['id']}/rotate"

    assert client.post(path, {"overlap_s": 24 * 3600 + 1}, idempotency_key="12345678").status_code == 400
    new = client.post(path, {"overlap_s": 3600}, idempotency_key="12345678")

    assert new.status_code == 201
    at = now()
    for text in (old["secret"], new.json()["secret"]):
        assert keys.identify(text=text, ip="127.0.0.1", at=at)[0] == trader
    later = at + timedelta(hours=2)
    with pytest.raises(TokenInvalid):
        keys.identify(text=old["secret"], ip="127.0.0.1", at=later)
    assert keys.identify(text=new.json()["secret"], ip="127.0.0.1", at=later)[1].mode is KeyMode.PAPER


@pytest.mark.threat(21)
def test_others_keys_are_not_there(client):
    mine = make(client).json()["id"]
    stranger = ApiClient().login(UserFactory.create())

    assert stranger.get(PATH).json()["results"] == []
    for method, path in (("PATCH", ""), ("POST", "/rotate"), ("POST", "/revoke")):
        answer = stranger.send(
            method, f"{PATH}/{mine}{path}", {"reason": "x"} if path == "/revoke" else {}, idempotency_key="12345678"
        )
        assert answer.status_code == 404


def test_it_is_revoked_by_its_owner_or_an_operator_and_dead_at_once(client):
    operator = ApiClient().login(UserFactory.create(role=Role.OPERATOR))
    for who in (client, operator):
        made = make(client).json()
        assert bot(made["secret"]).get("/trading/ledger").status_code == 200
        assert who.post(f"{PATH}/{made['id']}/revoke", {"reason": "Lost."}).status_code == 200
        assert bot(made["secret"]).get("/trading/ledger").status_code == 401


@pytest.mark.threat(10)
@pytest.mark.parametrize("how", ["revoke-all", "role", "deactivate"])
def test_keys_die_with_what_their_owner_was(client, trader, how, new_events):
    secret = make(client).json()["secret"]
    first, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
    if how == "revoke-all":
        client.post("/auth/revoke-all")
    else:
        asked = {"public_id": trader.public_id, "reason": "x", "by": first, "at": now()}
        request = (
            staffing.ask_for_role(role=Role.BOT, **asked) if how == "role" else staffing.ask_to_deactivate(**asked)
        )
        answer = ApiClient().login(second).post(f"/approvals/{request.public_id}/approve", {"reason": "Agreed."})
        assert answer.status_code == 200

    assert bot(secret).get("/trading/ledger").status_code == 401
    assert ApiKey.objects.get().revoked_at is not None
    (told,) = (event for event in new_events() if event.action == "auth.sessions.revoked")
    assert json.loads(told.canonical)["detail"]["api_keys_ended"] == 1


def test_a_rotation_says_when_the_old_key_ends_and_by_which_it_is_followed(client, new_events):
    old = make(client).json()
    new = client.post(f"{PATH}/{old['id']}/rotate", {"overlap_s": 60}, idempotency_key=uuid.uuid4().hex).json()

    (told,) = (event for event in new_events() if event.action == "accounts.api_key.rotated")
    detail = json.loads(told.canonical)["detail"]
    assert (told.object_id, detail["successor"], detail["before"]["expires_at"]) == (old["id"], new["id"], None)
    ends = ApiKey.objects.get(public_id=old["id"]).expires_at
    assert ends is not None
    assert detail["after"]["expires_at"] == ends.isoformat()


def test_its_use_is_noted_once_a_minute(client):
    secret = make(client).json()["secret"]
    at = now()
    seen = []
    for seconds in (0, 30, 59, 60, 90):
        keys.identify(text=secret, ip="127.0.0.1", at=at + timedelta(seconds=seconds))
        seen.append(ApiKey.objects.get().last_used_at)

    assert seen == [at, at, at, at + timedelta(minutes=1), at + timedelta(minutes=1)]
