"""What has become of a change has the same consequences, by whatever way it becomes known: a matrix of both."""

from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from nexus.core import money
from tests.trading.change_ways import (
    DONE,
    FOR_GOOD,
    NOT_NOW,
    NOT_SENT,
    OLD,
    REFUSED,
    D,
    Desk,
    End,
    StopsDesk,
    TermsDesk,
    Way,
    by_answer,
    by_answer_after_a_search,
    by_search,
    by_search_after_a_crash,
    by_search_before_the_answer,
    by_search_before_the_answer_is_lost,
    by_the_second_search,
    lose,
)
from trading.services import haste
from trading.states import ChangeKind, OrderType

Outcome = tuple[dict[str, Any], dict[str, Any]]  # what stands, and what is asked for
STOOD: dict[str, Any] = {"stop_loss": D("1.0800"), "take_profit": D("1.0900")}
BARE: dict[str, Any] = {"stop_loss": None, "take_profit": None}
STOPS: dict[str, Outcome] = {
    "tighter": (STOOD, {"stop_loss": D("1.0840")}),
    "the first": (BARE, {"stop_loss": D("1.0800")}),
    "wider, and a target": (STOOD, {"stop_loss": D("1.0760"), "take_profit": D("1.0950")}),
    "no target": (STOOD, {"take_profit": None}),
    "no stop": (STOOD, {"stop_loss": None}),
}
LIMIT: dict[str, Any] = {}
STOP: dict[str, Any] = {"order_type": OrderType.STOP, "limit_price": None, "stop_price": D("1.0860")}
TOUCHED: dict[str, Any] = {
    "order_type": OrderType.STOP_LIMIT, "limit_price": D("1.0855"), "stop_price": D("1.0860"),
}  # fmt: skip
# With what the order can lose, and is worth, before and after.
TERMS: dict[str, tuple[Outcome, tuple[str, str], tuple[str, str]]] = {
    "nearer": ((LIMIT, {"limit_price": D("1.0845")}), ("56.10", "10850"), ("61.10", "10850")),
    "wider, and a target": (
        (LIMIT, {"stop_loss": D("1.0780"), "take_profit": D("1.0950")}), ("56.10", "10850"), ("66.09", "10850")
    ),
    "further and tighter": (
        (LIMIT, {"limit_price": D("1.0830"), "stop_loss": D("1.0795")}), ("56.10", "10850"), ("41.10", "10850")
    ),
    "a trigger": ((STOP, {"stop_price": D("1.0870")}), ("78.30", "10862.20"), ("88.30", "10872.20")),
    "all of one that was touched": (
        (TOUCHED, {"limit_price": D("1.0852"), "stop_loss": D("1.0780"), "take_profit": D("1.0950")}),
        ("71.10", "10855"), ("78.09", "10860"),
    ),
}  # fmt: skip
WAYS: list[Way] = [
    by_answer, by_search, by_search_after_a_crash, by_answer_after_a_search, by_search_before_the_answer,
    by_search_before_the_answer_is_lost, by_the_second_search,
]  # fmt: skip


@pytest.fixture
def desk(request, execute, account, trader, paper, monkeypatch, settings) -> Any:
    """A desk of one kind, for whose trader no limit is ever near."""
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = D("0.05"), D(100_000)
    settings.MAX_POSITION_SIZE = settings.DAILY_VALUE_LIMIT = D(10**9)
    return request.param(execute, account, trader, paper, monkeypatch)


def risk(stop: Decimal | None) -> Decimal:
    """Return what 0.1 lots can lose from 1.08490, with a gap of 0.05 % beyond their stop."""
    lost = D("1.08490") * D("0.05") if stop is None else D("1.08490") - stop * D("0.9995")
    return money.ceil_to(lost * 10_000, money.CENT)


def flights(extra: Decimal, shown: Decimal) -> list[Any]:
    """Return what counts while nobody knows: what it adds, also where the broker shows it already."""
    seen = [(each, 0, [True], "change_in_flight") for each in (extra, extra + shown)]
    return seen[: 2 if shown else 1]


