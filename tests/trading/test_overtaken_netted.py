"""On a netting account an order that adds brings its own stop while a change of the position's is on its way."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.utils.timezone import now

from tests.fakes import paper as paper_broker
from tests.fakes.paper import Paper
from tests.trading.change_ways import DONE, REFUSED, D, End, Send, StopsDesk, lose
from tests.trading.conftest import brief
from tests.trading.desk import ask_about_everything
from trading.brokers import registry
from trading.brokers.mt5 import session
from trading.models import BrokerPosition
from trading.services import watch
from trading.states import OrderType, TimeInForce

WANTED = {"stop_loss": D("1.0840")}
BROUGHT = D("1.0790")


@pytest.fixture
def paper(floor: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paper]:
    """A paper broker that nets, at 1.08490 / 1.08500."""
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0)
    with paper_broker.paper(tmp_path, netting=True) as running:
        settings.MT5_GATEWAY_URL = running.url
        running.quote("EURUSD", "1.08490", "1.08500")
        yield running
        registry.close()


@pytest.fixture
def desk(execute, account, trader, paper, monkeypatch, settings) -> StopsDesk:
    """A position with its stop at 1.0800, and an order that waits at 1.0845 to add to it with another one."""
    settings.DAILY_LOSS_LIMIT = D(100_000)
    settings.MAX_POSITION_SIZE = settings.DAILY_VALUE_LIMIT = D(10**9)
    found = StopsDesk(execute, account, trader, paper, monkeypatch)
    found.stand()
    waits = {"order_type": OrderType.LIMIT, "limit_price": D("1.0845"), "entry_price": None}
    order = execute(brief(stop_loss=BROUGHT, time_in_force=TimeInForce.GTC, **waits))
    assert order.delivery == "ACKED", order.reason
    return found


def fill(desk: StopsDesk) -> None:
    desk.paper.quote("EURUSD", "1.08440", "1.08450")
    watch.look(account_id=desk.account.pk, at=now())
    ask_about_everything()
    assert BrokerPosition.objects.get().quantity == D("0.2")


def filled_after_the_answer(desk: StopsDesk, end: End) -> None:
    desk.ask(WANTED, end.answer)
    fill(desk)


def filled_before_the_answer(desk: StopsDesk, end: End) -> None:
    def overtake(send: Send) -> None:
        end.arrive(send)
        fill(desk)
        end.answer(lambda: None)

    desk.ask(WANTED, overtake)


def filled_before_a_search(desk: StopsDesk, end: End) -> None:
    desk.ask(WANTED, partial(lose, end))
    fill(desk)
    desk.search()


def filled_before_it_arrives(desk: StopsDesk, end: End) -> None:
    """What is sent is held up on its way; then it is the last."""

    def overtake(send: Send) -> None:
        fill(desk)
        end.answer(send)

    desk.ask(WANTED, overtake)


@pytest.mark.parametrize("end", [DONE, REFUSED], ids=["done", "refused"])
@pytest.mark.parametrize(
    "way", [filled_after_the_answer, filled_before_the_answer, filled_before_a_search, filled_before_it_arrives]
)
def test_the_stop_that_came_last_stands_whoever_brought_it(desk, way, end):
    way(desk, end)

    found = desk.told()
    is_last = way is filled_before_it_arrives and end.is_done
    is_heard = end.is_done and way is not filled_before_a_search
    stop, was = (WANTED["stop_loss"] if is_last else BROUGHT), D("18.84") if is_heard else D("98.80")
    wanted = {
        "state": "DONE" if is_heard else "REFUSED",
        "stands": (stop, D("1.0900")),
        "at the broker": [(stop, D("1.0900"))],
        "adjustments": [("STOP_CHANGE", D("54.40"), D("14.42"))] * is_heard
        + [("EXTERNAL", was, D("118.79"))] * (not is_last),
        # Whether the order came after ours or before it, and a hand since, nobody knows: people are told.
        "alerts": ["TERMS_MOVED"] * (way is filled_before_the_answer and end.is_done),
        "moved": ["position.stops_moved"] * (not is_last),
        "listed": 0,
        "stopped": [],
    }
    assert {name: found[name] for name in wanted} == wanted
