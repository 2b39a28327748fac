"""The stop that a request does not name stays as the broker holds it, whoever set it."""

from typing import Any

import pytest

from tests.trading.desk import MARKET, act, place, position_of
from trading.models import ChangeRequest
from trading.services import changes, facts


@pytest.fixture
def path(client) -> str:
    """The door to the stops of a position of 0.03 lots with a stop at 1.0800."""
    place(client, MARKET)
    return f"/trading/positions/{position_of(client)['id']}"


def stops(paper) -> tuple[int, int]:
    """Return the stops as the broker holds them, in points."""
    (held,) = paper.truth()["positions"]
    return held["sl"], held["tp"]


def test_a_stop_moved_at_the_terminal_is_not_put_back(client, paper, path):
    (held,) = paper.truth()["positions"]
    paper.control.manual_modify(paper.login, held["ticket"], sl="1.0830")

    answer = act(client, path, {"take_profit": "1.0900"}, method="patch")

    assert (answer.status_code, answer.json()["before"]["stop_loss"]) == (200, "1.083")
    assert stops(paper) == (108300, 109000)


def test_a_change_that_another_has_overtaken_is_not_sent(client, paper, path, monkeypatch):
    real, others = facts.read, [{"stop_loss": "1.0830"}]

    def read(**what: Any) -> Any:
        found = real(**what)
        if others:  # somebody else asks, and is answered, while this request looks at the broker
            assert act(client, path, others.pop(), method="patch").json()["state"] == "DONE"
        return found

    monkeypatch.setattr(facts, "read", read)

    answer = act(client, path, {"take_profit": "1.0900"}, method="patch")

    assert (answer.status_code, answer.json()["code"]) == (409, "change_in_flight")
    assert (stops(paper), ChangeRequest.objects.count()) == ((108300, 0), 1)
    assert act(client, path, {"take_profit": "1.0900"}, method="patch").json()["state"] == "DONE"
    assert stops(paper) == (108300, 109000)


def test_a_change_waits_for_the_answer_of_the_last(client, paper, path):
    paper.control.inject("timeout_after_accept")
    assert act(client, path, {"stop_loss": "1.0830"}, method="patch").status_code == 202

    assert act(client, path, {"take_profit": "1.0900"}, method="patch").json()["code"] == "change_in_flight"

    (change_id,) = changes.due()
    assert ChangeRequest.objects.get(pk=change_id).after == {"stop_loss": "1.083", "take_profit": None}