def of_stops(stood: dict[str, Any], wanted: dict[str, Any], end: End, *, is_shown: bool) -> dict[str, Any]:
    """Return what comes of a change of stops, whoever tells. Takes: `is_shown` before anybody knows of it."""
    after = stood | wanted if end.is_done else stood
    before_risk, asked_risk = (risk(each["stop_loss"]) for each in (stood, stood | wanted))
    shows = asked_risk - before_risk if is_shown else D(0)
    is_restopped = end.is_done and after["stop_loss"] != stood["stop_loss"]
    return {
        "state": "DONE" if end.is_done else "REFUSED",
        "answer": f"{end.begins}{end.error or ''}",
        "settled": True,
        "while it was on its way": flights(max(D(0), asked_risk - before_risk), shows),
        "stands": (after["stop_loss"], after["take_profit"]),
        "at the broker": [(after["stop_loss"], after["take_profit"])],
        "counted": (risk(after["stop_loss"]) - before_risk, 0),
        "adjustments": [("STOP_CHANGE", before_risk, asked_risk)] * is_restopped,
        "alerts": [],
        "asked": 1,
        "answered": ["DONE" if end.is_done else "REFUSED"],
        "moved": [],
        "listed": 0,
        "is asked for": False,
        "stopped": [],
        "the next": "DONE",
    }


# Where one way has other consequences, and why.
def but(desk: Desk, way: Way, end: End) -> dict[str, Any]:
    told: dict[str, Any] = {}
    is_lost = way not in (by_answer, by_answer_after_a_search, by_search_before_the_answer)
    if is_lost and not end.is_done:
        told["answer"] = OLD[desk.kind]  # what the broker said of it, nobody has heard
    if way in (by_search, by_the_second_search):
        told["answered"] = ["UNKNOWN", "DONE" if end.is_done else "REFUSED"]  # that its answer was lost is told too
    if way is by_answer_after_a_search and not end.is_done and desk.kind == ChangeKind.TERMS:
        told["answer"] = OLD[desk.kind]  # the search has told it by then, and nothing follows from the words
    elif way is by_answer_after_a_search:
        told["answered"] = ["REFUSED", "DONE" if end.is_done else "REFUSED"]  # and so is what the search has found
    return told


def arrived_unheard(way: Way, end: End) -> bool:
    return end.is_done and way not in (by_answer, by_answer_after_a_search)


MATRIX = [pytest.param(way, DONE, id=f"done-{way.__name__}") for way in WAYS] + [
    pytest.param(way, REFUSED, id=f"refused-{way.__name__}") for way in WAYS if way is not by_search_before_the_answer
]


def of_terms(outcome: Outcome, old: tuple[str, str], new: tuple[str, str], end: End) -> dict[str, Any]:
    """Return what comes of a change of an order's terms, whoever tells. Takes: its risk and its value."""
    stood = {"limit_price": D("1.0840"), "stop_price": None, "stop_loss": D("1.0790"), "take_profit": D("1.0900")}
    stood |= outcome[0]
    stands = stood | outcome[1] if end.is_done else stood
    (old_risk, old_value), (new_risk, new_value) = ([D(each) for each in figures] for figures in (old, new))
    held_risk, held_value = (new_risk, new_value) if end.is_done else (old_risk, old_value)
    is_restopped = end.is_done and "stop_loss" in outcome[1]
    worse = max(D(0), new_risk - old_risk), max(D(0), new_value - old_value)
    prices = [stands[name] for name in ("limit_price", "stop_price", "stop_loss", "take_profit")]
    return {
        "state": "DONE" if end.is_done else "REFUSED",
        "answer": str(end.error or ""),
        "settled": True,
        "while it was on its way": [(*worse, [True], "change_in_flight")],
        "stands": (*prices, held_risk, 0, held_risk, held_value),
        "at the broker": [((prices[0] if outcome[0] is not STOP else prices[1]), prices[2], prices[3])],
        "counted": (held_risk - old_risk, held_value - old_value),
        "adjustments": [("STOP_CHANGE", old_risk, new_risk)] * is_restopped,
        "alerts": [],
        "asked": 1,
        "answered": ["DONE" if end.is_done else "REFUSED"],
        "moved": [],
        "listed": 0,
        "is asked for": False,
        "stopped": [],
        "the next": "DONE",
        "canceled": (-old_risk, -old_value),
    }


