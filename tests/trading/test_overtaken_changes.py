"""A change that something else has overtaken before it is known what became of it: its end, a hand, another change."""

from functools import partial
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.core.errors import OutcomeUnknown
from tests.fakes.paper import LOGIN
from tests.trading.change_ways import DONE, REFUSED, D, Desk, End, Send, StopsDesk, TermsDesk, lose
from tests.trading.desk import ask_about_everything
from trading.models import BrokerPosition
from trading.services import settlements, watch
from trading.states import OrderType

WANTED = {"stop_loss": D("1.0760")}  # of a position that has its stop at 1.0800, or of an order with it at 1.0790
OTHERS = {
    "STOPS": settlements.OTHERS,
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
    price = "0" if isinstance(desk, StopsDesk) else "1.08400"
    desk.paper.control.manual_modify(LOGIN, ticket(desk), sl="1.07700", tp="1.09000", price=price)


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


def moved_stops(end: End, *, is_heard: bool) -> dict[str, Any]:
    """Return what counts at 1.0770 and is told; 54.40 were at risk at 1.0800, and 94.38 at 1.0760."""
    if end.is_done and is_heard:
        # For ten seconds a list may be from before ours: 1.0760 counts beside what is shown.
        kept = [("STOP_CHANGE", D("54.40"), D("94.38")), ("EXTERNAL", D("94.38"), D("84.39"))]
        return {"counted": (D("69.97"), 0), "adjustments": kept, "alerts": []}
    kept = [("EXTERNAL", D("54.40"), D("84.39"))]
    return {"counted": (D("29.99"), 0), "adjustments": kept, "alerts": ["TERMS_MOVED"]}


def moved_terms(end: End, *, is_heard: bool, is_searched: bool) -> dict[str, Any]:
    """Return the same of an order: 56.10 at 1.0790, 76.09 at 1.0770, 86.08 at 1.0760."""
    if end.is_done and is_heard:
        return {"counted": (D("29.98"), 0), "adjustments": [("STOP_CHANGE", D("56.10"), D("86.08"))], "alerts": []}
    if is_searched:  # the worse of both stays reserved until it is changed again, and the hand has set nothing worse
        return {"counted": (D("29.98"), 0), "adjustments": [], "alerts": []}
    kept = [("EXTERNAL", D("56.10"), D("76.09"))]
    return {"counted": (D("19.99"), 0), "adjustments": kept, "alerts": ["TERMS_MOVED"]}


@both
@become
@pytest.mark.parametrize("way", [answered, found_by_search, found_before_the_answer, found_before_the_answer_is_lost])
def test_what_a_hand_has_set_meanwhile_stands_whatever_became_of_ours(desk, end, way):
    way(desk, end)

    found = desk.told()
    is_heard, is_searched = way in (answered, found_before_the_answer), way is not answered
    is_done = end.is_done and is_heard
    answer = str(end.error or "") if is_heard and not (is_searched and desk.kind == "TERMS") else OTHERS[desk.kind]
    first = [] if way is not found_by_search else ["UNKNOWN"]
    again = ["REFUSED"] * (way is found_before_the_answer and (is_done or desk.kind == "STOPS"))
    wanted = {
        "state": "DONE" if is_done else "REFUSED",
        "answer": "" if is_done else answer,
        "answered": [*first, *again, "DONE" if is_done else "REFUSED"],
        "listed": 0,
        "is asked for": False,
        "moved": [f"{desk.action}_moved"],
        "stopped": [],
        "the next": "DONE",
    }
    if isinstance(desk, StopsDesk):
        wanted |= moved_stops(end, is_heard=is_heard)
        stop, shown = found["stands"][0], found["at the broker"][0][0]
    else:
        wanted |= moved_terms(end, is_heard=is_heard, is_searched=is_searched)
        stop, shown = found["stands"][2], found["at the broker"][0][1]
    assert (stop, shown) == (D("1.0770"), D("1.0770"))
    assert {name: found[name] for name in wanted} == wanted


# --- By the end of what it is about ------------------------------------------------------------------------------
def end_position(desk: Desk, how: str) -> None:
    match how:
        case "closed by a hand" | "closed in part":
            desk.paper.control.manual_close(LOGIN, ticket(desk), "0.04" if how == "closed in part" else None)
        case "stopped out":
            desk.paper.quote("EURUSD", "1.07500", "1.07510")
    watch.look(account_id=desk.account.pk, at=now())


@of_stops
@become
@pytest.mark.parametrize("how", ["closed by a hand", "stopped out"])
def test_of_a_position_that_has_ended_nobody_knows_and_nothing_is_left_of_it(desk, end, how):
    desk.ask(WANTED, partial(lose, end))
    end_position(desk, how)
    assert BrokerPosition.objects.get().closed_at is not None
    desk.search()

    found = desk.told()

    wanted = {
        "state": "REFUSED", "answer": settlements.CLOSED, "answered": ["UNKNOWN", "REFUSED"], "adjustments": [],
        "alerts": ["EXTERNAL_FILL"] * (how == "closed by a hand"), "listed": 0, "is asked for": False, "moved": [],
        "stopped": [], "the next": "change_refused",
        "at the broker": [],
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted


@of_stops
@become
def test_of_a_position_that_is_answered_for_after_its_end_the_answer_is_kept(desk, end):
    """It was changed, or it was not: what it could lose is history either way."""

    def overtake(send: Send) -> None:
        end.arrive(send)
        end_position(desk, "closed by a hand")
        end.answer(lambda: None)

    desk.ask(WANTED, overtake)

    found = desk.told()
    wanted = {
        "state": "DONE" if end.is_done else "REFUSED", "alerts": ["EXTERNAL_FILL"], "listed": 0, "moved": [],
        "adjustments": [("STOP_CHANGE", D("54.40"), D("94.38"))] * end.is_done, "the next": "change_refused",
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    assert BrokerPosition.objects.get().closed_at is not None


@of_stops
@become
def test_what_is_left_of_a_position_shows_what_became_of_its_stops(desk, end):
    desk.ask(WANTED, partial(lose, end))
    end_position(desk, "closed in part")
    desk.search()

    found = desk.told()

    wanted = {
        "state": "DONE" if end.is_done else "REFUSED", "alerts": ["EXTERNAL_FILL"], "listed": 0, "moved": [],
        "the next": "DONE",
        "adjustments": [("STOP_CHANGE", D("54.40"), D("94.38"))] * end.is_done,
        "stands": (D("1.0760") if end.is_done else D("1.0800"), D("1.0900")),
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted


# --- By the end of the order ---------------------------------------------------------------------------------------
BREAKS = {"order_type": OrderType.STOP, "limit_price": None, "stop_price": D("1.0860")}
NEW = {"stop_price": D("1.0870"), "stop_loss": D("1.0780")}
OLD_TERMS, NEW_TERMS = (D("1.0860"), D("1.0790")), (D("1.0870"), D("1.0780"))
OLD_COST, NEW_COST = (D("78.30"), D("10862.20")), (D("98.29"), D("10872.20"))


def end_order(desk: TermsDesk, how: str) -> None:
    if how == "canceled":
        desk.paper.control.manual_cancel(LOGIN, ticket(desk))
    else:
        desk.paper.quote("EURUSD", "1.08720", "1.08730")
    watch.look(account_id=desk.account.pk, at=now())
    ask_about_everything()
    assert desk.row.delivery == "DONE"


def ended_after_the_answer(desk: TermsDesk, end: End, how: str) -> None:
    desk.ask(NEW, end.answer)
    end_order(desk, how)


def ended_before_the_answer(desk: TermsDesk, end: End, how: str) -> None:
    def overtake(send: Send) -> None:
        end.arrive(send)
        end_order(desk, how)
        end.answer(lambda: None)

    desk.ask(NEW, overtake)


def ended_before_a_search(desk: TermsDesk, end: End, how: str) -> None:
    desk.ask(NEW, partial(lose, end))
    end_order(desk, how)
    desk.search()


def ended_and_searched_before_the_answer(desk: TermsDesk, end: End, how: str) -> None:
    def overtake(send: Send) -> None:
        end.arrive(send)
        end_order(desk, how)
        desk.search()
        end.answer(lambda: None)

    desk.ask(NEW, overtake)


@of_terms
@become
@pytest.mark.parametrize("how", ["filled", "canceled"])
@pytest.mark.parametrize(
    "way",
    [
        ended_after_the_answer,
        ended_before_the_answer,
        ended_before_a_search,
        ended_and_searched_before_the_answer,
    ],
)
def test_the_end_of_an_order_leaves_what_became_of_its_terms(desk, way, end, how):
    """Of one whose answer was lost nobody knows: what counts in the day is the worse, and a position has the stop that
    its broker shows.
    """
    desk.cancel()
    desk.stand(**BREAKS)
    way(desk, end, how)

    found = Desk.told(desk)
    order = desk.row
    is_done = end.is_done and way is not ended_before_a_search
    is_unknown = way is ended_before_a_search
    assert (found["state"], found["listed"], found["is asked for"]) == ("DONE" if is_done else "REFUSED", 0, False)
    assert (found["alerts"], found["moved"]) == ([], ["position.stops_shown"] if len(found["moved"]) else [])
    assert found["the next"] == "order_not_changeable"
    cost = NEW_COST if is_done or is_unknown else OLD_COST
    assert (order.risk, order.value, order.reserved) == (*cost, 0)
    prices = {(True, False): NEW_TERMS, (False, False): OLD_TERMS, (False, True): (OLD_TERMS[0], NEW_TERMS[1])}
    assert (order.stop_price, order.stop_loss) == prices[is_done, is_unknown]
    assert found["adjustments"] == [("STOP_CHANGE", OLD_COST[0], NEW_COST[0])] * is_done
    if how == "filled":
        assert BrokerPosition.objects.get().stop_loss == (NEW_TERMS if end.is_done else OLD_TERMS)[1]
    else:
        assert found["counted"] == (-OLD_COST[0], -OLD_COST[1])
