"""The gateway's door: who may come in, what may be asked, and that a hung terminal hangs nobody else."""

import http.client
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from tests.trading.brokers.mt5.fake_terminal import LOGIN, SERVER
from tests.trading.brokers.mt5.gateway_in_thread import TOKEN
from trading.brokers.mt5 import client
from trading.brokers.mt5.gateway.server import CONNECTIONS_MAX, Server

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def ask(running):
    """Ask the gateway; return the status and the document."""
    address = urlsplit(running.url)

    def ask(path, body=None, *, method="POST", headers=BEARER, raw=None):
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=5)
        try:
            content = raw if raw is not None else json.dumps({} if body is None else body)
            connection.request(method, path, body=content, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    return ask


def intent(intent_id="i1", **changes):
    request = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "price": 1.10012, "sl": 0.0, "tp": 0.0}
    return {"intent_id": intent_id, "request": request | {"magic": 5, "comment": "c"} | changes}


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"},
     {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Bearer {TOKEN[:-1]}"}],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/health", "/v1/call/account_info", "/v1/order_send", "/v1/intents/i1/settle"])
def test_lets_nobody_in_without_the_token(ask, terminal, running, headers, path):
    method = "GET" if path == "/v1/health" else "POST"

    status, body = ask(path, intent(), method=method, headers=headers)

    assert (status, body["error"], body["sent"]) == (401, "not_authenticated", False)
    assert terminal.sent == []
    assert running.journal.find("i1") is None


@pytest.mark.parametrize(
    "function", ["order_send", "Buy", "Sell", "Close", "initialize", "login", "shutdown", "last_error", "__init__", ""]
)
def test_calls_only_what_is_on_the_list(ask, terminal, function):
    assert ask(f"/v1/call/{function}")[0] == 404
    assert ask("/v1/batch", [{"function": function}])[0] == 404
    assert terminal.sent == []


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("{", 400),
        ("[" * 100_000, 400),
        ('{"args": NaN}', 400),
        ("[]", 400),
        ('"text"', 400),
        ('{"args": 1}', 400),
        ('{"kwargs": []}', 400),
        ('{"where": {"magic": 5}}', 400),
        ("x" * (256 * 1024 + 1), 413),
    ],
)
def test_refuses_bodies_that_are_no_call(ask, raw, status):
    assert ask("/v1/call/account_info", raw=raw)[0] == status


def test_refuses_a_body_of_unknown_length(ask):
    assert ask("/v1/call/account_info", headers=BEARER | {"Transfer-Encoding": "chunked"}, raw=b"0\r\n\r\n")[0] == 411


@pytest.mark.parametrize("deadline", ["0", "-1", "x", "60001", "1.5"])
def test_refuses_deadlines_that_are_none(ask, deadline):
    assert ask("/v1/call/account_info", headers=BEARER | {"X-Deadline-Ms": deadline})[0] == 400


@pytest.mark.parametrize("intent_id", ["", "a" * 65, "a/b", "ä", None, 5])
def test_refuses_an_intent_without_a_proper_name(ask, terminal, intent_id):
    assert ask("/v1/order_send", intent(intent_id))[0] == 400
    assert terminal.sent == []


def test_answers_with_plain_data_and_says_who_answered(ask):
    status, body = ask("/v1/call/account_info")

    assert status == 200
    assert (body["ok"], body["last_error"], body["login"], body["server"]) == (True, [1, "Success"], LOGIN, SERVER)
    assert body["result"]["equity"] == 10000.1
    assert abs(body["gateway_utc"] - time.time()) < 5
    assert body["call_ms"] >= 0


def test_sends_wide_integers_as_text_and_takes_them_back(ask, terminal):
    ask("/v1/order_send", intent())
    _, body = ask("/v1/call/positions_get", {"kwargs": {"ticket": str(2**53 + 12)}})

    assert body["result"][0]["ticket"] == str(2**53 + 12)
    assert body["result"][0]["magic"] == 5


def test_tells_a_failure_from_an_empty_answer(ask, terminal):
    assert ask("/v1/call/orders_get")[1]["result"] == []

    terminal.none_from.add("orders_get")
    _, body = ask("/v1/call/orders_get")

    assert (body["ok"], body["result"], body["last_error"]) == (False, None, [-10002, "IPC recv failed"])


