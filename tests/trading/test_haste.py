"""An account that asks too fast is told to come back, and may send the very same request again (ADR 0025)."""

import time
import uuid
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.audit.types import Actor
from nexus.core.http import TooManyRequests
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.models import UserDailyStats
from risk.types import Context
from tests.client import ApiClient
from tests.threads import together
from tests.trading.conftest import brief
from tests.trading.desk import LIMIT, MARKET, act, place, position_of
from trading.models import ChangeRequest, TradeLedger
from trading.services import changes, facts, orders


@pytest.fixture
def moment(monkeypatch) -> SimpleNamespace:
    """A clock of the door that stands until it is moved, however slow the machine is."""
    clock, steady = SimpleNamespace(at=now()), time.monotonic()
    execute = orders.execute
    monkeypatch.setattr(orders, "execute", lambda **given: execute(**given | {"at": clock.at}))
    monkeypatch.setattr(orders, "time", SimpleNamespace(monotonic=lambda: steady))
    return clock


def send(client: ApiClient, key: str) -> Any:
    body = MARKET | {"quantity": "0.01"}
    return client.post("/trading/execute", body, idempotency_key=key)


def test_the_third_of_two_is_told_when_to_come_back_and_comes_in_with_the_same_key(
    trader, moment, settings, new_events
):
    settings.ORDERS_PER_SECOND = Decimal(2)
    client, keys = ApiClient().login(trader), [uuid.uuid4().hex for _ in range(3)]
    answers = [send(client, key) for key in keys]

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    refused = answers[2]
    assert (refused["Content-Type"], refused.json()["code"]) == ("application/problem+json", "rate_limited")
    assert (refused["Retry-After"], refused["RateLimit"]) == ("1", '"orders";r=0;t=1')
    assert refused["RateLimit-Policy"] == '"orders";q=2;w=1'
    assert TradeLedger.objects.count() == 2
    denied = [event for event in new_events() if event.action == "order.refused"]
    assert ["rate_limited" in event.canonical for event in denied] == [True]

    moment.at += timedelta(seconds=1.5)
    again, repeated = send(client, keys[2]), send(client, keys[2])
    assert (again.status_code, again.json()["status"]) == (201, "FILLED")
    assert (repeated.json()["id"], repeated["Idempotency-Replayed"]) == (again.json()["id"], "true")
    assert TradeLedger.objects.count() == 3


def test_a_repetition_is_never_too_fast(trader, moment, settings):
    settings.ORDERS_PER_SECOND = Decimal(1)
    client, key = ApiClient().login(trader), uuid.uuid4().hex

    assert {send(client, key).json()["id"] for _ in range(3)} == {str(TradeLedger.objects.get().public_id)}


def test_of_many_requests_at_once_exactly_3_are_kept(trader, account, moment, settings):
    settings.ORDERS_PER_SECOND = Decimal(3)
    UserDailyStats.objects.get_or_create(user=trader, trading_date=moment.at.date())

    def place(_number: int) -> str:
        fingerprint = records.fingerprint(method="POST", path="/trading/execute", body={})
        key = RequestKey(str(trader.public_id), str(account.public_id), uuid.uuid4().hex, fingerprint)
        small = brief(quantity=Decimal("0.01"))
        try:
            made = orders.execute(
                user=trader, account=account, intent=small, key=key, at=moment.at, context=Context(is_request=True)
            )
        except TooManyRequests:
            return "429"
        return made.order.status

    assert Counter(together(16, place)) == {"FILLED": 3, "429": 13}
    assert TradeLedger.objects.count() == 3


@pytest.mark.parametrize("kind", ["stops", "terms"])
def test_changes_are_as_many_in_a_second_as_there_may_be_orders(trader, paper, settings, monkeypatch, kind):
    client = ApiClient().login(trader)
    path = f"/trading/orders/{place(client, LIMIT)['id']}"
    if kind == "stops":
        place(client, MARKET)
        path = f"/trading/positions/{position_of(client)['id']}"
    moment, asked = facts.database_clock(), len(paper.truth()["requests"])
    monkeypatch.setattr(facts, "database_clock", lambda: moment)  # the machine may be slow
    monkeypatch.setattr(changes, "listed_late", lambda *_, **__: [])
    settings.ORDERS_PER_SECOND = Decimal(2)

    def change(target: str) -> Any:
        ChangeRequest.objects.update(settled_at=moment - timedelta(seconds=0.5))  # before the list was read
        return act(client, path, {"take_profit": target}, method="patch")

    answers = [change(f"1.09{number}00") for number in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert (answers[2].json()["code"], answers[2]["RateLimit"]) == ("rate_limited", '"changes";r=0;t=1')
    assert len(paper.truth()["requests"]) == asked + 2
    if kind == "stops":  # what protects by itself waits for nobody, and neither does a cancel
        held = ChangeRequest.objects.latest("pk").position
        assert held is not None
        stops = {"stop_loss": Decimal("1.0830")}
        ChangeRequest.objects.update(settled_at=moment - timedelta(seconds=0.5))
        by = Actor.system("protection")
        changes.change_stops(position_id=held.pk, stops=stops, actor=by, reason="", at=now())
    else:
        assert act(client, f"{path}/cancel").json()["status"] == "CANCELED"


def test_a_stop_that_is_tightened_waits_for_no_other_changes_and_for_its_own_kind_alone(
    trader, paper, settings, monkeypatch
):
    client = ApiClient().login(trader)
    order = f"/trading/orders/{place(client, LIMIT)['id']}"
    place(client, MARKET)
    position = f"/trading/positions/{position_of(client)['id']}"
    moment = facts.database_clock()
    monkeypatch.setattr(facts, "database_clock", lambda: moment)
    monkeypatch.setattr(changes, "listed_late", lambda *_, **__: [])
    settings.ORDERS_PER_SECOND = Decimal(2)

    def change(path: str, wanted: dict[str, str]) -> int:
        ChangeRequest.objects.update(settled_at=moment - timedelta(seconds=0.5))
        status: int = act(client, path, wanted, method="patch").status_code
        return status

    run_wild = [change(order, {"take_profit": "1.09100"}), change(position, {"take_profit": "1.09100"})]
    assert [*run_wild, change(order, {"take_profit": "1.09200"})] == [200, 200, 429]

    tightened = [change(position, {"stop_loss": f"1.08{number}00"}) for number in (1, 2, 3)]

    assert tightened == [200, 200, 429]
    assert [held["sl"] for held in paper.truth()["positions"]] == [108200]
    assert change(position, {"stop_loss": "1.07000"}) == 429  # a wider one is as any other
