"""The door of orders: what it refuses, in which words, and what it leaves behind."""

import uuid
from decimal import Decimal

import pytest
from django.db import InterfaceError, OperationalError

from accounts.states import Role
from nexus.audit.services import trail
from nexus.idempotency.models import IdempotencyRecord
from risk.models import UserDailyStats
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from trading.models import BrokerPosition, TradeLedger
from trading.services import facts

BRIEF = (
    '{"symbol": "EURUSD", "action": "BUY", "quantity": 0.1, "entry_price": 1.0850, "stop_loss": 1.0800, '
    '"take_profit": 1.0900}'
)


def send(client: ApiClient, body: str, *, key: str | None = None, **headers):
    return client.post("/trading/execute", body, idempotency_key=key or uuid.uuid4().hex, **headers)


@pytest.mark.parametrize("prefix", ["/api/v1", "/api"])
def test_the_brief_works_as_printed_on_both_prefixes(trader, paper, prefix):
    answer = send(ApiClient(prefix=prefix).login(trader), BRIEF)

    assert answer.status_code == 201
    order = answer.json()
    assert (order["status"], order["average_price"], order["filled_quantity"]) == ("FILLED", "1.085", "0.1")
    assert (order["quantity"], order["entry_price"], order["stop_loss"]) == ("0.1", "1.085", "1.08")
    assert [fill["price"] for fill in order["fills"]] == ["1.085"]
    assert {check["name"] for check in order["checks"]} >= {
        "TRADING_STATE", "QUOTE", "PRICE_COLLAR", "TRADE_VALUE_MAX", "POSITION_SIZE", "DAILY_LOSS",
    }  # fmt: skip
    loss = next(check for check in order["checks"] if check["name"] == "DAILY_LOSS")
    assert (loss["limit"], loss["used"], loss["asked"], loss["headroom"]) == ("1000", "0", "58.3", "1000")


def test_one_clock_dates_orders_whichever_server_is_asked(trader, paper, ahead):
    """Around midnight each server's own would name another day, and another row for the limits of day and hour."""
    client = ApiClient().login(trader)

    opened = send(client, BRIEF)
    path = f"/trading/positions/{BrokerPosition.objects.get().public_id}/close"
    closed = client.post(path, {}, idempotency_key=uuid.uuid4().hex)

    assert [answer.status_code for answer in (opened, closed)] == [201, 201]
    assert TradeLedger.objects.filter(created_at__lte=facts.database_clock()).count() == 2


@pytest.mark.parametrize("failure", [OperationalError, InterfaceError])
def test_a_refusal_that_cannot_be_kept_is_answered_as_a_database_that_is_down(client, monkeypatch, failure):
    def fail(**_: object) -> None:
        raise failure("the connection is lost")

    monkeypatch.setattr(trail, "record_denied", fail)

    answer = send(client, '{"symbol": "EURUSD", "action": "HOLD", "quantity": 0.1}')

    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_time_without_its_offset_is_refused_by_name(client, trader):
    body = '{"symbol": "EURUSD", "action": "BUY", "quantity": 0.1, "type": "LIMIT", "limit_price": 1.08, '
    placed = send(client, body + '"time_in_force": "GTD", "expires_at": "2100-01-01T00:00:00"}')
    listed = client.get("/trading/ledger?from=2026-01-05T12:00:00&to=2026-01-05T12:00:00Z")

    for answer, pointer in ((placed, "/expires_at"), (listed, "/from")):
        assert (answer.status_code, [each["pointer"] for each in answer.json()["errors"]]) == (400, [pointer])
        assert "offset" in answer.json()["errors"][0]["detail"]