def test_a_batch_is_one_unit_that_nobody_enters(ask, terminal):
    calls = [{"function": name} for name in ("account_info", "positions_get", "terminal_info")]
    results = []

    threads = [threading.Thread(target=lambda: results.append(ask("/v1/batch", calls))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results) == 12
    assert all(status == 200 and len(body["results"]) == 3 and body["ok"] for status, body in results)
    assert terminal.overlaps == 0


def test_keeps_of_a_listing_what_was_asked_for(ask, terminal):
    for number in (1, 2, 3):
        ask("/v1/order_send", intent(f"i{number}", magic=number, comment=f"c{number}"))
    now = int(time.time())
    bounds = [now - 90_000, now + 90_000]

    where = {"magic": ["1"], "comment": ["c3"]}
    _, body = ask("/v1/call/history_deals_get", {"args": bounds, "where": where})

    assert [deal["magic"] for deal in body["result"]] == [1, 3]


@pytest.mark.parametrize("size", [0, 65])
def test_bounds_the_size_of_a_batch(ask, size):
    assert ask("/v1/batch", [{"function": "account_info"}] * size)[0] == 400


def test_a_hung_call_hangs_only_its_caller(ask, terminal, running):
    terminal.hang.clear()
    impatient = BEARER | {"X-Deadline-Ms": "80"}

    status, body = ask("/v1/order_send", intent("hung"), headers=impatient)
    assert (status, body["error"], body["sent"]) == (504, "deadline", None)

    status, body = ask("/v1/order_send", intent("waits"), headers=impatient)
    assert (status, body["sent"]) == (504, False)  # it never began, and never will
    assert ask("/v1/call/account_info", headers=impatient)[0] == 504
    status, health = ask("/v1/health", method="GET")
    assert (status, health["calling"]) == (200, 1)
    assert health["busy_s"] >= 0.2
    assert ask("/v1/intents/hung/settle")[1]["state"] == "CALLING"

    terminal.hang.set()
    assert ask("/v1/call/account_info")[0] == 200
    assert ask("/v1/intents/hung/settle")[1]["state"] == "RESULT"
    assert ask("/v1/intents/waits/settle")[1]["state"] == "TOMBSTONE"
    assert [request["symbol"] for request in terminal.sent] == ["EURUSD"]


def test_health_names_the_account_and_turns_when_a_call_hangs(ask, terminal, running, monkeypatch):
    ask("/v1/call/account_info")
    assert ask("/v1/health", method="GET")[1]["status"] == "ok"

    monkeypatch.setattr(running.worker, "busy_s", lambda: 6.0)

    _, health = ask("/v1/health", method="GET")
    assert (health["status"], health["login"], health["server"]) == ("degraded", LOGIN, SERVER)


def test_writes_the_correlation_id_and_no_secret_to_its_log(ask, capsys):
    ask("/v1/order_send", intent("logged"), headers=BEARER | {"X-Correlation-ID": "story-1"})
    ask("/v1/order_send", intent("odd"), headers=BEARER | {"X-Correlation-ID": "a b\tc"})

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    story = [line["event"] for line in lines if line.get("correlation_id") == "story-1"]
    assert story == ["gateway.intent.calling", "gateway.intent.answered"]
    assert TOKEN not in str(lines)
    assert "a b" not in str(lines)


@pytest.mark.parametrize(("path", "method"), [("/", "GET"), ("/v1/", "POST"), ("/v1/intents/a/b/settle", "POST")])
def test_knows_no_other_paths(ask, path, method):
    assert ask(path, method=method)[0] == 404


def test_shows_figures_to_prometheus(running, ask):
    ask("/v1/order_send", intent("counted"))
    ask("/v1/order_send", intent("refused", volume=50.0))
    ask("/nobody/knows")

    page = fetch(running, "/metrics", TOKEN)

    for line in (
        "nexus_gateway_up 1",
        'nexus_gateway_intents_total{action="1",state="RESULT"} 1',
        'nexus_gateway_intents_total{action="1",state="REFUSED"} 1',
        'nexus_gateway_refusals_total{code="LOTS_EXCEED_LIMIT",stage="limits"} 1',
        'nexus_gateway_answers_total{code="10009"} 1',
        'nexus_gateway_requests_total{path="/v1/order_send",status="200"} 2',
        'nexus_gateway_requests_total{path="other",status="404"} 1',
        "nexus_gateway_send_seconds_count 1",
        "nexus_gateway_intents_calling 0",
        "nexus_gateway_reconcile_first 0",
    ):
        assert line in page.splitlines()


def fetch(running, path, token):
    address = urlsplit(running.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        assert answer.headers["Content-Type"].startswith("text/plain" if answer.status == 200 else "application/json")
        return answer.read().decode()
    finally:
        connection.close()


def test_a_token_for_figures_opens_nothing_else(running, ask, terminal):
    running.server.metrics_token = "a-token-that-only-reads-figures"
    only_figures = {"Authorization": "Bearer a-token-that-only-reads-figures"}

    assert "nexus_gateway_up" in fetch(running, "/metrics", "a-token-that-only-reads-figures")
    assert ask("/v1/health", method="GET", headers=only_figures)[0] == 200
    for path in ("/v1/order_send", "/v1/call/account_info", "/v1/intents/i1/settle"):
        assert ask(path, intent(), headers=only_figures)[0] == 401
    assert terminal.sent == []


def test_asks_windows_to_have_its_address_alone(running, monkeypatch):
    # There, and there only, an address that may be used again can be taken by a second gateway.
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, raising=False)

    with Server(("127.0.0.1", 0), gateway=running.server.gateway, token=TOKEN) as server:
        assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0


def test_sixteen_processes_of_nexus_find_room_and_who_finds_none_is_told_at_once(ask, running):
    address = urlsplit(running.url)
    held: list[socket.socket] = []

    def hold(connections):
        place = (address.hostname, address.port)
        held.extend(socket.create_connection(place, timeout=5) for _ in range(connections))

    try:
        hold(16 * client.POOL_MAX - 1)
        assert ask("/v1/health", method="GET")[0] == 200
        hold(CONNECTIONS_MAX)
        with pytest.raises(OSError):
            ask("/v1/health", method="GET")
    finally:
        for each in held:
            each.close()
