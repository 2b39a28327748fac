"""A position that nobody has seen with its stops yet may have been made without them: then they are set, at last."""

import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from tests.stops import stop
from tests.trading.conftest import brief
from tests.trading.desk import LIMIT, act, ask_about_everything, place, position_of
from trading.models import BrokerPosition, ChangeRequest, TradeLedger
from trading.services import moved, protection, watch

LATE_S = 1.0


def look(account: Any) -> None:
    watch.look(account_id=account.pk, at=now())


def told() -> list[str]:
    return sorted(Alert.objects.filter(kind__in=("STOPS_MISSING", "TERMS_MOVED")).values_list("kind", flat=True))


def stands(paper: Any) -> tuple[int, int]:
    (position,) = paper.truth()["positions"]
    return position["sl"], position["tp"]


def lists_late(paper: Any) -> None:
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=round(LATE_S * 1000))


@pytest.fixture
def late(execute: Any, paper: Any) -> Any:
    """Place an order whose position the terminal lists a second late."""

    def placed(*faults: str) -> TradeLedger:
        lists_late(paper)
        for name in faults:
            paper.control.inject(name)
        order: TradeLedger = execute(brief())
        assert (order.status, protection.due()) == ("FILLED", [])
        return order

    return placed


def test_a_position_made_without_its_stops_and_listed_late_is_given_them(late, paper, account, new_events):
    order = late("stops_dropped")
    look(account)
    assert told() == []  # it is not listed yet
    time.sleep(LATE_S)

    look(account)

    assert (told(), protection.due()) == (["STOPS_MISSING"], [order.pk])
    assert BrokerPosition.objects.get().stop_loss == order.stop_loss  # nobody has moved it
    assert "position.stops_moved" not in {each.action for each in new_events()}
    protection.protect(order_id=order.pk, at=now())
    assert stands(paper) == (108000, 109000)
    time.sleep(LATE_S)
    protection.protect(order_id=order.pk, at=now())
    look(account)
    assert (told(), protection.due()) == (["STOPS_MISSING"], [])


def test_once_seen_with_its_stops_whoever_takes_them_away_has_moved_them(late, paper, account):
    late()
    time.sleep(LATE_S)
    look(account)
    assert told() == []
    (position,) = paper.truth()["positions"]
    paper.control.manual_modify(paper.login, position["ticket"])
    time.sleep(LATE_S)

    look(account)

    assert (told(), protection.due()) == (["TERMS_MOVED"], [])
    assert BrokerPosition.objects.get().stop_loss is None


def test_stops_that_a_trader_has_taken_away_before_they_were_listed_are_not_missing(late, account, client, settings):
    """What stands here is what was asked for last."""
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    late()
    time.sleep(LATE_S)
    answer = act(client, f"/trading/positions/{position_of(client)['id']}", {"stop_loss": None}, method="patch")
    assert answer.json()["state"] == "DONE"
    time.sleep(LATE_S)

    look(account)

    assert told() == []
    assert ChangeRequest.objects.count() == 1


def test_an_order_that_waited_and_filled_without_its_stops_is_given_them(client, paper, account):
    placed = place(client, LIMIT)
    paper.quote("EURUSD", "1.08380", "1.08390")
    (position,) = paper.truth()["positions"]
    paper.control.manual_modify(paper.login, position["ticket"])  # as if it had never had them
    look(account)  # books the fill
    assert told() == []

    look(account)

    order = TradeLedger.objects.get(public_id=placed["id"])
    assert (order.status, told(), protection.due()) == ("FILLED", ["STOPS_MISSING"], [order.pk])
    protection.protect(order_id=order.pk, at=now())
    assert stands(paper) == (107900, 109000)


def test_an_order_whose_answer_was_lost_is_watched_likewise(execute, paper, account):
    lists_late(paper)
    paper.control.inject("timeout_after_accept")
    order = execute(brief())
    ask_about_everything()
    order.refresh_from_db()
    assert (order.status, protection.due()) == ("FILLED", [])
    (position,) = paper.truth()["positions"]
    paper.control.manual_modify(paper.login, position["ticket"])  # as if it had never had them
    time.sleep(LATE_S)

    look(account)

    assert (told(), protection.due()) == (["STOPS_MISSING"], [order.pk])


def test_what_cannot_be_valued_is_given_its_stops_all_the_same(late, account, monkeypatch):
    order = late("stops_dropped")
    time.sleep(LATE_S)
    monkeypatch.setattr(moved, "_met", lambda *_, **__: {})

    look(account)

    assert protection.due() == [order.pk]


def test_under_a_stop_they_are_set_too(late, paper, account):
    order = late("stops_dropped")
    stop()
    time.sleep(LATE_S)

    look(account)
    protection.protect(order_id=order.pk, at=now())

    assert stands(paper) == (108000, 109000)


def test_one_without_stops_asks_for_none(execute, paper, account, settings):
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    lists_late(paper)
    execute(brief(stop_loss=None, take_profit=None))
    time.sleep(LATE_S)

    look(account)

    assert told() == []
