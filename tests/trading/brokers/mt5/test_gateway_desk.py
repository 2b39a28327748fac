"""Connecting to the terminal: with pauses, never again after a refusal that only a person can change."""

import functools
import threading
import time

import pytest

from tests.trading.brokers.mt5.fake_terminal import LOGIN, SERVER, structure
from trading.brokers.mt5.gateway import worker as worker_module
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.journal import Journal
from trading.brokers.mt5.gateway.remote import TerminalDown
from trading.brokers.mt5.gateway.terminal import Terminal
from trading.brokers.mt5.gateway.worker import Urgency, Worker

PASSWORD = "the-terminal-s-password"


@pytest.fixture
def refuse(terminal):
    """Let the terminal refuse to connect with an error until the returned function is called."""

    def refuse(code):
        def initialize(**_):
            terminal.initialized += 1
            terminal.error = (code, "IPC initialize failed")
            return False

        terminal.initialize = initialize
        return lambda: delattr(terminal, "initialize")

    return refuse


@pytest.fixture
def desk(terminal):
    return Desk(Terminal(terminal, {"password": PASSWORD}, LOGIN, SERVER, time.time, lambda: None))


@pytest.fixture
def clock(monkeypatch):
    """Stand still; the test moves the time."""
    at = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    return at


@pytest.mark.parametrize("code", [-10003, -10005, -1])
def test_connects_again_with_growing_pauses(desk, terminal, refuse, clock, code):
    relent = refuse(code)
    attempts = []
    for _ in range(40):
        with pytest.raises(TerminalDown):
            desk.read([])
        attempts.append(terminal.initialized)
        clock[0] += 0.25

    assert attempts[0] == 1
    assert attempts[-1] == 5  # at 0, 0.5, 1.5, 3.5 and 7.5 seconds
    relent()
    clock[0] += 60
    assert desk.read([])["login"] == LOGIN


@pytest.mark.parametrize("code", [-2, -5, -6, -7])
def test_does_not_try_again_what_only_a_person_can_change(desk, terminal, refuse, clock, code):
    refuse(code)
    for _ in range(5):
        with pytest.raises(TerminalDown) as down:
            desk.read([])
        assert down.value.is_final
        clock[0] += 1000

    assert terminal.initialized == 1


@pytest.mark.parametrize("is_final", [False, True])
def test_a_process_that_does_not_start_is_not_started_at_every_reading(desk, terminal, clock, monkeypatch, is_final):
    started = []

    def make(_, calls):
        started.append(calls)
        raise TerminalDown("the worker process does not start", is_final=is_final)

    with monkeypatch.context() as broken:
        broken.setattr(Terminal, "make", make)
        for _ in range(40):
            with pytest.raises(TerminalDown, match="does not start"):
                desk.read([])
            clock[0] += 0.25
    clock[0] += 60

    assert len(started) == 5  # at 0, 0.5, 1.5, 3.5 and 7.5 seconds
    assert desk.read([])["ok"] is True


def test_connects_once_for_many_readings_and_again_when_the_pipe_is_lost(desk, terminal):
    for _ in range(3):
        desk.read([])
    assert terminal.initialized == 1

    terminal.none_from.add("account_info")
    desk.read([])
    terminal.none_from.clear()

    assert desk.read([])["login"] == LOGIN
    assert terminal.initialized == 2


def test_forgets_who_answered_when_nobody_says_so(desk, terminal):
    desk.read([])
    terminal.none_from.add("account_info")

    assert (desk.read([])["login"], desk.identity) == (None, None)


def test_tells_no_password_when_it_cannot_connect(desk, refuse, capsys):
    refuse(-6)
    with pytest.raises(TerminalDown) as down:
        desk.verify()

    assert PASSWORD not in capsys.readouterr().out + str(down.value)


def test_learns_the_server_s_clock_from_the_ticks_it_reads(desk, terminal):
    tick = {"function": "symbol_info_tick", "args": ["EURUSD"], "kwargs": {}, "where": {}}
    desk.call("symbol_select", "EURUSD")

    first = desk.read([tick])
    time.sleep(0.005)
    second = desk.read([tick])

    assert (first["server_offset_s"], second["server_offset_s"]) == (None, 10_800)
    assert abs(second["server_tick_time"] - time.time() - 10_800) < 5


def test_begins_with_the_clock_that_the_journal_remembers(desk, terminal, tmp_path):
    journal = Journal(tmp_path / "j.db")
    desk.keep_clock(journal)
    assert desk.clock.offset_s is None
    tick = {"function": "symbol_info_tick", "args": ["EURUSD"], "kwargs": {}, "where": {}}
    desk.call("symbol_select", "EURUSD")
    for _ in range(2):
        desk.read([tick])
        time.sleep(0.005)

    again = Desk(Terminal(terminal, {}, LOGIN, SERVER, time.time, lambda: None))
    again.keep_clock(journal)

    assert again.clock.offset_s == 10_800
    late = Desk(Terminal(terminal, {}, LOGIN, SERVER, lambda: time.time() + 150 * 86_400, lambda: None))
    late.keep_clock(journal)
    assert late.clock.offset_s is None
    journal.close()


