"""The network fails in three ways for an order and in one for a reading, and never makes us send again."""

import json
import socket
import threading
from contextlib import ExitStack, contextmanager

import pytest

from nexus.core.errors import OutcomeUnknown, Unreachable
from trading.brokers import base
from trading.brokers.mt5.client import GatewayClient


@contextmanager
def listening(*scripts):
    """Serve one connection per script; a script gets the connection and what was read, and does as it likes."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    seen: list[bytes] = []

    def serve():
        for script in scripts:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                script(connection, seen)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.close()
        thread.join()


def read_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(status, body, *, times=1, head=""):
    """Answer each request on the connection with the same words."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def script(connection, seen):
        for _ in range(times):
            request = read_request(connection)
            if not request:
                return
            seen.append(request)
            connection.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw)}\r\n{head}\r\n".encode() + raw)

    return script


def hang_up(connection, seen):
    seen.append(read_request(connection))


def reset(connection, seen):
    seen.append(read_request(connection))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def never_answer(connection, seen):
    seen.append(read_request(connection))
    connection.recv(1)


def stop_half_way(connection, seen):
    seen.append(read_request(connection))
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"state": "RES')


def talk_nonsense(connection, seen):
    seen.append(read_request(connection))
    connection.sendall(b"220 mail.example ESMTP\r\n")


LOST = [
    hang_up,
    reset,
    never_answer,
    stop_half_way,
    talk_nonsense,
    answer(200, b"not json"),
    answer(200, []),
    answer(200, b""),
    answer(500, {"error": "internal", "sent": None}),
    answer(504, {"error": "deadline", "sent": None}),
    answer(502, b"<html>a proxy</html>"),
    answer(503, {"error": "busy"}),
    answer(401, {"sent": "false"}),
]


@pytest.fixture
def client():
    with ExitStack() as stack:

        def make(url, deadline_s=0.1):
            client = GatewayClient(url=url, token="t", deadline_s=deadline_s)
            stack.callback(client.close)
            return client

        yield make


@pytest.mark.parametrize("script", LOST)
def test_an_order_without_an_answer_that_counts_is_unknown_and_is_not_sent_again(client, script):
    with listening(script) as (url, seen), pytest.raises(OutcomeUnknown):
        client(url).send("/v1/order_send", {"intent_id": "i"}, correlation_id="c")

    assert len(seen) == 1


@pytest.mark.parametrize("script", [*LOST, answer(503, {"sent": False})])
def test_a_reading_without_an_answer_is_unreachable(client, script):
    with listening(script) as (url, _), pytest.raises(Unreachable):
        client(url).read("/v1/batch", [], correlation_id="c")


@pytest.mark.parametrize(("part", "said"), [(0.9, "a moment ago"), (0.4, "a moment ago"), (0.1, "timed out")])
def test_whoever_had_a_good_part_of_the_deadline_knows_that_a_gateway_is_silent(client, part, said):
    """A door has a little less than the whole always: without it each request would wait for one that hangs."""
    with listening(never_answer, never_answer) as (url, _):
        silent = client(url, deadline_s=0.4)
        with base.answering(within_s=0.4 * part), pytest.raises(Unreachable):
            silent.read("/v1/batch", [], correlation_id="t")

        with base.answering(within_s=0.2), pytest.raises(Unreachable, match=said):
            silent.read("/v1/batch", [], correlation_id="t")


