"""A cancel that was lost is sent anew; what is answered to the first one then says nothing of the second."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db.models import F
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.audit.types import Actor
from nexus.core.errors import Unreachable
from tests.trading.desk import LIMIT, act, place
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import AccountFigures, ChangeRequest, TradeLedger
from trading.services import cancels, facts, lost
from trading.states import CancelState, ChangeState, OrderStatus


@pytest.fixture
def path(client) -> str:
    return f"/trading/orders/{place(client, LIMIT)['id']}/cancel"


def while_it_waits(monkeypatch: Any, do: Any) -> None:
    """Let something happen between the broker's answer to the first cancel and its keeping."""
    real, between = cancels._settle, [True]

    def settle_late(change: ChangeRequest, **what: Any) -> None:
        if between:
            between.clear()
            ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(hours=1))
            do()
        real(change, **what)

    monkeypatch.setattr(cancels, "_settle", settle_late)


def states() -> list[str]:
    return list(ChangeRequest.objects.order_by("pk").values_list("state", flat=True))


def test_a_lost_answer_does_not_take_the_place_of_a_pause_that_a_newer_cancel_waits_for(
    client, paper, path, monkeypatch
):
    def ask_anew() -> None:
        paper.control.inject("too_many")
        act(client, path)
        assert TradeLedger.objects.get().cancel == CancelState.REQUESTED

    while_it_waits(monkeypatch, ask_anew)
    paper.control.inject("timeout_before_accept")
    act(client, path)

    assert states() == [ChangeState.REFUSED, ChangeState.REFUSED]
    assert TradeLedger.objects.get().cancel == CancelState.REQUESTED
    later = facts.database_clock() + timedelta(seconds=2)
    monkeypatch.setattr(facts, "database_clock", lambda: later)
    assert cancels.due() == [TradeLedger.objects.get().pk]  # the newer one is sent again when its pause is over


def test_a_refusal_that_comes_late_does_not_refuse_a_newer_cancel(client, paper, path, monkeypatch):
    def ask_anew() -> None:
        paper.control.inject("timeout_before_accept")
        act(client, path)
        assert TradeLedger.objects.get().cancel == CancelState.UNKNOWN
        TradeLedger.objects.update(cancel=CancelState.REQUESTED)  # as if its answer was on its way
        ChangeRequest.objects.filter(state=ChangeState.UNKNOWN).update(state=ChangeState.SENDING)

    while_it_waits(monkeypatch, ask_anew)
    paper.control.inject("retcode")  # refused for good
    act(client, path)

    assert states() == [ChangeState.REFUSED, ChangeState.SENDING]
    assert ChangeRequest.objects.earliest("pk").answer == "No answer came. It was asked for anew."
    assert TradeLedger.objects.get().cancel == CancelState.REQUESTED


def after(monkeypatch: Any, seconds: float) -> None:
    """Let the database's clock be so many seconds later, as far as leases are looked at."""
    later = facts.database_clock() + timedelta(seconds=seconds)
    monkeypatch.setattr(facts, "database_clock", lambda: later)


def lose(client, paper, path) -> TradeLedger:
    """Cancel an order; the request is lost on its way."""
    paper.control.inject("timeout_before_accept")
    act(client, path)
    return TradeLedger.objects.get(cancel=CancelState.UNKNOWN)


def test_a_lost_cancel_of_an_order_that_works_is_sent_anew(client, paper, path, monkeypatch):
    order = lose(client, paper, path)
    assert cancels.due() == []  # it may be on its way still
    cancels.again(order_id=order.pk, at=now())
    assert states() == [ChangeState.UNKNOWN]

    after(monkeypatch, settings.SENDING_LEASE_S + 1)
    assert cancels.due() == [order.pk]
    cancels.again(order_id=order.pk, at=now())
    cancels.again(order_id=order.pk, at=now())  # the same message, twice

    assert states() == [ChangeState.REFUSED, ChangeState.DONE]
    order.refresh_from_db()
    assert (order.status, order.cancel) == (OrderStatus.CANCELED, CancelState.DONE)
    assert cancels.due() == []


def test_a_cancel_whose_process_died_before_it_was_sent_is_sent_by_another(client, paper, path, monkeypatch):
    class Died(BaseException):
        """A process that is killed runs nothing after it."""

    def die(*_: Any) -> None:
        raise Died

    pk = TradeLedger.objects.get().pk
    with monkeypatch.context() as killed:
        killed.setattr(cancels, "_send", die)
        with pytest.raises(Died):
            cancels.request(order_id=pk, actor=Actor.system("test"), reason="", at=now())
    order = TradeLedger.objects.get()
    assert (states(), order.cancel, cancels.due()) == ([ChangeState.SENDING], CancelState.REQUESTED, [])

    after(monkeypatch, settings.SENDING_LEASE_S + 1)
    assert cancels.due() == [order.pk]
    cancels.again(order_id=order.pk, at=now())

    order.refresh_from_db()
    assert (order.status, order.cancel) == (OrderStatus.CANCELED, CancelState.DONE)


