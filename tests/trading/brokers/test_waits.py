"""While brokers hang, some threads of the web server are left for everything else: stops above all."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest

from nexus.core.errors import OutcomeUnknown, Unreachable
from trading.brokers import base, waits
from trading.brokers.mt5.client import GatewayClient

DEADLINE_S = 2.0
MOST = 4


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "SLOW_S", 0.2)


@pytest.fixture
def hanging() -> Iterator[Callable[[], GatewayClient]]:
    """Gateways that take every connection and answer nothing; each is another one, as their accounts are."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield lambda: GatewayClient(
            url=f"http://127.0.0.1:{server.getsockname()[1]}", token="t" * 16, deadline_s=DEADLINE_S
        )


def ask(client: GatewayClient, *, at_once: int | None = MOST, is_patient: bool = False) -> float:
    """Read as a door does; return how long it was until nobody had answered."""
    patience = base.patiently(within_s=DEADLINE_S) if is_patient else nullcontext()
    began = time.monotonic()
    with base.answering(within_s=DEADLINE_S, at_once=at_once), patience, pytest.raises(Unreachable):
        client.read("/v1/account", {}, correlation_id="")
    return time.monotonic() - began


def until(holds: Callable[[], bool]) -> None:
    """Wait for the threads of a busy machine."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(waits.POLL_S / 10)


@pytest.fixture
def many() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(16) as pool:
        yield pool.submit
    assert not waits._began


def test_no_more_than_so_many_wait_and_the_others_are_answered(hanging, many):
    waiting = [many(ask, hanging()) for _ in range(12)]

    taken = sorted(each.result() for each in waiting)

    assert max(taken[:8]) < DEADLINE_S / 2
    assert min(taken[8:]) >= DEADLINE_S * 0.9


def test_once_they_are_known_to_hang_nobody_waits_at_all(hanging, many):
    waiting = [many(ask, hanging()) for _ in range(MOST)]
    until(lambda: waits._slow() == MOST)

    assert ask(hanging()) < DEADLINE_S / 2
    assert all(each.result() > DEADLINE_S * 0.9 for each in waiting)


def test_what_takes_risk_away_has_one_place_more(hanging, many):
    waiting = [many(ask, hanging()) for _ in range(MOST)]
    until(lambda: waits._slow() == MOST)
    close = many(ask, hanging(), is_patient=True)
    until(lambda: len(waits._began) == MOST + 1)

    assert ask(hanging(), is_patient=True) < DEADLINE_S / 2
    assert close.result() > DEADLINE_S * 0.9
    assert len(waiting) == MOST


def test_what_is_sent_counts_and_is_never_held_up(hanging, many):
    def send() -> float:
        began = time.monotonic()
        with base.answering(within_s=DEADLINE_S, at_once=MOST), pytest.raises(OutcomeUnknown):
            hanging().send("/v1/orders", {}, correlation_id="")
        return time.monotonic() - began

    sent = [many(send) for _ in range(MOST + 2)]
    until(lambda: waits._slow() == MOST + 2)

    assert ask(hanging()) < DEADLINE_S / 2
    assert all(each.result() > DEADLINE_S * 0.9 for each in sent)


def test_workers_have_threads_of_their_own(hanging, many):
    waiting = [many(ask, hanging()) for _ in range(MOST)]
    until(lambda: waits._slow() == MOST)

    assert ask(hanging(), at_once=None) > DEADLINE_S * 0.9
    assert len(waiting) == MOST


def test_brokers_that_answer_give_everybody_a_turn(many):
    """Three times as many as may wait at once, and one that hangs among them."""
    held = threading.Event()

    def read(seconds: float) -> None:
        with base.answering(within_s=DEADLINE_S, at_once=MOST), waits.reading():
            assert len(waits._began) <= MOST
            held.wait(seconds)

    slow = many(read, 1.5)
    quick = [many(read, 0.1) for _ in range(3 * MOST)]

    for each in quick:
        each.result()
    assert not slow.done()
    held.set()
    slow.result()


def test_whoever_waits_for_a_turn_waits_no_longer_than_for_an_answer(many):
    held = threading.Event()

    def hold() -> None:
        with base.answering(within_s=DEADLINE_S, at_once=1), waits.reading():
            held.wait(DEADLINE_S)

    first = many(hold)
    until(lambda: len(waits._began) == 1)
    began = time.monotonic()
    with base.answering(within_s=0.1, at_once=1), pytest.raises(Unreachable), waits.reading():
        pass
    assert time.monotonic() - began < DEADLINE_S / 2
    held.set()
    first.result()
