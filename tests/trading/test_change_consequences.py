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

STOOD: dict[str, Any] = {"stop_loss": D("1.0800"), "take_profit": D("1.0900")}
BARE: dict[str, Any] = {"stop_loss": None, "take_profit": None}
STOPS = {
    "tighter": (STOOD, {"stop_loss": D("1.0830")}),
    "wider": (STOOD, {"stop_loss": D("1.0750")}),
    "the first": (BARE, {"stop_loss": D("1.0800")}),
    "a target": (STOOD, {"take_profit": D("1.0950")}),
    "both": (STOOD, {"stop_loss": D("1.0750"), "take_profit": D("1.0950")}),
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


def of_stops(stood: dict[str, Any], wanted: dict[str, Any], end: End) -> dict[str, Any]:
    """Return what comes of a change of stops, whoever tells."""
    after = stood | wanted if end.is_done else stood
    before_risk, asked_risk = (risk(each["stop_loss"]) for each in (stood, stood | wanted))
    is_restopped = end.is_done and after["stop_loss"] != stood["stop_loss"]
    return {
        "state": "DONE" if end.is_done else "REFUSED",
        "answer": f"{end.begins}{end.error or ''}",
        "settled": True,
        "while it was on its way": (max(D(0), asked_risk - before_risk), 0, [True], "change_in_flight"),
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
    return {}


@pytest.mark.parametrize("end", [DONE, REFUSED], ids=["done", "refused"])
@pytest.mark.parametrize("way", WAYS)
def test_a_change_of_stops_has_its_consequences_by_every_way(stops, way, end):
    found, wanted = {}, {}
    for name, (stood, asked) in STOPS.items():
        stops.stand(**stood)
        way(stops, asked, end)
        found[name] = stops.told()
        wanted[name] = of_stops(stood, asked, end) | but(stops, way, end)

    assert found == wanted
