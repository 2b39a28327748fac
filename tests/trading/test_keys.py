"""Bots at the doors of trading: a key trades what its mode and scopes allow, on its owner's accounts alone."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from accounts.models import ApiKey, User
from nexus.idempotency.models import IdempotencyRecord
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.threads import together
from trading.models import TradeLedger, TradingAccount

ORDER = {"symbol": "EURUSD", "action": "BUY", "quantity": "0.1", "stop_loss": "1.0800"}
ALL = ["account:read", "orders:read", "orders:write:paper"]


def bot(user: User, **changes: Any) -> ApiClient:
    """Return a client that shows a key of this user."""
    body = {"name": "Bot", "mode": "paper", "scopes": ALL} | changes
    made = ApiClient().login(user).post("/auth/api-keys", body, idempotency_key=uuid.uuid4().hex)
    assert made.status_code == 201, made.content
    client = ApiClient()
    client.tokens = {"access_token": made.json()["secret"]}
    return client


def execute(client: ApiClient, *, key: str = "", **changes: Any) -> Any:
    return client.post("/trading/execute", ORDER | changes, idempotency_key=key or uuid.uuid4().hex)


def as_live(account: TradingAccount) -> None:
    TradingAccount.objects.filter(pk=account.pk).update(is_live=True)


def live_key() -> dict[str, Any]:
    return {
        "mode": "live", "scopes": ["orders:write:live", "orders:read"], "networks": ["127.0.0.1/32"],
        "expires_at": (now() + timedelta(days=30)).isoformat(),
    }  # fmt: skip


def test_a_bot_trades_on_paper_and_the_audit_names_the_key(trader, account, new_events):
    client = bot(trader)

    answer = execute(client)

    assert (answer.status_code, answer.json()["status"]) == (201, "FILLED")
    assert client.get(f"/trading/ledger/{answer.json()['id']}").status_code == 200
    key = ApiKey.objects.get()
    actors = {(event.actor_type, event.actor_id) for event in new_events() if event.object_type == "order"}
    assert ("api_key", str(key.public_id)) in actors
    assert TradeLedger.objects.get().user == trader


@pytest.mark.threat(14)
def test_a_paper_key_reaches_no_live_venue(trader, account):
    client = bot(trader)
    done = execute(client).json()
    position = client.get("/trading/positions").json()["results"][0]["id"]
    as_live(account)

    answers = [
        execute(client),
        client.post(f"/trading/positions/{position}/close", {}, idempotency_key=uuid.uuid4().hex),
        client.send("PATCH", f"/trading/positions/{position}", {"stop_loss": "1.0810"}),
    ]

    assert [(each.status_code, each.json()["code"]) for each in answers] == [(403, "key_mode_mismatch")] * 3
    assert client.get(f"/trading/ledger/{done['id']}").status_code == 404
    for path in ("/trading/accounts", "/trading/positions", "/trading/ledger"):
        assert client.get(path).json()["results"] == []
    assert client.get("/trading/quotes/EURUSD").status_code == 404
    assert TradeLedger.objects.count() == 1


@pytest.mark.threat(14)
def test_a_live_key_without_the_scope_trades_nothing(trader, account):
    client = bot(trader, **live_key())
    on_paper = execute(client)
    as_live(account)
    reading = execute(bot(trader, **(live_key() | {"scopes": ["orders:read"]})))

    for answer in (on_paper, reading):
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert not TradeLedger.objects.exists()


@pytest.mark.threat(21)
def test_all_ids_of_another_are_not_there(trader, account, new_events):
    mine = bot(trader)
    order = execute(mine).json()["id"]
    position = mine.get("/trading/positions").json()["results"][0]["id"]
    other = UserFactory.create()

    for client in (ApiClient().login(other), bot(other)):
        answers = [
            client.get(f"/trading/ledger/{order}"),
            client.get(f"/trading/ledger?before={order}"),
            client.post(f"/trading/orders/{order}/cancel", {}),
            client.send("PATCH", f"/trading/orders/{order}", {"stop_loss": "1.07"}),
            client.post(f"/trading/positions/{position}/close", {}, idempotency_key=uuid.uuid4().hex),
            client.send("PATCH", f"/trading/positions/{position}", {"stop_loss": "1.07"}),
            client.get(f"/trading/quotes/EURUSD?account={account.public_id}"),
            client.get(f"/trading/reconciliation/report?account={account.public_id}"),
            client.post("/trading/reconcile", {"account": str(account.public_id)}),
            execute(client, account=str(account.public_id)),
        ]
        assert [each.status_code for each in answers] == [404] * len(answers)
        for path in ("/trading/accounts", "/trading/positions", "/trading/ledger"):
            assert client.get(path).json()["results"] == []
    assert TradeLedger.objects.count() == 1


@pytest.mark.threat(15)
def test_30_orders_with_one_key_are_one_row(trader, account, paper):
    client, key = bot(trader), uuid.uuid4().hex

    answers = together(30, lambda _: execute(client, key=key))

    statuses = {each.status_code for each in answers}
    assert statuses <= {200, 201, 202, 409}
    assert {json.loads(each.content)["id"] for each in answers if each.status_code != 409} == {
        str(TradeLedger.objects.get().public_id)
    }
    assert len(paper.deals()) == 1
    assert IdempotencyRecord.objects.filter(object_type="order").count() == 1


@pytest.mark.threat(16)
def test_an_altered_body_under_the_same_key_is_refused_and_the_same_in_other_words_is_not(trader, account):
    client, key = bot(trader), uuid.uuid4().hex
    first = execute(client, key=key)

    for changes in (
        {"quantity": "0.2"},
        {"action": "SELL"},
        {"stop_loss": "1.0801"},
        {"account": str(account.public_id)},
    ):
        altered = execute(client, key=key, **changes)
        assert (altered.status_code, altered.json()["code"]) == (422, "idempotency_key_mismatch"), changes
    again = execute(client, key=key, quantity="0.10")

    assert (again.status_code, again["Idempotency-Replayed"]) == (201, "true")
    assert again.json()["id"] == first.json()["id"]
    assert TradeLedger.objects.count() == 1


def test_a_key_and_its_owner_share_one_record(trader, account):
    """Records belong to the account, not to the token or the key that a request came with."""
    key = uuid.uuid4().hex
    first = execute(bot(trader), key=key)

    again = execute(ApiClient().login(trader), key=key)

    assert (again.status_code, again["Idempotency-Replayed"], again.json()["id"]) == (201, "true", first.json()["id"])


def test_what_a_key_has_made_is_read_with_the_accounts(trader, account):
    """A round trip of its own would be a thirtieth of an order."""
    client, key = bot(trader), uuid.uuid4().hex

    with CaptureQueriesContext(connection) as first:
        made = execute(client, key=key)
    with CaptureQueriesContext(connection) as second:
        again = execute(client, key=key)

    assert (made.json()["status"], again["Idempotency-Replayed"]) == ("FILLED", "true")
    assert again.json()["id"] == made.json()["id"]
    for captured in (first, second):
        asking = [each["sql"] for each in captured.captured_queries if "idempotency_record.fingerprint" in each["sql"]]
        alone = [each["sql"] for each in captured.captured_queries if "SELECT fingerprint" in each["sql"]]
        assert (len(asking), "FROM trading_account" in asking[0], alone) == (1, True, [])
