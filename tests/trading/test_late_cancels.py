"""A cancel that was given up and asked for anew: what is answered to the first one says nothing of the second."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from tests.trading.desk import LIMIT, act, place
from trading.models import ChangeRequest, TradeLedger
from trading.services import cancels, facts
from trading.states import CancelState, ChangeState


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
