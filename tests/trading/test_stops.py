"""The stop that a request does not name stays as the broker holds it, whoever set it."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from risk.states import StopLevel
from tests.stops import put
from tests.trading.desk import MARKET, act, place, position_of
from trading.brokers import base
from trading.brokers.mt5.session import Session
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


def test_what_a_change_reads_is_less_urgent_than_a_close(client, paper, path, monkeypatch):
    """A close ends a reading that lasts; a change of stops may not, or no history would ever be read to its end."""
    real, seen = Session.batch, []

    def batch(self: Session, *what: Any, **how: Any) -> Any:
        seen.append(how.get("urgency") or base.purpose())
        return real(self, *what, **how)

    monkeypatch.setattr(Session, "batch", batch)

    assert act(client, path, {"stop_loss": "1.0830"}, method="patch").json()["state"] == "DONE"
    assert set(seen) == {"PROTECT"}
    seen.clear()
    assert act(client, f"{path}/close").status_code == 201
    assert "CLOSE" in seen
    assert "PROTECT" not in seen


def test_a_change_waits_for_the_answer_of_the_last(client, paper, path):
    paper.control.inject("timeout_after_accept")
    assert act(client, path, {"stop_loss": "1.0830"}, method="patch").status_code == 202

    assert act(client, path, {"take_profit": "1.0900"}, method="patch").json()["code"] == "change_in_flight"

    (change_id,) = changes.due()
    assert ChangeRequest.objects.get(pk=change_id).after == {"stop_loss": "1.083", "take_profit": None}


def test_stops_can_be_changed_again_when_somebody_else_has_overtaken_a_lost_change(client, paper, path):
    """Nobody could set a stop-loss on this position any more: it shows neither what was asked for nor what was."""
    paper.control.inject("timeout_before_accept")
    assert act(client, path, {"stop_loss": "1.0830"}, method="patch").status_code == 202
    (held,) = paper.truth()["positions"]
    paper.control.manual_modify(paper.login, held["ticket"], sl="1.0820")
    (change_id,) = changes.due()
    changes.resolve(change_id=change_id, at=now())
    assert ChangeRequest.objects.get().state == "UNKNOWN"  # it may be on its way yet
    ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(hours=1))

    changes.resolve(change_id=change_id, at=now())

    assert ChangeRequest.objects.get().state == "REFUSED"
    assert act(client, path, {"stop_loss": "1.0835"}, method="patch").json()["state"] == "DONE"
    assert stops(paper)[0] == 108350


@pytest.mark.parametrize(
    ("wanted", "is_sent"),
    [
        ({"stop_loss": "1.0830"}, True),
        ({"stop_loss": "1.0830", "take_profit": "1.0900"}, True),
        ({"stop_loss": "1.0790"}, False),
        ({"stop_loss": "1.0800"}, False),
        ({"stop_loss": None}, False),
        ({"take_profit": "1.0900"}, False),
    ],
)
def test_a_halt_lets_a_stop_loss_be_tightened_and_nothing_else(client, paper, path, wanted, is_sent):
    put(StopLevel.HALTED)

    answer = act(client, path, wanted, method="patch")

    assert answer.status_code == (200 if is_sent else 422)
    assert (stops(paper)[0] == 108300, ChangeRequest.objects.exists()) == (is_sent, is_sent)


def test_a_halt_lets_no_take_profit_be_moved_beside_the_stop_loss(client, paper, path):
    assert act(client, path, {"take_profit": "1.0900"}, method="patch").status_code == 200
    put(StopLevel.HALTED)

    assert act(client, path, {"stop_loss": "1.0830", "take_profit": "1.0890"}, method="patch").status_code == 422
    assert stops(paper) == (108000, 109000)


def test_a_halt_lets_the_stop_loss_of_a_short_position_down_and_not_up(client, paper):
    place(client, MARKET | {"action": "SELL", "stop_loss": "1.0900", "take_profit": None})
    path = f"/trading/positions/{position_of(client)['id']}"
    put(StopLevel.HALTED)

    assert act(client, path, {"stop_loss": "1.0910"}, method="patch").status_code == 422
    assert act(client, path, {"stop_loss": "1.0880"}, method="patch").status_code == 200
    assert stops(paper)[0] == 108800