def test_of_those_who_take_risk_away_one_at_a_time_asks_a_silent_gateway(client):
    """All of them would keep the web server's threads waiting, and an emergency stop behind them."""
    said: list[str] = []

    def close(silent):
        with base.patiently(within_s=0.4), pytest.raises(Unreachable) as why:
            silent.read("/v1/batch", [], correlation_id="t")
        said.append("at once" if "a moment ago" in str(why.value) else "in vain")

    with listening(*[never_answer] * 4) as (url, seen):
        silent = client(url, deadline_s=0.4)
        with pytest.raises(Unreachable):
            silent.read("/v1/batch", [], correlation_id="t")
        together = [threading.Thread(target=close, args=(silent,)) for _ in range(3)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
        assert said == ["at once", "at once", "in vain"]

        close(silent)
    assert said[-1] == "in vain"
    assert len(seen) == 3


def test_a_gateway_that_has_answered_is_silent_no_more(client):
    with listening(never_answer, answer(200, {"n": 1}, times=2)) as (url, _):
        ours = client(url, deadline_s=0.4)
        with pytest.raises(Unreachable):
            ours.read("/v1/batch", [], correlation_id="t")
        with base.patiently(within_s=0.4):
            ours.read("/v1/batch", [], correlation_id="t")

        assert ours.read("/v1/batch", [], correlation_id="t") == {"n": 1}
        ours.close()


@pytest.mark.parametrize("status", [400, 401, 409, 413, 503, 504])
def test_an_order_that_the_gateway_swears_it_did_not_send_may_be_sent_again(client, status):
    script = answer(status, {"error": "e", "detail": "d", "sent": False})

    with listening(script) as (url, _), pytest.raises(Unreachable):
        client(url).send("/v1/order_send", {}, correlation_id="c")


def test_nobody_listening_means_that_nothing_left_us(client):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

    with pytest.raises(Unreachable):
        client(url).send("/v1/order_send", {}, correlation_id="c")
    with pytest.raises(Unreachable):
        client(url).read("/v1/batch", [], correlation_id="c")


def test_keeps_one_connection_for_many_calls(client):
    with listening(answer(200, {"n": 1}, times=5)) as (url, seen):
        ours = client(url)
        for _ in range(5):
            ours.send("/v1/order_send", {}, correlation_id="c")
        ours.close()

    assert len(seen) == 5


def test_does_not_send_over_a_connection_that_the_other_side_has_closed(client):
    with listening(answer(200, {"n": 1}), answer(200, {"n": 2})) as (url, seen):
        ours = client(url)
        assert ours.send("/v1/order_send", {}, correlation_id="c") == {"n": 1}
        while seen and ours._idle and is_open(ours._idle[0][1].sock):
            pass

        assert ours.send("/v1/order_send", {}, correlation_id="c") == {"n": 2}


def is_open(connection):
    connection.settimeout(0)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True


def test_does_not_use_a_connection_that_lay_idle_too_long(client, monkeypatch):
    monkeypatch.setattr("trading.brokers.mt5.client.IDLE_S_MAX", -1.0)
    with listening(answer(200, {"n": 1}, times=2), answer(200, {"n": 2})) as (url, _):
        ours = client(url)

        assert [ours.read("/v1/batch", [], correlation_id="c")["n"] for _ in range(2)] == [1, 2]


def test_says_who_asks_for_how_long_and_for_which_story(client):
    with listening(answer(200, {})) as (url, seen):
        client(url, deadline_s=1.5).send("/v1/order_send", {"a": 0.1}, correlation_id="story-1")

    lines = seen[0].split(b"\r\n")
    assert {b"Authorization: Bearer t", b"X-Deadline-Ms: 1500", b"X-Correlation-ID: story-1"} <= set(lines)
    assert lines[-1] == b'{"a": 0.1}'


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "http://127.0.0.1", "127.0.0.1:80", "http://:80", ""])
def test_refuses_addresses_that_it_cannot_reach_safely(url):
    with pytest.raises(ValueError):
        GatewayClient(url=url, token="t", deadline_s=1)


class _TakenMeanwhile(list[object]):
    """Idle connections of which another thread takes the last one just after this one has looked."""

    def __bool__(self):
        return True


def test_another_thread_may_take_the_last_idle_connection_meanwhile(client):
    with listening(answer(200, {"a": 1})) as (url, _):
        caller = client(url)
        caller._idle = _TakenMeanwhile()

        assert caller.read("/v1/batch", [], correlation_id="c") == {"a": 1}
        caller.close()
