"""What is read to take risk away waits behind no history, and for no gateway that was silent about something else."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.core.errors import Unavailable, Unreachable
from tests.trading.conftest import brief
from tests.trading.desk import LIMIT, MARKET, act, place, position_of
from tests.trading.sweeps import books, flatten, sweep_now
from trading.brokers import base
from trading.brokers.mt5 import readings
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import TradableInstrument
from trading.services import accounts, facts
from trading.states import Delivery, SweepState


def waiting(paper: Any, count: int) -> None:
    """Wait until so many units stand before the terminal."""
    worker = paper.worker
    while worker.waiting() < count:
        time.sleep(0.005)


def read_beside_histories(paper: Any, account: Any, ask: Callable[[Mt5Broker], Any]) -> list[str]:
    """Let four listings of history and then `ask` wait for the terminal; return the calls that were made, in order."""
    broker: Any = accounts.broker_of(account)
    real, gate, made = paper.desk._make, threading.Event(), list[str]()

    def make(calls: Sequence[Any]) -> Any:
        gate.wait(5)
        made.extend(call.function for call in calls)
        return real(calls)

    paper.desk._make = make
    try:
        history = [readings.call("history_deals_total", 1, 2)]
        asking = [threading.Thread(target=broker._session.batch, args=[history]) for _ in range(4)]
        asking.append(threading.Thread(target=ask, args=[broker]))
        for number, each in enumerate(asking):
            each.start()
            waiting(paper, number)  # the first is at the terminal
        gate.set()
        for each in asking:
            each.join()
    finally:
        paper.desk._make = real
    return made


def test_what_a_close_is_judged_by_waits_behind_no_history(paper, account):
    def ask(broker: Mt5Broker) -> None:
        with accounts.patience():
            broker.snapshot(symbols=["EURUSD"])

    made = read_beside_histories(paper, account, ask)

    assert made.index("positions_get") < [number for number, name in enumerate(made) if name.startswith("history")][1]


def test_a_history_is_never_urgent(paper, account):
    def ask(broker: Any) -> None:
        with accounts.patience():
            broker._session.batch([readings.call("history_deals_get", 1, 2)])

    made = read_beside_histories(paper, account, ask)

    assert "history_deals_total" not in made[made.index("history_deals_get") :]


def test_a_search_that_makes_the_gateway_silent_keeps_nothing_open(client, execute, account, paper, monkeypatch):
    """As a history does that is too long for the line: for two seconds nobody asks that gateway for anything."""
    place(client, LIMIT)
    execute(brief(quantity=Decimal("0.02")))
    paper.control.inject("timeout_before_accept")
    lost = execute(brief(quantity=Decimal("0.01")))
    assert lost.delivery == Delivery.UNKNOWN, lost.reason
    flatten()

    def hang(self: Any, **_: Any) -> None:
        self._session._client._silent_until = time.monotonic() + 2
        raise Unreachable("the deadline has passed in the middle of the answer")

    monkeypatch.setattr(Mt5Broker, "order_report", hang)

    swept = sweep_now()

    assert (books(paper), swept.state) == ((0, 0), SweepState.RUNNING), swept.detail


@pytest.fixture
def hanging(settings: Any) -> Callable[..., Any]:
    """Something that is asked, and does not answer for as long as anybody waits."""
    settings.BROKER_DEADLINE_S = 2

    def hang(*_: Any, **__: Any) -> Any:
        time.sleep(base.time_left(settings.BROKER_DEADLINE_S))
        raise Unreachable("the deadline has passed")

    return hang


def test_terms_that_hang_hold_up_no_close_of_another_instrument(client, paper, monkeypatch, hanging):
    place(client, MARKET)
    path = f"/trading/positions/{position_of(client)['id']}/close"
    paper.quote("XAUUSD", "1900.00", "1900.10")
    paper.control.manual_trade(paper.login, "XAUUSD", mt5.ORDER_TYPE_BUY, "0.01", sl="1890")
    real = Mt5Broker.instrument

    def instrument(self: Mt5Broker, *, symbol: str) -> Any:
        return hanging() if symbol == "XAUUSD" else real(self, symbol=symbol)

    monkeypatch.setattr(Mt5Broker, "instrument", instrument)

    closed = act(client, path).json()

    assert (closed["status"], closed["reason"]) == ("FILLED", "")


def test_a_history_that_hangs_holds_up_no_close_beside_what_was_closed_unseen(client, paper, monkeypatch, hanging):
    """What was paid in meanwhile is asked for there: it tells what was lost, and a close asks nobody for room."""
    monkeypatch.setattr(facts, "LISTED_WITHIN", timedelta(0))  # what has filled is listed by now
    place(client, MARKET)
    held = position_of(client)
    place(client, MARKET)
    unseen = next(
        each["ticket"] for each in paper.truth()["positions"] if str(each["identifier"]) != held["venue_position_id"]
    )
    paper.control.manual_close(paper.login, unseen)
    monkeypatch.setattr(Mt5Broker, "cash_since", hanging)

    closed = act(client, f"/trading/positions/{held['id']}/close").json()

    assert (closed["status"], closed["reason"]) == ("FILLED", "")


@pytest.mark.parametrize("way", ["hand", "sweep"])
@pytest.mark.parametrize("is_hanging", [False, True])
def test_terms_of_yesterday_close_where_those_of_now_cannot_be_had(
    client, execute, paper, monkeypatch, hanging, way, is_hanging
):
    """Whoever builds the order reads what it needs, and the broker refuses what does not keep its rules of now."""
    place(client, MARKET)
    path = f"/trading/positions/{position_of(client)['id']}/close"
    TradableInstrument.objects.update(read_at=now() - timedelta(days=1))

    def fail(*_: Any, **__: Any) -> None:
        raise Unreachable("not now")

    monkeypatch.setattr(Mt5Broker, "instrument", hanging if is_hanging else fail)

    if way == "hand":
        answer = act(client, path)
        assert (answer.status_code, answer.json().get("status")) == (201, "FILLED"), answer.json()
    else:
        flatten()
        assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)
    with pytest.raises(Unavailable):  # nothing is opened by them
        execute()
