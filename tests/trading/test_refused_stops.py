"""Stops that a position lacks, and whose answer comes late or never: what counts as a refusal by the broker."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from nexus.core.errors import OutcomeUnknown, OutsideError, Refused, Unreachable
from risk.models import TradingControl
from risk.states import ControlScope
from tests.trading.test_change_decisions import settled
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import ChangeRequest, TradeLedger
from trading.services import changes, protection, settlements
from trading.states import ChangeState

PROVEN = timedelta(seconds=200)


@pytest.fixture
def bare(execute: Any, paper: Any) -> TradeLedger:
    """An order that was filled without its stops."""
    paper.control.inject("stops_dropped")
    order: TradeLedger = execute()
    assert protection.due() == [order.pk]
    return order


def protect(order: TradeLedger) -> None:
    protection.protect(order_id=order.pk, at=now())


def search() -> None:
    """Look for the newest change when it would have arrived for long."""
    ChangeRequest.objects.update(sent_at=F("sent_at") - PROVEN)
    changes.resolve(change_id=ChangeRequest.objects.latest("pk").pk, at=now())


def is_stopped() -> bool:
    return TradingControl.objects.filter(scope=ControlScope.INSTRUMENT).exists()


def answers(monkeypatch: pytest.MonkeyPatch, answer: OutsideError, *, before: Callable[[], None]) -> None:
    def say(*_: Any) -> None:
        before()
        raise answer

    monkeypatch.setattr(Mt5Broker, "change_stops", say)


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "after a search"])
@pytest.mark.parametrize(
    ("answer", "is_refusal"),
    [
        (Refused("The stops are not valid.", code="10016"), True),
        (Refused("The price is too near.", code="10029", retry_s=0), False),
        (Unreachable("The gateway is away."), False),
        (OutcomeUnknown("No answer."), False),
    ],
    ids=["refused", "not now", "not sent", "lost"],
)
def test_only_a_broker_that_refuses_a_stop_loss_stops_its_instrument_whenever_it_is_heard(
    bare, monkeypatch, answer, is_refusal, is_late
):
    """Also where its process was frozen, and a search has shown by then that nothing was set."""
    answers(monkeypatch, answer, before=search if is_late else lambda: None)

    protect(bare)

    assert is_stopped() == is_refusal
    said = ChangeRequest.objects.get()
    is_lost = isinstance(answer, OutcomeUnknown)
    assert said.state == ("UNKNOWN" if is_lost and not is_late else "REFUSED")
    assert said.answer.endswith("The position shows the old stops." if is_lost and is_late else str(answer))


@pytest.mark.parametrize(("answer", "is_refusal"), [
    (Refused("The stops are not valid.", code="10016"), True), (Unreachable("The gateway is away."), False),
    (OutcomeUnknown("No answer."), False),
])  # fmt: skip
def test_what_two_operators_have_decided_is_no_word_of_the_broker(bare, people, monkeypatch, answer, is_refusal):
    """Its process was frozen meanwhile; what the broker says after all is kept, and counts."""

    def decided() -> None:
        ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(seconds=65))
        settled(ChangeRequest.objects.get(), ChangeState.REFUSED, people)

    answers(monkeypatch, answer, before=decided)

    protect(bare)

    assert is_stopped() == is_refusal
    said = ChangeRequest.objects.get()
    heard = settlements.DECIDED if isinstance(answer, OutcomeUnknown) else str(answer)
    assert (said.state, said.answer.endswith(heard)) == ("REFUSED", True)


def test_what_never_left_us_is_no_refusal_however_late_that_is_heard(bare, paper, monkeypatch):
    """Twice it is not sent; the position is given its stops, and not closed."""
    with monkeypatch.context() as away:
        answers(away, Unreachable("The gateway is away."), before=search)
        for _ in range(3):
            protect(bare)

    protect(bare)

    (held,) = paper.truth()["positions"]
    assert (held["sl"], held["tp"]) == (108000, 109000)


def test_stops_that_are_lost_twice_and_proven_not_to_stand_close_the_position(bare, paper, monkeypatch):
    """For more than six minutes it has stood without a bound, and people were told of it all that time."""
    answers(monkeypatch, OutcomeUnknown("No answer."), before=lambda: None)
    for _ in range(2):
        protect(bare)
        protect(bare)  # the first one is on its way still
        assert len(paper.truth()["positions"]) == 1
        search()
        assert ChangeRequest.objects.latest("pk").answer == "The position shows the old stops."

    protect(bare)

    assert paper.truth()["positions"] == []
    assert (ChangeRequest.objects.count(), is_stopped()) == (2, False)  # no broker has refused anything


def test_stops_that_are_lost_and_found_are_no_refusal(bare, paper, monkeypatch):
    real = Mt5Broker.change_stops

    def lose(*given: Any) -> None:
        real(*given)
        raise OutcomeUnknown("No answer.")

    monkeypatch.setattr(Mt5Broker, "change_stops", lose)
    protect(bare)
    search()

    protect(bare)

    assert (ChangeRequest.objects.get().state, protection.due()) == ("DONE", [])
    assert len(paper.truth()["positions"]) == 1
