"""A terminal that hangs, even with the interpreter's lock held, blocks nobody and is ended; nothing is sent twice."""

import http.client
import json
import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from nexus.core.errors import OutcomeUnknown, Unreachable
from nexus.local import servers
from tests.fakes import gate
from tests.trading.brokers.mt5.fake_gateway import HELD_TICKET
from tests.trading.brokers.mt5.gateway_in_thread import TOKEN
from tests.trading.brokers.mt5.test_gateway_process import Place
from trading.brokers import base
from trading.brokers.base import Side, StopsChange, VenueState

QUICK = {"watchdog": {"stall_s": 0.6, "kill_s": 1.6}}
GIVING_WAY = {"watchdog": {"give_way_s": 0.4, "stall_s": 0.6, "kill_s": 600}}


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.close()


def ask(url, path, method="GET", body=None):
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=2)
    try:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def health(url):
    return ask(url, "/v1/health")[1]


def wait_until(condition, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def relent(place):
    Path(f"{place.sends}.hang").unlink()


def test_a_send_that_holds_the_lock_is_ended_and_nothing_is_sent_before_the_books_were_read(place, order, sent_at):
    _, url = place.start("lock", **QUICK)
    broker = place.broker(url, deadline_s="0.5")
    broker.snapshot(symbols=["EURUSD"])
    hung, refused = order(), order()
    with pytest.raises(OutcomeUnknown):
        broker.submit(hung)

    # The door answers while the worker holds its lock, first as usual, then with an alarm and no new sends.
    wait_until(lambda: health(url)["status"] == "stalled")
    request = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "magic": 5, "comment": "c"}
    status, answer = ask(url, "/v1/order_send", "POST", {"intent_id": "late", "request": request})
    assert (status, answer["error"], answer["sent"]) == (503, "stalled", False)

    # The worker is killed and a new one started; it reads, and sends nothing yet.
    wait_until(lambda: health(url)["kills"] == 1)
    relent(place)
    patient = place.broker(url, deadline_s="10")
    with pytest.raises(Unreachable):
        patient.submit(refused)
    assert (health(url)["generation"], health(url)["reconcile_first"]) == (2, True)
    patient.snapshot(symbols=[])
    with pytest.raises(Unreachable):
        patient.submit(order())
    patient.fills_since(datetime.now(UTC) - timedelta(minutes=5))

    # The books were read: sends are free again, and the hung order was sent once and is not known to be done.
    assert health(url)["reconcile_first"] is False
    assert patient.submit(order()).state is VenueState.FILLED
    with pytest.raises(OutcomeUnknown):
        patient.submit(hung)
    assert (
        patient.order_report(client_order_id=hung.client_order_id, symbol=hung.symbol, sent_at=sent_at).state
        is VenueState.NO_TRACE
    )
    assert place.sends.read_text().split().count(hung.client_order_id) == 1
    assert refused.client_order_id not in place.sends.read_text()


def test_a_worker_that_hangs_while_it_opens_its_terminal_is_ended_too(place, order):
    _, url = place.start("open", is_free=False, **QUICK)
    wait_until(lambda: health(url)["kills"] >= 1)

    relent(place)

    wait_until(lambda: health(url)["generation"] == 1)
    gate.free(url, TOKEN)
    assert place.broker(url).submit(order()).state is VenueState.FILLED


def test_a_worker_that_dies_is_replaced_and_must_be_reconciled(place, order):
    _, url = place.start("fill")
    broker = place.broker(url)
    assert broker.submit(order()).state is VenueState.FILLED

    os.kill(health(url)["worker_pid"], signal.SIGKILL)

    with pytest.raises(Unreachable):
        broker.submit(order())
    with pytest.raises(Unreachable):
        broker.submit(order())
    broker.snapshot(symbols=[])
    broker.fills_since(datetime.now(UTC))
    assert broker.submit(order()).state is VenueState.FILLED
    assert health(url)["generation"] == 2


def test_a_worker_does_not_outlive_a_killed_gateway_even_with_its_lock_held(place, order):
    process, url = place.start("lock")
    worker = health(url)["worker_pid"]
    with pytest.raises(OutcomeUnknown):
        place.broker(url, deadline_s="0.5").submit(order())

    process.kill()
    process.wait()

    wait_until(lambda: not Path(f"/proc/{worker}").exists() or " Z " in Path(f"/proc/{worker}/stat").read_text())


def test_the_word_of_a_reconciliation_of_an_earlier_worker_opens_nothing(place, order):
    _, url = place.start("fill")
    broker = place.broker(url)
    broker.snapshot(symbols=[])
    os.kill(health(url)["worker_pid"], signal.SIGKILL)
    with pytest.raises(Unreachable):
        broker.snapshot(symbols=[])
    broker.snapshot(symbols=[])

    run = health(url)["run"]
    for of, generation, is_closed in ((run, 1, True), ("another", 2, True), (run, 2, False)):
        _, answer = ask(url, "/v1/reconciled", "POST", {"run": of, "generation": generation})
        assert answer == {"run": run, "generation": 2, "reconcile_first": is_closed}
    assert ask(url, "/v1/reconciled", "POST", {"run": run, "generation": "2"})[0] == 400


def test_sends_nothing_after_a_start_before_the_books_were_read_from_it(place, order):
    listen = f"127.0.0.1:{servers.free_port()}"
    process, url = place.start("fill", is_free=False, listen=listen)
    broker = place.broker(url)
    first = order()
    with pytest.raises(Unreachable):
        broker.submit(first)
    broker.snapshot(symbols=[])
    broker.fills_since(datetime.now(UTC))
    assert broker.submit(order()).state is VenueState.FILLED
    process.kill()
    process.wait()

    place.start("fill", is_free=False, listen=listen)

    # Its reader has read both of the gateway before, and the workers of both are their gateway's first.
    broker.snapshot(symbols=[])
    with pytest.raises(Unreachable):
        broker.submit(order())
    broker.fills_since(datetime.now(UTC))
    assert broker.submit(order()).state is VenueState.FILLED
    assert first.client_order_id not in place.sends.read_text()