@pytest.mark.parametrize("symbols", [None, frozenset({"EURUSD"})])
def test_watches_prices_by_itself_until_it_knows_the_clock(desk, terminal, tmp_path, symbols):
    journal = Journal(tmp_path / "j.db")
    desk.keep_clock(journal, symbols=symbols)
    terminal.symbols_get = lambda: [structure("SymbolInfo", name="EURUSD", select=False)]

    assert desk.beat() == {"again_s": 0.5}
    time.sleep(0.005)
    assert desk.beat() == {}

    assert desk.clock.offset_s == 10_800
    assert Journal.offset(journal) is not None
    assert desk.beat() == {}
    journal.close()


def test_asks_a_second_symbol_when_the_only_one_shows_another_clock(desk, terminal, tmp_path):
    journal = Journal(tmp_path / "j.db")
    desk.keep_clock(journal, symbols=frozenset({"EURUSD"}))
    terminal.symbols_get = lambda: [structure("SymbolInfo", name=name, select=True) for name in ("EURUSD", "USDJPY")]
    for _ in range(2):
        desk.beat()
        time.sleep(0.005)
    assert desk.clock.offset_s == 10_800

    terminal.server_offset_s = 7_200
    tick = {"function": "symbol_info_tick", "args": ["EURUSD"], "kwargs": {}, "where": {}}
    beats = []
    for _ in range(3):  # the first look after the change is at a time that went back
        desk.read([tick])
        time.sleep(0.005)
        beats.append(desk.beat())
        time.sleep(0.005)

    assert desk.clock.offset_s == 7_200
    assert (beats[-1], desk.clock.is_doubted()) == ({}, False)
    journal.close()


def test_urgent_work_goes_first():
    done, gate = [], threading.Event()

    def note(name):
        done.append(name)
        return {}

    def wait():
        gate.wait(5)
        return {}

    worker = Worker({"wait": wait, "note": note}, stop=lambda: None)
    threads = [threading.Thread(target=lambda: worker.run("wait", {}, timeout_s=5))]
    threads[0].start()
    while not worker.busy_s():
        time.sleep(0.001)
    order = [
        Urgency.QUOTE, Urgency.RECONCILE, Urgency.SEND, Urgency.PROTECT, Urgency.CLOSE, Urgency.QUOTE, Urgency.CLOSE,
    ]  # fmt: skip
    for number, urgency in enumerate(order):
        payload = {"name": f"{urgency.name} {number}"}
        run = functools.partial(worker.run, "note", payload, timeout_s=5, urgency=urgency)
        threads.append(threading.Thread(target=run))
        threads[-1].start()
        while worker.waiting() <= number:
            time.sleep(0.001)

    gate.set()
    for thread in threads:
        thread.join()

    assert done == ["CLOSE 4", "CLOSE 6", "PROTECT 3", "SEND 2", "RECONCILE 1", "QUOTE 0", "QUOTE 5"]
    assert worker.close(timeout_s=5)


def test_hears_from_a_worker_that_nobody_asks_anything(monkeypatch):
    monkeypatch.setattr(worker_module, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(worker_module, "FIRST_BEAT_S", 0.01)
    beats = threading.Semaphore(0)

    def beat():
        beats.release()
        raise TerminalDown("not there")

    worker = Worker({"beat": beat, "ask": lambda: {"here": 1}}, stop=lambda: None)

    assert beats.acquire(timeout=5)
    assert beats.acquire(timeout=5)
    assert worker.run("ask", {}, timeout_s=5) == {"here": 1}
    worker.close(timeout_s=5)


def test_an_argument_may_be_what_an_earlier_call_of_the_unit_has_answered(desk, terminal):
    price = {"of_call": 1, "field": "ask"}
    calls: list[dict[str, object]] = [
        {"function": name, "args": args, "kwargs": {}, "where": {}}
        for name, args in (
            ("symbol_select", ["EURUSD", True]), ("symbol_info_tick", ["EURUSD"]),
            ("order_calc_margin", [0, "EURUSD", 1.0, price]),
        )
    ]  # fmt: skip

    *_, tick, margin = desk.read(calls)["results"]
    assert margin["result"] == terminal.order_calc_margin(0, "EURUSD", 1.0, tick["result"]["ask"])

    terminal.none_from.add("symbol_info_tick")
    *_, margin = desk.read(calls)["results"]
    assert (margin["ok"], margin["exception"]) == (False, "NoSuchAnswer")


def test_an_argument_that_names_no_earlier_answer_is_never_called(desk, terminal):
    for price in (
        {"of_call": 9, "field": "ask"},
        {"of_call": 0, "field": "ask"},
        {"of_call": -1, "field": "ask"},
        {"of_call": "x", "field": "ask"},
    ):
        call = {"function": "order_calc_margin", "args": [0, "EURUSD", 1.0, price], "kwargs": {}, "where": {}}

        (answer,) = desk.read([call])["results"]

        assert (answer["ok"], answer["exception"]) == (False, "NoSuchAnswer")