def some(outcomes: dict[str, Any], way: Way, end: End) -> dict[str, Any]:
    """Return those that are worth the time: all, where what was done becomes known in ways that share no step."""
    if end.is_done and way in (by_answer, by_search, by_answer_after_a_search):
        return outcomes
    return {name: outcomes[name] for name in ("wider, and a target", [*outcomes][-1])}


@pytest.mark.parametrize("desk", [StopsDesk], indirect=True)
@pytest.mark.parametrize(("way", "end"), MATRIX)
def test_a_change_of_stops_has_its_consequences_by_every_way(desk, way, end):
    found: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    for name, (stood, asked) in some(STOPS, way, end).items():
        desk.stand(**stood)
        way(desk, asked, end)
        found |= {f"{name}: {key}": value for key, value in desk.told().items()}
        comes = of_stops(stood, asked, end, is_shown=arrived_unheard(way, end)) | but(desk, way, end)
        wanted |= {f"{name}: {key}": value for key, value in comes.items()}

    assert found == wanted


@pytest.mark.parametrize("desk", [TermsDesk], indirect=True)
@pytest.mark.parametrize(("way", "end"), MATRIX)
def test_a_change_of_terms_has_its_consequences_by_every_way(desk, way, end):
    found: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    for name, (outcome, old, new) in some(TERMS, way, end).items():
        desk.stand(**outcome[0])
        way(desk, outcome[1], end)
        found |= {f"{name}: {key}": value for key, value in desk.told().items()}
        comes = of_terms(outcome, old, new, end) | but(desk, way, end)
        wanted |= {f"{name}: {key}": value for key, value in comes.items()}

    assert found == wanted


@pytest.mark.parametrize("ends", [(NOT_NOW, NOT_SENT), (FOR_GOOD,)], ids=["not now, and not sent", "for good"])
@pytest.mark.parametrize("way", [by_answer, by_answer_after_a_search, by_search])
@pytest.mark.parametrize("desk", [StopsDesk, TermsDesk], indirect=True)
def test_whatever_was_said_that_is_no_yes_what_stood_stands(desk, way, ends):
    """Who refuses for good stops the account, where anybody hears of it."""
    is_stops = desk.kind == ChangeKind.STOPS
    outcome = STOPS["tighter"] if is_stops else TERMS["nearer"][0]
    for end in ends:
        desk.stand(**outcome[0])

        way(desk, outcome[1], end)

        wanted = of_stops(*outcome, end, is_shown=False) if is_stops else of_terms(*TERMS["nearer"], end)
        wanted |= but(desk, way, end)
        if end is FOR_GOOD and way is not by_search:
            wanted |= {"alerts": ["TRADING_STOPPED"], "stopped": ["ACCOUNT"]}
        assert desk.told() == wanted


@pytest.mark.parametrize("is_lost", [False, True], ids=["heard", "lost"])
@pytest.mark.parametrize("end", [DONE, NOT_SENT], ids=["done", "not sent"])
@pytest.mark.parametrize("desk", [StopsDesk, TermsDesk], indirect=True)
def test_a_change_counts_in_its_second_whatever_is_heard_of_it(desk, end, is_lost, settings, monkeypatch):
    monkeypatch.setattr(haste, "SECOND", timedelta(minutes=1))
    outcome = STOPS["tighter"] if desk.kind == ChangeKind.STOPS else TERMS["nearer"][0]
    desk.stand(**outcome[0])

    desk.ask(outcome[1], partial(lose, end) if is_lost else end.answer)

    settings.ORDERS_PER_SECOND = D(1)
    assert desk.again() == "rate_limited"