BAD = [
    ('{"symbol": "NOSUCH", "action": "BUY", "quantity": 0.1}', 422, "symbol_unknown", "/symbol"),
    ('{"symbol": "EUR USD", "action": "BUY", "quantity": 0.1}', 400, "malformed", "/symbol"),
    ('{"symbol": "EURUSD", "action": "HOLD", "quantity": 0.1}', 400, "malformed", "/action"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": NaN}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": "NaN"}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": Infinity}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": -0.1}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": 0}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": 1e400}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": true}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": [1]}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": {"a": 1}}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": null}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY"}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": 0.1, "stop_loss": -1}', 400, "malformed", "/stop_loss"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": 0.1, "stop_loss": "1e-2"}', 400, "malformed", "/stop_loss"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": 0.001}', 422, "invalid", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": 0.1, "quantity": 0.2}', 400, "malformed", "/quantity"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": 0.1, "leverage": 500}', 400, "malformed", "/leverage"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": 0.1, "type": "ICEBERG"}', 400, "malformed", "/type"),
    ('{"symbol": "EURUSD", "action": "BUY", "quantity": 0.1, "account": "x"}', 400, "malformed", "/account"),
    ('{"symbol": "EURUSD\\u0000", "action": "BUY", "quantity": 0.1}', 400, "malformed", "/symbol"),
]


@pytest.mark.parametrize(("body", "status", "code", "pointer"), BAD)
def test_names_the_field_it_refuses_and_writes_nothing_but_the_event(
    client, paper, new_events, body, status, code, pointer
):
    already = len(new_events())

    answer = send(client, body)

    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["status"], problem["type"]) == (code, status, f"urn:nexus:problem:{code}")
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert problem["instance"] == f"urn:uuid:{answer['X-Request-ID']}"
    assert [event.action for event in new_events()[already:]] == ["order.refused"]
    assert not TradeLedger.objects.exists()
    assert not IdempotencyRecord.objects.exists()
    assert not UserDailyStats.objects.exists()
    assert paper.deals() == []


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        ('{"symbol": "EURUSD", ', "application/json", 400, "malformed"),
        ("", "application/json", 400, "malformed"),
        ("[]", "application/json", 400, "malformed"),
        ("[" * 2000 + "]" * 2000, "application/json", 400, "malformed"),
        ('{"symbol": "' + "A" * 70_000 + '"}', "application/json", 413, "body_too_large"),
        ("symbol=EURUSD", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ],
)
def test_refuses_a_body_it_cannot_read(client, body, content_type, status, code):
    answer = send(client, body, content_type=content_type)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not TradeLedger.objects.exists()


@pytest.mark.parametrize("key", [None, "short", "x" * 129, "with space in it", "emoji-🙂-key"])
def test_asks_for_an_idempotency_key(client, key):
    headers = {} if key is None else {"idempotency_key": key}

    answer = client.post("/trading/execute", BRIEF, **headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_required")
    assert not TradeLedger.objects.exists()


def test_a_repeated_request_returns_the_order_and_says_so(client, paper):
    key = uuid.uuid4().hex
    first = send(client, BRIEF, key=key)

    # The same numbers written otherwise are the same request.
    second = send(client, BRIEF.replace("0.1,", '"0.10",').replace("1.0850", "1.085"), key=key)

    assert second["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert second.json() == first.json()
    assert len(paper.deals()) == 1


def test_a_key_used_for_another_request_is_refused(client, paper):
    key = uuid.uuid4().hex
    send(client, BRIEF, key=key)

    answer = send(client, BRIEF.replace("0.1,", "0.2,"), key=key)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_mismatch")
    assert len(paper.deals()) == 1


def test_the_same_key_of_somebody_else_is_another_key(client, paper, trader):
    key = uuid.uuid4().hex
    send(client, BRIEF, key=key)
    other = ApiClient().login(UserFactory.create())

    answer = send(other, BRIEF, key=key)

    assert answer.status_code == 404  # has no account; the point is that no order of the first is shown
    assert "id" not in answer.json()


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.COMPLIANCE])
def test_operators_do_not_trade(paper, role):
    answer = send(ApiClient().login(UserFactory.create(role=role)), BRIEF)

    assert (answer.status_code, answer.json()["code"]) == (403, "denied")


