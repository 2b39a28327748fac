"""A broker that asks for fewer requests is given time: 1, 5, 30 seconds. Nothing is sent twice, and nothing is lost."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils.timezone import now

from tests.trading.conftest import brief
from tests.trading.desk import LIMIT, act, place, reread
from tests.trading.sweeps import books, flatten, sweep_now
from trading.brokers.mt5.gateway.calls import Answer
from trading.brokers.mt5.gateway.throttle import TOO_MANY_REQUESTS, Throttle
from trading.models import ChangeRequest, TradeLedger
from trading.services import cancels, dispatch, facts, protection, triggers
from trading.states import CancelState, ChangeState, OrderStatus, SweepState

TOO_MANY = Answer({"retcode": TOO_MANY_REQUESTS}, 1, "")


@pytest.fixture
def clock(paper):
    """The clock by which the gateway leaves the account alone; a test moves it."""
    at = [1000.0]
    paper.desk.throttle = Throttle(lambda: at[0])
    return at


def is_over(monkeypatch, seconds):
    """Let the database's clock be so many seconds later, as far as pauses are looked at."""
    later = facts.database_clock() + timedelta(seconds=seconds)
    monkeypatch.setattr(facts, "database_clock", lambda: later)


def tries():
    """Return each request's state and the pause that was to follow it."""
    rows = ChangeRequest.objects.order_by("pk").values_list("state", "retry_at", "settled_at")
    return [(state, None if again is None or at is None else (again - at).seconds) for state, again, at in rows]


def test_a_cancel_that_comes_too_fast_is_sent_anew_after_each_pause(client, paper, clock, monkeypatch):
    order = place(client, LIMIT)
    paper.control.inject("too_many", times=2)

    answer = act(client, f"/trading/orders/{order['id']}/cancel", {"reason": "changed my mind"})
    assert (answer.json()["status"], answer.json()["cancel"]) == ("PENDING", "REQUESTED")
    assert cancels.due() == []
    pk = TradeLedger.objects.get().pk
    cancels.again(order_id=pk, at=now())  # a message that came too soon
    assert tries() == [(ChangeState.REFUSED, 1)]

    for pause_s in (1, 5):
        clock[0] += pause_s
        is_over(monkeypatch, pause_s)
        assert cancels.due() == [pk]
        cancels.again(order_id=pk, at=now())
        cancels.again(order_id=pk, at=now())  # the same message, twice

    assert (reread(client, order)["status"], reread(client, order)["cancel"]) == ("CANCELED", "DONE")
    assert tries() == [(ChangeState.REFUSED, 1), (ChangeState.REFUSED, 5), (ChangeState.DONE, None)]
    assert {each.reason for each in ChangeRequest.objects.all()} == {"changed my mind"}
    assert len({each.requested_by for each in ChangeRequest.objects.all()}) == 1
    assert cancels.due() == []


def test_a_cancel_is_given_up_after_the_last_pause(client, paper, clock, monkeypatch):
    order = place(client, LIMIT)
    paper.control.inject("too_many", times=None)
    act(client, f"/trading/orders/{order['id']}/cancel")
    pk = TradeLedger.objects.get().pk

    for pause_s in (1, 5, 30):
        clock[0] += pause_s
        is_over(monkeypatch, pause_s)
        cancels.again(order_id=pk, at=now())

    assert tries() == [(ChangeState.REFUSED, pause_s) for pause_s in (1, 5, 30, None)]
    assert (reread(client, order)["status"], reread(client, order)["cancel"]) == ("PENDING", "REFUSED")
    assert cancels.due() == []


def test_a_cancel_that_waits_is_not_sent_once_its_order_has_ended(client, paper, clock, monkeypatch):
    order = place(client, LIMIT)
    paper.control.inject("too_many")
    act(client, f"/trading/orders/{order['id']}/cancel")
    paper.quote("EURUSD", "1.08390", "1.08400")
    clock[0] += 1
    is_over(monkeypatch, 1)

    for _ in range(2):
        cancels.again(order_id=TradeLedger.objects.get().pk, at=now())

    assert (reread(client, order)["status"], reread(client, order)["cancel"]) == ("FILLED", CancelState.REFUSED)
    assert ChangeRequest.objects.count() == 2  # the one that finds it filled, and none after it


