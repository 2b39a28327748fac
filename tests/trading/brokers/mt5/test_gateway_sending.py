"""One intent, one call: duplicates, limits, identity, and everything that must stop a send before it happens."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest

from nexus.core.errors import OutcomeUnknown, Unreachable
from tests.trading.brokers.mt5.gateway_in_thread import LIMITS, TOKEN, gateway
from trading.brokers.mt5.client import GatewayClient


def client_of(running, deadline_s=5.0):
    return GatewayClient(url=running.url, token=TOKEN, deadline_s=deadline_s)


def intent(intent_id, changes):
    request = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "price": 1.10012, "sl": 0.0, "tp": 0.0}
    return {"intent_id": intent_id, "request": request | {"magic": 5, "comment": "c"} | changes}


@pytest.fixture
def send(running):
    client = client_of(running)

    yield lambda intent_id="i1", **changes: client.send(
        "/v1/order_send", intent(intent_id, changes), correlation_id="t"
    )
    client.close()


def test_sends_once_and_returns_the_recorded_answer_for_ever_after(send, terminal):
    first = send()
    again = send(volume=0.2)

    assert first["state"] == "RESULT"
    assert first["reply"]["result"]["retcode"] == 10009
    assert again["reply"] == first["reply"]
    assert [request["volume"] for request in terminal.sent] == [0.1]


def test_sends_once_when_many_copies_arrive_together(send, terminal):
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: send(), range(10)))

    assert len(terminal.sent) == 1
    assert {str(answer["reply"]) for answer in answers} == {str(answers[0]["reply"])}
    assert {answer["state"] for answer in answers} == {"RESULT"}


def test_never_overlaps_calls_of_many_callers(send, terminal):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: send(f"i{number}"), range(20)))

    assert {answer["state"] for answer in answers} == {"RESULT"}
    assert len(terminal.sent) == 20
    assert terminal.overlaps == 0


def test_refuses_an_intent_that_was_settled_before_it_arrived(running, send, terminal):
    client = client_of(running)
    assert client.read("/v1/intents/i1/settle", {}, correlation_id="t")["state"] == "TOMBSTONE"
    client.close()

    assert send()["state"] == "TOMBSTONE"
    assert terminal.sent == []


def test_a_settlement_during_the_check_keeps_the_order_from_being_sent(running, send, terminal):
    terminal.order_check = SlowCheck(terminal, lambda: running.journal.settle("i1"))

    assert send()["state"] == "TOMBSTONE"
    assert terminal.sent == []


def test_a_copy_that_arrives_during_the_check_does_not_slip_its_own_request_past_it(running, send, terminal):
    def exchange():
        running.journal.receive("i1", {"action": 1, "symbol": "EURUSD", "volume": 99.0}, correlation_id="")

    check, terminal.order_check = terminal.order_check, SlowCheck(terminal, exchange)

    with pytest.raises(Unreachable):
        send()
    assert terminal.sent == []

    terminal.order_check = check
    assert send()["state"] == "TOMBSTONE"
    assert terminal.sent == []


class SlowCheck:
    """An `order_check` that is so slow that something happens meanwhile."""

    def __init__(self, terminal, happens):
        self.check, self.happens = terminal.order_check, happens

    def __call__(self, request):
        self.happens()
        return self.check(request)


def test_records_a_failed_check_and_sends_nothing(send, terminal):
    terminal.check_retcode, terminal.check_comment = 10019, "No money"

    first = send()
    terminal.check_retcode = 0

    assert first["state"] == "REFUSED"
    assert first["reply"] == {"stage": "check", "code": "10019", "reason": "No money"}
    assert send()["reply"] == first["reply"]
    assert terminal.sent == []


@pytest.mark.parametrize(
    ("limits", "changes", "code"),
    [
        ({"lots_max": Decimal("0.09")}, {}, "LOTS_EXCEED_LIMIT"),
        ({}, {"volume": "lots"}, "LOTS_EXCEED_LIMIT"),
        ({"symbols": frozenset({"USDJPY"})}, {}, "SYMBOL_NOT_ALLOWED"),
    ],
)
def test_keeps_to_the_limits_of_this_machine(terminal, tmp_path, limits, changes, code):
    with gateway(terminal, tmp_path / "j.db", limits=replace(LIMITS, **limits)) as running:
        answer = post(running, **changes)

    assert (answer["state"], answer["reply"]["stage"], answer["reply"]["code"]) == ("REFUSED", "limits", code)
    assert terminal.sent == []


@pytest.mark.parametrize(
    ("moved", "state"),
    [({"bid": 1.1001, "ask": 1.10022}, "RESULT"), ({"bid": 1.1001, "ask": 1.10023}, "REFUSED"),
     ({"bid": 1.09, "ask": 1.0901}, "RESULT"), ({"bid": 0.0, "ask": 0.0}, "REFUSED"),
     ({"bid": 1.1002, "ask": 1.1001}, "REFUSED")],
)  # fmt: skip
def test_looks_at_the_market_a_second_time_before_it_sends(running, send, terminal, moved, state):
    terminal.symbol_select("EURUSD")
    first = terminal.symbol_info_tick("EURUSD")
    terminal.symbol_info_tick = lambda _: first._replace(**moved)

    answer = send(deviation=10)

    assert (answer["state"], len(terminal.sent)) == (state, int(state == "RESULT"))
    if state == "REFUSED":
        assert (answer["reply"]["stage"], answer["reply"]["code"]) == ("tick", "PRICE_OUTSIDE_COLLAR")


def test_what_is_sold_may_not_have_become_cheaper_than_it_allows(send, terminal):
    terminal.symbol_select("EURUSD")
    first = terminal.symbol_info_tick("EURUSD")
    terminal.symbol_info_tick = lambda _: first._replace(bid=1.09989)

    assert send("i1", type=1, price=1.1, deviation=10)["reply"]["code"] == "PRICE_OUTSIDE_COLLAR"
    assert send("i2", type=1, price=1.1, deviation=11)["state"] == "RESULT"
    assert [request["deviation"] for request in terminal.sent] == [11]


def test_sends_nothing_where_there_is_no_second_price(send, terminal):
    terminal.none_from.add("symbol_info_tick")

    with pytest.raises(Unreachable):
        send()
    assert terminal.sent == []


@pytest.mark.parametrize("limits", [{"lots_max": Decimal("0.05")}, {"symbols": frozenset({"USDJPY"})}])
def test_no_limit_holds_a_close_back(terminal, tmp_path, limits):
    with gateway(terminal, tmp_path / "j.db") as running:
        post(running, "i1")
    position = terminal.positions[0].ticket
    with gateway(terminal, tmp_path / "j.db", limits=replace(LIMITS, **limits)) as running:
        assert post(running, "i2")["reply"]["stage"] == "limits"
        assert post(running, "i3", position=position, type=1)["state"] == "RESULT"

    assert terminal.positions == []


@pytest.mark.parametrize("code", [10036, 10038])
def test_a_close_that_finds_nothing_to_close_is_refused_for_certain(send, terminal, code):
    send("i1")
    terminal.check_retcode = code

    answer = send("i2", position=terminal.positions[0].ticket, type=1)

    assert (answer["state"], answer["reply"]["code"], len(terminal.sent)) == ("REFUSED", str(code), 1)


@pytest.mark.parametrize("trouble", [{"check_retcode": 10019}, {"none_from": {"order_check"}}])
def test_no_check_holds_a_close_back(send, terminal, trouble):
    send("i1")
    for name, value in trouble.items():
        setattr(terminal, name, value)

    assert send("i2", position=terminal.positions[0].ticket, type=1)["state"] == "RESULT"
    assert terminal.positions == []


def test_sends_the_most_that_is_allowed(terminal, tmp_path):
    with gateway(terminal, tmp_path / "j.db", limits=replace(LIMITS, lots_max=Decimal("0.1"))) as running:
        assert post(running)["state"] == "RESULT"


def test_counts_the_orders_of_a_minute_through_a_restart(terminal, tmp_path):
    limits = replace(LIMITS, orders_per_minute=2)
    with gateway(terminal, tmp_path / "j.db", limits=limits) as running:
        assert [post(running, f"a{number}")["state"] for number in range(2)] == ["RESULT", "RESULT"]
    with gateway(terminal, tmp_path / "j.db", limits=limits) as running:
        assert post(running, "b1")["reply"]["code"] == "RATE_EXCEEDS_LIMIT"
        position = terminal.positions[0].ticket
        assert post(running, "b2", position=position, type=1)["state"] == "RESULT"  # a close is never held back

    assert len(terminal.sent) == 3


def test_stops_all_but_closing_while_the_kill_file_stands(terminal, tmp_path):
    kill_file = tmp_path / "STOP"
    with gateway(terminal, tmp_path / "j.db", limits=replace(LIMITS, kill_file=kill_file)) as running:
        post(running, "i0")
        kill_file.touch()
        assert post(running, "i1")["reply"]["code"] == "KILL_FILE_PRESENT"
        assert post(running, "i2", position=terminal.positions[0].ticket, type=1)["state"] == "RESULT"
        kill_file.unlink()
        assert post(running, "i3")["state"] == "RESULT"


@pytest.mark.parametrize(
    "trouble",
    [{"login_now": 5002}, {"server_now": "Paper-Other"}, {"connected": False}, {"none_from": {"account_info"}},
     {"none_from": {"order_check"}}],
)  # fmt: skip
def test_sends_nothing_to_the_wrong_account_or_without_a_broker_and_never_will(send, terminal, trouble):
    healthy = {name: getattr(terminal, name) for name in trouble}
    for name, value in trouble.items():
        setattr(terminal, name, value)

    with pytest.raises(Unreachable):
        send()
    assert terminal.sent == []

    for name, value in healthy.items():
        setattr(terminal, name, type(value)() if isinstance(value, set) else value)
    assert send()["state"] == "TOMBSTONE"  # a copy that the network kept back; we were told that nothing was sent
    assert terminal.sent == []
    assert send("i2")["state"] == "RESULT"


def test_connects_again_after_the_pipe_is_lost(running, send, terminal):
    send("i1")
    terminal.none_from.add("order_check")
    with pytest.raises(Unreachable):
        send("i2")
    terminal.none_from.clear()

    assert send("i3")["state"] == "RESULT"
    assert terminal.initialized == 2


@pytest.mark.parametrize("is_stalled", [False, True])
def test_never_says_unsent_of_what_is_being_called(running, send, terminal, is_stalled):
    entered, ends = threading.Event(), threading.Event()

    def hang(request):
        entered.set()
        ends.wait(10)
        return terminal.fill(request)

    terminal.next_send = hang
    running.server.gateway._watch = Stalled() if is_stalled else None
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send)
        assert entered.wait(5) or first.result()
        hurried = client_of(running, deadline_s=0.2)

        copy = hurried.send("/v1/order_send", intent("i1", {}), correlation_id="t")
        with pytest.raises(Unreachable):
            hurried.send("/v1/order_send", intent("i2", {}), correlation_id="t")

        ends.set()
        assert copy["state"] == "CALLING"
        assert first.result()["state"] == "RESULT"
        hurried.close()
    assert len(terminal.sent) == 1


class Stalled:
    """A watchdog that has raised its alarm, once a call is on its way."""

    def __init__(self):
        self.is_first, self.kills = True, 0

    def holds_up(self, _):
        was_first, self.is_first = self.is_first, False
        return not was_first


def test_records_an_exception_of_the_terminal_as_its_answer(send, terminal):
    def explode(request):
        raise SystemError("bad argument")

    terminal.next_send = explode

    reply = send()["reply"]

    assert (reply["ok"], reply["exception"], reply["result"]) == (False, "SystemError", None)
    assert send()["reply"] == reply


def test_forgets_an_answer_that_cannot_be_recorded_and_never_sends_again(running, send, terminal, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(running.journal, "finish", fail)
    with pytest.raises(OutcomeUnknown):
        send()
    monkeypatch.undo()

    assert send()["state"] == "CALLING"
    assert len(terminal.sent) == 1


def post(running, intent_id="i1", **changes):
    client = client_of(running)
    try:
        return client.send("/v1/order_send", intent(intent_id, changes), correlation_id="t")
    finally:
        client.close()


@pytest.mark.parametrize("action", [0, 2, 3, 4, 9, 11, None, "1"])
def test_sends_no_action_that_it_does_not_know(send, terminal, action):
    assert send(action=action)["reply"]["code"] == "ACTION_NOT_ALLOWED"
    assert terminal.sent == []


@pytest.mark.parametrize(
    ("structure_name", "changes", "code"),
    [
        ("terminal_info", {"tradeapi_disabled": True}, "-8"),
        ("terminal_info", {"trade_allowed": False}, "10027"),
        ("account_info", {"trade_allowed": False}, "10017"),
        ("account_info", {"trade_expert": False}, "10026"),
    ],
)
def test_sends_nothing_while_somebody_has_switched_trading_off(send, terminal, structure_name, changes, code):
    real = getattr(terminal, structure_name)()
    setattr(terminal, structure_name, lambda: real._replace(**changes))

    reply = send()["reply"]

    assert (reply["stage"], reply["code"]) == ("guards", code)
    assert terminal.sent == []


def test_sends_nothing_again_whose_words_were_forgotten(running, send, terminal):
    send()
    running.journal.forget(done_before=float("inf"))

    assert send()["state"] == "FORGOTTEN"
    assert len(terminal.sent) == 1
