"""A change that something else has overtaken before it is known what became of it: its end, a hand, another change."""

from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.core.errors import OutcomeUnknown, Refused
from tests.fakes.paper import LOGIN
from tests.trading.change_ways import DONE, REFUSED, D, Desk, End, Send, StopsDesk, TermsDesk, lose
from trading.models import BrokerPosition, TradeLedger
from trading.services import changes, closes, watch

WANTED = {"stop_loss": D("1.0760")}  # of a position that has its stop at 1.0800, or of an order with it at 1.0790
HAND = {"sl": "1.07700", "tp": "1.09000"}
OTHERS = {
    "STOPS": changes.OTHERS,
    "TERMS": "The order shows terms that are neither the old nor the new.",
}


@pytest.fixture
def desk(request, execute, account, trader, paper, monkeypatch, settings) -> Any:
    """A desk of one kind, with something that stands, for whose trader no limit is ever near."""
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = D("0.05"), D(100_000)
    settings.MAX_POSITION_SIZE = settings.DAILY_VALUE_LIMIT = D(10**9)
    found = request.param(execute, account, trader, paper, monkeypatch)
    found.stand()
    return found


both = pytest.mark.parametrize("desk", [StopsDesk, TermsDesk], indirect=True)
of_stops = pytest.mark.parametrize("desk", [StopsDesk], indirect=True)
of_terms = pytest.mark.parametrize("desk", [TermsDesk], indirect=True)
become = pytest.mark.parametrize("end", [DONE, REFUSED], ids=["done", "refused"])


def ticket(desk: Desk) -> int:
    truth = desk.paper.truth()
    (standing,) = truth["positions" if isinstance(desk, StopsDesk) else "working"]
    found: int = standing["ticket"]
    return found


def move(desk: Desk) -> None:
    price = {} if isinstance(desk, StopsDesk) else {"price": "1.08400"}
    desk.paper.control.manual_modify(LOGIN, ticket(desk), **HAND, **price)


# --- By a hand at the terminal -----------------------------------------------------------------------------------
def found_by_search(desk: Desk, end: End) -> None:
    desk.ask(WANTED, partial(lose, end))
    move(desk)
    desk.search()


def found_before_the_answer_is_lost(desk: Desk, end: End) -> None:
    def overtake(send: Send) -> None:
        end.arrive(send)
        move(desk)
        desk.search()
        raise OutcomeUnknown("No answer.")

    desk.ask(WANTED, overtake)


def found_before_the_answer(desk: Desk, end: End) -> None:
    def overtake(send: Send) -> None:
        end.arrive(send)
        move(desk)
        desk.search()
        end.answer(lambda: None)

    desk.ask(WANTED, overtake)


def answered(desk: Desk, end: End) -> None:
    """The hand came after it was sent, and before its answer."""

    def overtake(send: Send) -> None:
        end.arrive(send)
        move(desk)
        end.answer(lambda: None)

    desk.ask(WANTED, overtake)


@both
@become
@pytest.mark.parametrize("way", [answered, found_by_search, found_before_the_answer, found_before_the_answer_is_lost])
def test_what_a_hand_has_set_meanwhile_stands_whatever_became_of_ours(desk, end, way):
    way(desk, end)

    found = desk.told()
    is_heard = way in (answered, found_before_the_answer)
    assert (found["state"], found["listed"], found["is asked for"]) == (
        "DONE" if end.is_done and is_heard else "REFUSED", 0, False,
    )  # fmt: skip
    assert found["at the broker"] == [found["at the broker"][0]]
    assert D("1.0770") in found["stands"][:3]
    assert found["answered"][-1] == found["state"]
    assert found["the next"] == "DONE"
    assert found["moved"] == [f"{desk.action}_moved"]