def test_an_order_is_refused_in_the_pause_and_none_is_sent_in_its_place(execute, paper, clock):
    paper.control.inject("too_many")
    refused = execute()
    kept_back = execute(brief(quantity=Decimal("0.02")))
    clock[0] += 1
    filled = execute(brief(quantity=Decimal("0.03")))

    assert [(each.status, each.reason) for each in (refused, kept_back, filled)] == [
        (OrderStatus.REJECTED, "BROKER_10024"), (OrderStatus.REJECTED, "BROKER_ACCOUNT_PAUSED"),
        (OrderStatus.FILLED, ""),
    ]  # fmt: skip
    assert len([deal for deal in paper.truth()["deals"] if deal["type"] in (0, 1)]) == 1


def test_what_the_gateway_has_kept_back_is_no_row_of_refusals(execute, paper, clock, account, settings):
    settings.REFUSALS_MAX = 2
    paper.control.inject("too_many")
    for number in range(4):
        execute(brief(quantity=Decimal(f"0.0{number + 1}")))

    assert triggers._refused(account, since=now() - timedelta(hours=1)) == ""


def test_nor_does_it_ask_its_trader_for_a_pause(execute, paper, clock):
    paper.control.inject("too_many")
    kept_back = [execute(brief(quantity=Decimal(f"0.0{number + 1}"))) for number in range(4)][1:]
    clock[0] += 1

    assert {(each.rejected_by, each.reason) for each in kept_back} == {("LOCAL", "BROKER_ACCOUNT_PAUSED")}
    assert execute(brief(quantity=Decimal("0.05"))).status == OrderStatus.FILLED


def test_an_accepted_order_waits_for_the_end_of_the_pause(client, paper, clock):
    paper.desk.throttle.note(TOO_MANY)
    order = place(client, LIMIT, prefer="respond-async")
    pk = TradeLedger.objects.get().pk

    assert dispatch.dispatch(order_id=pk, at=now()) is None
    assert reread(client, order)["delivery"] == "QUEUED"
    clock[0] += 1
    dispatch.dispatch(order_id=pk, at=now())

    assert reread(client, order)["delivery"] == "ACKED"


def test_stops_that_come_too_fast_are_set_later_and_nothing_is_closed(execute, paper, clock):
    paper.control.inject("stops_dropped")
    order = execute()
    paper.control.inject("too_many", times=3)

    for pause_s in (1, 5, 30):
        protection.protect(order_id=order.pk, at=now())
        protection.protect(order_id=order.pk, at=now())  # in the pause: not even asked
        clock[0] += pause_s
    protection.protect(order_id=order.pk, at=now())

    assert [each.state for each in ChangeRequest.objects.order_by("pk")] == [ChangeState.REFUSED] * 3 + [
        ChangeState.DONE
    ]
    (held,) = paper.truth()["positions"]
    assert (held["sl"], held["tp"]) == (108000, 109000)
    assert TradeLedger.objects.count() == 1


def test_a_sweep_does_not_wait_for_a_pause_that_stands(busy, paper, clock):
    paper.desk.throttle.note(TOO_MANY)
    flatten()

    assert (sweep_now().state, books(paper)) == (SweepState.PROVEN, (0, 0))
    assert paper.desk.throttle.left_s() == 1  # nobody has waited


def test_a_sweep_tries_everything_at_once_and_what_is_refused_again_after_the_pause(busy, paper, clock):
    held = books(paper)
    paper.control.inject("too_many", times=4)
    flatten()

    waiting = sweep_now()
    assert (waiting.state, books(paper)) == (SweepState.RUNNING, held)
    assert len(paper.control.fault_log()) == 4
    closes = TradeLedger.objects.exclude(venue_position_id="")
    assert [each.reason for each in closes] == ["BROKER_10024"] * 2

    waiting = sweep_now(waiting)  # the next round comes in the pause: nothing is asked for that would be refused
    assert (waiting.state, books(paper), closes.all().count()) == (SweepState.RUNNING, held, 2)
    assert "fewer requests" in waiting.detail
    clock[0] += 1

    assert (sweep_now().state, books(paper)) == (SweepState.PROVEN, (0, 0))
    assert closes.all().count() == 4
