"""What has become of a change has the same consequences, by whatever way it becomes known: a matrix of both."""

from decimal import Decimal
from typing import Any

import pytest

from nexus.core import money
from tests.trading.change_ways import (
    DONE,
    OLD,
    REFUSED,
    D,
    Desk,
    End,
    StopsDesk,
    Way,
    by_answer,
    by_answer_after_a_search,
    by_search,
    by_search_after_a_crash,
    by_search_before_the_answer,
    by_search_before_the_answer_is_lost,
    by_the_second_search,
)

Outcome = tuple[dict[str, Any], dict[str, Any]]  # what stands, and what is asked for
STOOD: dict[str, Any] = {"stop_loss": D("1.0800"), "take_profit": D("1.0900")}
BARE: dict[str, Any] = {"stop_loss": None, "take_profit": None}
STOPS: dict[str, Outcome] = {
    "tighter": (STOOD, {"stop_loss": D("1.0840")}),
    "wider": (STOOD, {"stop_loss": D("1.0760")}),
    "the first": (BARE, {"stop_loss": D("1.0800")}),
    "a target": (STOOD, {"take_profit": D("1.0950")}),
    "both": (STOOD, {"stop_loss": D("1.0760"), "take_profit": D("1.0950")}),
    "no target": (STOOD, {"take_profit": None}),
    "no stop": (STOOD, {"stop_loss": None}),
}
WAYS: list[Way] = [
    by_answer, by_search, by_search_after_a_crash, by_answer_after_a_search, by_search_before_the_answer,
    by_search_before_the_answer_is_lost, by_the_second_search,
]  # fmt: skip


@pytest.fixture
def stops(execute, account, trader, paper, monkeypatch, settings) -> StopsDesk:
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = D("0.05"), D(100_000)
    settings.MAX_POSITION_SIZE = settings.DAILY_VALUE_LIMIT = D(10**9)
    return StopsDesk(execute, account, trader, paper, monkeypatch)


def risk(stop: Decimal | None) -> Decimal:
    """Return what 0.1 lots can lose from 1.08490, with a gap of 0.05 % beyond their stop."""
    lost = D("1.08490") * D("0.05") if stop is None else D("1.08490") - stop * D("0.9995")
    return money.ceil_to(lost * 10_000, money.CENT)


def flights(extra: Decimal, shown: Decimal, value: Decimal = D(0)) -> list[Any]:
    """Return what counts while nobody knows: what it adds, also where the broker shows it already."""
    seen = [(each, value, [True], "change_in_flight") for each in (extra, extra + shown)]
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
    if way is by_answer_after_a_search:
        told["answered"] = ["REFUSED", "DONE" if end.is_done else "REFUSED"]  # and so is what the search has found
    return told


def arrived_unheard(way: Way, end: End) -> bool:
    return end.is_done and way not in (by_answer, by_answer_after_a_search)


MATRIX = [pytest.param(way, DONE, id=f"done-{way.__name__}") for way in WAYS] + [
    pytest.param(way, REFUSED, id=f"refused-{way.__name__}") for way in WAYS if way is not by_search_before_the_answer
]


@pytest.mark.parametrize(("way", "end"), MATRIX)
def test_a_change_of_stops_has_its_consequences_by_every_way(stops, way, end):
    found, wanted = {}, {}
    for name, (stood, asked) in STOPS.items():
        stops.stand(**stood)
        way(stops, asked, end)
        found |= {f"{name}: {key}": value for key, value in stops.told().items()}
        comes = of_stops(stood, asked, end, is_shown=arrived_unheard(way, end)) | but(stops, way, end)
        wanted |= {f"{name}: {key}": value for key, value in comes.items()}

    assert found == wanted
