"""An order that fills in part ends by every way alike, however its end is learned: nothing stays held, all is kept."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.idempotency.models import IdempotencyRecord
from risk.models import RiskAdjustment
from risk.states import AdjustmentKind
from tests.client import ApiClient
from tests.fakes.paper import LOGIN
from tests.trading.desk import LIMIT, MARKET, act, ask_about_everything, place, reread
from trading.models import BrokerPosition, TradeLedger
from trading.services import usage, watch

THREE = LIMIT | {"quantity": "0.03"}  # R = (1.08400 − 1.07900·0.9995)·3000 + 0.21 of fees = 16.83
R, REST = Decimal("16.83"), Decimal("11.22")


def fill_a_third(paper: Any) -> None:
    """Let the market come to the order with a third of what it asks for, and go away."""
    paper.control.tick("EURUSD", "1.08390", "1.08400", bid_vol="0.01", ask_vol="0.01")
    paper.quote("EURUSD", "1.08420", "1.08430")


def ticket(paper: Any) -> int:
    (order,) = paper.truth()["working"]
    number: int = order["ticket"]
    return number


def our_cancel(client: ApiClient, paper: Any) -> None:
    order = TradeLedger.objects.get()
    assert act(client, f"/trading/orders/{order.public_id}/cancel").status_code == 200


def their_cancel(client: ApiClient, paper: Any) -> None:
    paper.control.manual_cancel(LOGIN, ticket(paper))


def its_time(client: ApiClient, paper: Any) -> None:
    """Let the order's own time come."""
    deadline = time.monotonic() + 20
    while paper.truth()["working"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        paper.quote("EURUSD", "1.08420", "1.08430")


def its_day(client: ApiClient, paper: Any) -> None:
    """Let the broker's day end."""
    paper.end_day()
    assert paper.truth()["working"] == []


def by_resolver(account: Any) -> None:
    ask_about_everything()


def by_history(account: Any) -> None:
    """Hear of the fill by the account's history alone; what has ended there is asked for by its name afterwards."""
    watch.look(account_id=account.pk, at=now())


ENDS: dict[str, tuple[dict[str, Any], Callable[[ApiClient, Any], None], str, str]] = {
    "our cancel": ({}, our_cancel, "CANCELED", "DONE"),
    "their cancel": ({}, their_cancel, "CANCELED", "NONE"),
    "DAY": ({"time_in_force": "DAY"}, its_day, "EXPIRED", "NONE"),
    "GTD": ({"time_in_force": "GTD"}, its_time, "EXPIRED", "NONE"),
}


def assert_over(order: TradeLedger, *, status: str, cancel: str, account: Any) -> None:
    order.refresh_from_db()
    assert (order.status, order.delivery, order.cancel) == (status, "DONE", cancel)
    assert (order.filled_quantity, order.reserved, order.late_fill) == (Decimal("0.01"), 0, False)
    assert not Alert.objects.filter(closed_at__isnull=True).exists()
    assert IdempotencyRecord.objects.get(object_id=str(order.public_id)).expires_at is not None
    counts = usage.count(
        user_id=account.user_id, account_id=account.pk, account_ids=[account.pk], intent=None, at=now()
    )
    assert counts.undone_quantity == Decimal("0.02")  # what has not filled is given back to the day
    assert BrokerPosition.objects.get().quantity == Decimal("0.01")


def parts() -> list[tuple[Decimal | None, Decimal | None]]:
    rows = RiskAdjustment.objects.filter(kind=AdjustmentKind.PARTIAL_FILL).order_by("pk")
    return list(rows.values_list("before", "after"))


# Whoever waits for a time is asked for by one way alone: it takes seconds.
WAYS = [
    (end, learn, is_at_once)
    for end, learn, is_at_once in product(ENDS, (by_resolver, by_history), (False, True))
    if end != "GTD" or learn is by_resolver
]


@pytest.mark.parametrize(("end", "learn", "is_at_once"), WAYS)
def test_the_rest_of_an_order_ends(client, paper, account, new_events, end, learn, is_at_once):
    """Takes: `is_at_once` where the fill is heard of only when the order is over."""
    terms, happen, status, cancel = ENDS[end]
    if end == "GTD":
        terms = terms | {"expires_at": (now() + timedelta(seconds=6)).isoformat()}
    placed = place(client, THREE | terms)
    order = TradeLedger.objects.get(public_id=placed["id"])
    assert (order.status, order.reserved) == ("PENDING", R)
    fill_a_third(paper)
    if not is_at_once:
        learn(account)
        order.refresh_from_db()
        assert (order.status, order.delivery, order.reserved) == ("PARTIALLY_FILLED", "ACKED", REST)

    happen(client, paper)
    if is_at_once:
        learn(account)
    TradeLedger.objects.update(asked_at=None)
    ask_about_everything()

    assert_over(order, status=status, cancel=cancel, account=account)
    is_heard_alone = not is_at_once or (learn is by_history and happen is not our_cancel)
    assert parts() == [(R, REST if is_heard_alone else Decimal(0))]
    (told,) = [each for each in new_events() if each.action == f"order.{status.lower()}"]
    detail = json.loads(told.canonical)["detail"]
    assert (detail["after"], detail["filled_quantity"], detail["reserved"]) == (f"{status}/DONE", "0.01", "0")


def test_the_rest_of_a_market_order_that_takes_what_there_is_ends_with_its_answer(client, paper, account):
    paper.control.tick("EURUSD", "1.08490", "1.08500", bid_vol="0.01", ask_vol="0.01")

    placed = place(client, MARKET | {"time_in_force": "IOC"})

    order = TradeLedger.objects.get(public_id=placed["id"])
    assert_over(order, status="CANCELED", cancel="NONE", account=account)
    assert parts() == [(order.risk, Decimal(0))]


def test_an_order_of_a_day_expires_with_it_and_gives_everything_back(client, paper, account, new_events):
    placed = place(client, THREE | {"time_in_force": "DAY"})
    assert (placed["time_in_force"], placed["expires_at"], placed["reserved"]) == ("DAY", None, "16.83")
    watch.look(account_id=account.pk, at=now())  # it rests as we have it

    its_day(client, paper)
    watch.look(account_id=account.pk, at=now())
    TradeLedger.objects.update(asked_at=None)
    ask_about_everything()

    shown = reread(client, placed)
    assert (shown["status"], shown["delivery"], shown["cancel"], shown["reason"]) == ("EXPIRED", "DONE", "NONE", "")
    assert (shown["filled_quantity"], shown["reserved"], shown["fills"]) == ("0", "0", [])
    assert shown["closed_at"] is not None
    order = TradeLedger.objects.get()
    assert [each.to for each in order.events.order_by("pk")][-1] == "EXPIRED/DONE"
    (told,) = [each for each in new_events() if each.action == "order.expired"]
    assert json.loads(told.canonical)["detail"]["before"] == "PENDING/ACKED"
    assert IdempotencyRecord.objects.get(object_id=str(order.public_id)).expires_at is not None
    assert not RiskAdjustment.objects.exists()
    assert not Alert.objects.exists()
    counts = usage.count(
        user_id=account.user_id, account_id=account.pk, account_ids=[account.pk], intent=None, at=now()
    )
    assert (counts.undone_quantity, counts.undone_value) == (order.quantity, order.value)
    refused = act(client, f"/trading/orders/{order.public_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "order_not_cancelable")