def test_nobody_trades_without_a_token(paper):
    answer = send(ApiClient(), BRIEF)

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_a_lost_answer_is_202_and_unknown(client, paper):
    paper.control.inject("timeout_after_accept")

    answer = send(client, BRIEF)

    assert (answer.status_code, answer.json()["status"]) == (202, "UNKNOWN")


def test_a_broker_that_cannot_be_asked_admits_nothing(client, paper, trader, settings):
    send(client, BRIEF.replace("0.1,", "0.01,"))  # the instrument is known from here on
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"

    answer = send(client, BRIEF)

    order = answer.json()
    assert (answer.status_code, order["status"], order["rejected_by"]) == (201, "REJECTED", "LOCAL")
    assert order["reason"] == "BROKER_UNAVAILABLE"
    assert order["sent_at"] is None


def test_a_broker_that_was_never_asked_is_a_503_with_nothing_written(client, settings):
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"

    answer = send(client, BRIEF)

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert not TradeLedger.objects.exists()


def test_others_orders_do_not_exist(client, paper):
    order = send(client, BRIEF).json()
    other = ApiClient().login(UserFactory.create())
    operator = ApiClient().login(UserFactory.create(role=Role.OPERATOR))

    assert client.get(f"/trading/ledger/{order['id']}").json() == order
    assert other.get(f"/trading/ledger/{order['id']}").status_code == 404
    assert other.get(f"/trading/ledger/{uuid.uuid4()}").json()["code"] == "not_found"
    assert other.get("/trading/ledger").json() == {"results": [], "next": None}
    assert other.get("/trading/positions").json() == {"results": []}
    assert other.get("/trading/accounts").json() == {"results": []}
    assert operator.get(f"/trading/ledger/{order['id']}").status_code == 200


def test_the_ledger_pages_and_filters(client, paper, settings):
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    made = [send(client, BRIEF.replace("0.1,", "0.01,")).json()["id"] for _ in range(3)]
    rejected = send(client, BRIEF.replace("1.0800", "1.0990")).json()["id"]

    first = client.get("/trading/ledger?limit=2").json()
    second = client.get(f"/trading/ledger?limit=2&before={first['next']}").json()

    assert [row["id"] for row in first["results"] + second["results"]] == [rejected, *reversed(made)]
    assert second["next"] is None
    ids = [row["id"] for row in client.get("/trading/ledger?status=REJECTED").json()["results"]]
    assert ids == [rejected]
    assert client.get("/trading/ledger?symbol=USDJPY").json()["results"] == []
    assert client.get("/trading/ledger?from=2100-01-01T00:00:00Z").json()["results"] == []
    assert len(client.get("/trading/ledger?to=2100-01-01T00:00:00Z").json()["results"]) == 4
    for query in ("limit=0", "limit=201", "status=OPEN", "nonsense=1", "before=x", "from=yesterday"):
        assert client.get(f"/trading/ledger?{query}").status_code == 400, query


def test_positions_carry_the_brokers_own_mark(client, paper, settings):
    send(client, BRIEF)
    paper.quote("EURUSD", "1.08600", "1.08610")

    (row,) = client.get("/trading/positions").json()["results"]

    assert (row["symbol"], row["side"], row["quantity"], row["price_open"]) == ("EURUSD", "BUY", "0.1", "1.085")
    assert (row["price_current"], row["profit"], row["is_live"]) == ("1.086", "10", True)
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"
    (row,) = client.get("/trading/positions").json()["results"]
    assert (row["quantity"], row["price_current"], row["profit"], row["is_live"]) == ("0.1", None, None, False)


def test_accounts_carry_live_figures(client, paper):
    (row,) = client.get("/trading/accounts").json()["results"]

    assert (row["balance"], row["equity"], row["currency"], row["mode"]) == ("100000", "100000", "USD", "HEDGING")


def test_quotes(client, paper):
    quote = client.get("/trading/quotes/EURUSD").json()

    assert (quote["symbol"], quote["bid"], quote["ask"]) == ("EURUSD", "1.0849", "1.085")
    assert client.get("/trading/quotes/NOSUCH").status_code == 404
    assert client.get("/trading/quotes/EUR%20USD").status_code == 400