def test_a_lost_cancel_that_arrived_after_all_is_not_sent_a_second_time(client, paper, path, monkeypatch):
    order = lose(client, paper, path)
    paper.control.manual_cancel(paper.login, int(order.venue_order_id))

    after(monkeypatch, settings.SENDING_LEASE_S + 1)
    cancels.again(order_id=order.pk, at=now())

    assert len(states()) == 1
    order.refresh_from_db()
    assert (order.status, order.cancel) == (OrderStatus.CANCELED, CancelState.DONE)


def test_cancels_that_are_lost_again_and_again_are_sent_ever_more_rarely(client, paper, path, monkeypatch):
    order = lose(client, paper, path)
    paper.control.inject("timeout_before_accept", times=None)

    waits: list[int] = []
    for _ in range(8):
        if waits and not waits[-1]:
            break
        waits.append(0)
        while not cancels.due() and waits[-1] < 1000:
            waits[-1] += 10
            after(monkeypatch, 10)
        if waits[-1] < 1000:
            cancels.again(order_id=order.pk, at=now())
            assert TradeLedger.objects.get().cancel == CancelState.UNKNOWN

    assert waits == sorted(waits)
    assert waits[-1] == 1000  # then it is left to people, who are told
    assert len(states()) == 1 + cancels.LOST_TRIES


def test_a_lost_cancel_waits_for_a_broker_that_does_not_answer(client, paper, path, monkeypatch):
    order = lose(client, paper, path)
    after(monkeypatch, settings.SENDING_LEASE_S + 1)
    assert cancels.due() == [order.pk]
    long_ago = facts.database_clock() - timedelta(minutes=5)
    AccountFigures.objects.create(account=order.account, failing_since=long_ago, read_at=long_ago)

    assert cancels.due() == []


def unreachable(*_: Any, **__: Any) -> None:
    raise Unreachable("the gateway is starting")


def test_a_cancel_that_never_left_us_is_sent_anew_as_soon_as_the_broker_answers(client, paper, path, monkeypatch):
    with monkeypatch.context() as gone:
        gone.setattr(Mt5Broker, "cancel", unreachable)
        answer = act(client, path).json()
    order = TradeLedger.objects.get()
    assert (answer["status"], answer["cancel"], cancels.due()) == ("PENDING", "REQUESTED", [])
    after(monkeypatch, 2)
    long_ago = facts.database_clock() - timedelta(minutes=5)
    silent = AccountFigures.objects.create(account=order.account, failing_since=long_ago, read_at=long_ago)
    assert cancels.due() == []
    ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(seconds=70))
    lost.tell(at=now())
    assert "has not taken a CANCEL request" in Alert.objects.get(kind="CHANGE_UNKNOWN", closed_at=None).text
    silent.delete()

    assert cancels.due() == [order.pk]
    cancels.again(order_id=order.pk, at=now())
    lost.tell(at=now())
    assert not Alert.objects.filter(kind="CHANGE_UNKNOWN", closed_at=None).exists()

    order.refresh_from_db()
    assert (order.status, order.cancel) == (OrderStatus.CANCELED, CancelState.DONE)
    assert (states(), cancels.due()) == ([ChangeState.REFUSED, ChangeState.DONE], [])


def test_whoever_asks_again_for_what_never_left_us_does_not_wait(client, paper, path, monkeypatch):
    with monkeypatch.context() as gone:
        gone.setattr(Mt5Broker, "cancel", unreachable)
        act(client, path)

    assert act(client, path).json()["status"] == "CANCELED"


def test_one_that_never_leaves_us_is_refused_in_the_end(client, paper, path, monkeypatch):
    monkeypatch.setattr(Mt5Broker, "cancel", unreachable)
    act(client, path)
    order = TradeLedger.objects.get()
    for pause_s in cancels.PAUSES_S:
        assert TradeLedger.objects.get().cancel == CancelState.REQUESTED
        after(monkeypatch, pause_s)
        cancels.again(order_id=order.pk, at=now())

    assert TradeLedger.objects.get().cancel == CancelState.REFUSED
    assert cancels.due() == []


def test_a_refusal_whose_pause_is_over_is_not_handed_out_beside_a_newer_cancel(client, paper, path, monkeypatch):
    paper.control.inject("too_many")
    act(client, path)
    after(monkeypatch, 2)
    assert cancels.due() == [TradeLedger.objects.get().pk]
    with monkeypatch.context() as taken:  # and not carried out
        taken.setattr(Mt5Broker, "cancel", lambda *_, **__: None)
        cancels.again(order_id=TradeLedger.objects.get().pk, at=now())

    assert states() == [ChangeState.REFUSED, ChangeState.DONE]
    assert cancels.due() == []


def test_a_refusal_for_the_moment_is_sent_anew_also_where_the_looks_fail(client, paper, path, monkeypatch):
    """The broker has answered it: a look fails also where a history alone cannot be read."""
    paper.control.inject("too_many")
    act(client, path)
    order = TradeLedger.objects.get()
    after(monkeypatch, 2)
    long_ago = facts.database_clock() - timedelta(minutes=5)
    AccountFigures.objects.create(account=order.account, failing_since=long_ago, read_at=long_ago)

    assert cancels.due() == [order.pk]
