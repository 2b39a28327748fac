"""A gateway that has started a worker sends nothing new before its history was read; what takes risk away it sends."""

from typing import Any

import pytest

from nexus.core.errors import Unreachable
from tests.trading.conftest import brief
from tests.trading.desk import LIMIT, MARKET, act, place, position_of, reread
from tests.trading.sweeps import books, flatten, sweep_now
from trading.brokers.mt5.adapter import Mt5Broker
from trading.states import OrderStatus


def loading(*_: Any, **__: Any) -> None:
    raise Unreachable("the history is loading")


@pytest.fixture
def unread(client, paper, monkeypatch) -> dict[str, Any]:
    """A worker that was started behind a position and an order, and a history that nobody can read."""
    place(client, MARKET)
    resting = place(client, LIMIT)
    monkeypatch.setattr(Mt5Broker, "fills_since", loading)
    monkeypatch.setattr(Mt5Broker, "news", loading)
    paper.desk._reconciled = -1
    return resting


def test_nothing_new_is_sent(unread, execute, paper):
    assert execute(brief()).status == OrderStatus.REJECTED
    assert books(paper) == (1, 1)


def test_a_position_is_closed_and_an_order_canceled(unread, client, paper):
    closed = act(client, f"/trading/positions/{position_of(client)['id']}/close").json()
    act(client, f"/trading/orders/{unread['id']}/cancel")

    assert (closed["status"], reread(client, unread)["status"]) == ("FILLED", "CANCELED")
    assert books(paper) == (0, 0)
    assert paper.desk.must_reconcile


def test_a_sweep_makes_it_flat(unread, paper):
    flatten()
    sweep_now()

    assert books(paper) == (0, 0)