@pytest.fixture
def hanging(place):
    """A gateway whose terminal hangs in its history, with nobody who waits for it any more."""
    _, url = place.start("history", is_free=False, **GIVING_WAY)
    with pytest.raises(Unreachable):
        place.broker(url, deadline_s="0.3").fills_since(datetime.now(UTC) - timedelta(minutes=5))
    return url


def close(broker, order, quantity="0.1"):
    terms = {"venue_position_id": str(HELD_TICKET), "stop_loss": None, "take_profit": None}
    return broker.submit(order(side=Side.SELL, quantity=Decimal(quantity), **terms))


def test_a_history_that_does_not_end_is_ended_for_a_close(place, hanging, order):
    assert close(place.broker(hanging, deadline_s="10"), order).state is VenueState.FILLED

    assert (health(hanging)["kills"], health(hanging)["generation"]) == (1, 2)
    with pytest.raises(Unreachable):
        place.broker(hanging).submit(order())  # the books of the new worker have not been read


def test_a_history_that_is_asked_for_again_and_again_is_ended_once_for_several_closes(place, hanging, order):
    reader, is_over = place.broker(hanging, deadline_s="0.3"), threading.Event()

    def read():
        while not is_over.wait(0.02):
            with pytest.raises(Unreachable):
                reader.fills_since(datetime.now(UTC) - timedelta(minutes=5))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        broker = place.broker(hanging, deadline_s="10")
        for _ in range(4):
            assert close(broker, order, "0.02").state is VenueState.FILLED
    finally:
        is_over.set()
        thread.join()

    assert health(hanging)["kills"] == 1


@pytest.mark.parametrize("what", ["position", "order"])
def test_a_send_that_reduces_is_not_told_of_a_stall_by_a_reading(place, hanging, what):
    wait_until(lambda: health(hanging)["status"] == "stalled")
    held = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 1, "magic": 5, "comment": "c", "price": 1.1}
    request = held | {"position": HELD_TICKET} if what == "position" else {"action": 8, "order": HELD_TICKET}

    status, answer = ask(hanging, "/v1/order_send", "POST", {"intent_id": "close", "request": request})

    assert (status, answer["state"], health(hanging)["kills"]) == (200, "RESULT", 1)


def test_nothing_else_ends_a_history(place, hanging, order):
    wait_until(lambda: health(hanging)["status"] == "stalled")
    broker = place.broker(hanging, deadline_s="0.3")
    change = StopsChange("c", str(HELD_TICKET), "EURUSD", Decimal("1.09"), None)

    for act in (
        lambda: broker.submit(order()),
        lambda: broker.change_stops(change),
        lambda: broker.snapshot(symbols=[]),
    ):
        with pytest.raises(Unreachable):
            act()
    with base.patiently(within_s=0.3, purpose="PROTECT"), pytest.raises(Unreachable):
        broker.snapshot(symbols=[])
    assert (health(hanging)["kills"], health(hanging)["generation"]) == (0, 1)

    with base.patiently(within_s=10):  # as a sweep reads what it is to close
        assert place.broker(hanging, deadline_s="10").snapshot(symbols=[]).positions
    assert health(hanging)["kills"] == 1


def test_a_send_that_stalls_is_ended_for_a_close_and_is_not_known_to_be_done(place, order):
    _, url = place.start("lock", watchdog={"give_way_s": 0.1, "stall_s": 3, "kill_s": 600})
    hung = order()
    with pytest.raises(OutcomeUnknown):
        place.broker(url, deadline_s="0.3").submit(hung)
    relent(place)
    with pytest.raises(Unreachable):  # longer than a reading may last, and not yet as long as a send may
        close(place.broker(url, deadline_s="1"), order)
    assert health(url)["kills"] == 0

    broker = place.broker(url, deadline_s="10")
    assert close(broker, order).state is VenueState.FILLED

    assert (health(url)["kills"], health(url)["calling"]) == (1, 1)
    with pytest.raises(OutcomeUnknown):
        broker.submit(hung)
    assert place.sends.read_text().split().count(hung.client_order_id) == 1


def test_a_close_whose_caller_has_gone_ends_nothing(place, order):
    _, url = place.start("history", is_free=False, watchdog={"give_way_s": 2, "stall_s": 2, "kill_s": 600})
    reader = place.broker(url, deadline_s="0.3")
    with pytest.raises(Unreachable):
        reader.fills_since(datetime.now(UTC) - timedelta(minutes=5))
    with pytest.raises(Unreachable):
        close(place.broker(url, deadline_s="0.3"), order)

    wait_until(lambda: health(url)["status"] == "stalled")
    assert (health(url)["kills"], health(url)["waiting"]) == (0, 1)


def test_a_terminal_that_takes_its_time_to_open_is_not_ended_for_a_close(place, order):
    _, url = place.start("slow", watchdog={"give_way_s": 0.4, "stall_s": 60, "kill_s": 600})
    os.kill(health(url)["worker_pid"], signal.SIGKILL)
    reader = place.broker(url, deadline_s="0.3")
    for _ in range(2):  # the first finds the worker gone, the second opens the next one
        with pytest.raises(Unreachable):
            reader.snapshot(symbols=[])

    assert close(place.broker(url, deadline_s="10"), order).state is VenueState.FILLED

    assert (health(url)["kills"], health(url)["generation"]) == (0, 2)
