"""Positions are closed, in full, in part and by each other, and their stops moved. Through the doors."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from risk.services import control
from risk.states import ControlScope, LimitKind, StopLevel
from tests.trading.conftest import TESTER, limit
from tests.trading.desk import MARKET, act, place, position_of
from trading.brokers.mt5.emulator import amounts
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BrokerPosition, ChangeRequest, TradableInstrument, TradeLedger, TradingAccount


def test_close_in_two_parts(client, paper):
    place(client, MARKET)
    position = position_of(client)

    part = act(client, f"/trading/positions/{position['id']}/close", {"quantity": "0.01"})
    assert (part.status_code, part.json()["status"], part.json()["action"]) == (201, "FILLED", "SELL")
    assert position_of(client)["quantity"] == "0.02"
    rest = act(client, f"/trading/positions/{position['id']}/close")

    assert (rest.json()["status"], rest.json()["quantity"], rest.json()["risk"]) == ("FILLED", "0.02", "0")
    assert client.get("/trading/positions").json()["results"] == []
    assert BrokerPosition.objects.get().quantity == 0
    assert act(client, f"/trading/positions/{position['id']}/close").status_code == 409
    assert [deal["entry"] for deal in paper.deals()] == [0, 1, 1]


def test_a_repeated_close_answers_what_the_first_one_did(client, paper):
    place(client, MARKET)
    path = f"/trading/positions/{position_of(client)['id']}/close"
    answers = [client.post(path, {"quantity": "0.02"}, idempotency_key="close-it-once") for _ in range(2)]
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers] == [None, "true"]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert len(paper.deals()) == 2


def test_a_lost_close_blocks_new_exposure(client, paper):
    place(client, MARKET)
    paper.control.inject("timeout_before_accept")
    lost = act(client, f"/trading/positions/{position_of(client)['id']}/close").json()
    assert (lost["delivery"], lost["reserved"]) == ("UNKNOWN", "0")
    assert place(client, MARKET)["reason"] == "UNKNOWN_ORDER_ON_INSTRUMENT"


def test_a_close_never_exceeds_the_position(client):
    place(client, MARKET)
    position = position_of(client)

    answer = act(client, f"/trading/positions/{position['id']}/close", {"quantity": "0.04"})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/quantity")


@pytest.mark.parametrize(("level", "status"), [(StopLevel.REDUCE_ONLY, "FILLED"), (StopLevel.HALTED, "REJECTED")])
def test_what_a_stop_lets_close(client, level, status):
    place(client, MARKET)
    control.set_level(scope=ControlScope.SYSTEM, key="", level=level, reason="A test.", actor=TESTER, at=now())

    answer = act(client, f"/trading/positions/{position_of(client)['id']}/close")

    assert answer.json()["status"] == status


def alter(paper: Any, **terms: Any) -> None:
    """Let the broker change the terms of EURUSD, and us read them anew."""
    known = paper.control._broker.instruments
    known["EURUSD"] = replace(known["EURUSD"], **terms)
    TradableInstrument.objects.update(read_at=now() - timedelta(hours=2))


@pytest.mark.parametrize("quantity", ["0.01", None])
def test_what_may_only_be_closed_is_closed(client, paper, quantity):
    place(client, MARKET)
    path = f"/trading/positions/{position_of(client)['id']}/close"
    alter(paper, trade_mode=mt5.SYMBOL_TRADE_MODE_CLOSEONLY)

    assert act(client, path, {"quantity": quantity} if quantity else {}).json()["status"] == "FILLED"
    assert place(client, MARKET)["reason"] == "INSTRUMENT_NOT_TRADABLE"


@pytest.mark.parametrize(
    "terms", [{"volume_min": amounts.UNIT // 10}, {"volume_min": amounts.UNIT // 50, "volume_step": amounts.UNIT // 50}]
)
def test_whether_the_whole_of_a_position_is_below_the_steps_of_now_is_said_by_the_broker(client, paper, terms):
    place(client, MARKET)
    path = f"/trading/positions/{position_of(client)['id']}/close"
    alter(paper, **terms)

    part, whole = (act(client, path, body).json() for body in ({"quantity": "0.01"}, {}))

    assert (part["rejected_by"], part["reason"]) == ("LOCAL", "QUANTITY_BELOW_MINIMUM")
    assert (whole["rejected_by"], whole["reason"]) == ("BROKER", "BROKER_10014")


def test_closing_needs_no_room_in_the_limits(client, trader):
    place(client, MARKET)
    limit(LimitKind.DAILY_LOSS, "0.01", user=trader)
    limit(LimitKind.TRADE_VALUE_MAX, "0.01", user=trader)

    assert act(client, f"/trading/positions/{position_of(client)['id']}/close").json()["status"] == "FILLED"


def test_tightening_a_stop_is_done_at_once(client, trader, paper):
    place(client, MARKET)
    limit(LimitKind.DAILY_LOSS, "0.01", user=trader)
    position = position_of(client)

    answer = act(client, f"/trading/positions/{position['id']}", {"stop_loss": "1.0830"}, method="patch")

    assert (answer.status_code, answer.json()["state"]) == (200, "DONE")
    assert answer.json()["before"] == {"stop_loss": "1.08", "take_profit": None}
    assert position_of(client)["stop_loss"] == "1.083"
    (held,) = paper.truth()["positions"]
    assert held["sl"] == 108300


def test_widening_a_stop_needs_room_in_the_daily_loss(client, trader, paper):
    place(client, MARKET)
    path = f"/trading/positions/{position_of(client)['id']}"
    assert act(client, path, {"stop_loss": "1.0700"}, method="patch").json()["state"] == "DONE"
    limit(LimitKind.DAILY_LOSS, "50", user=trader)

    answer = act(client, path, {"stop_loss": "1.0600"}, method="patch")

    assert (answer.status_code, answer.json()["code"]) == (422, "change_refused")
    assert "DAILY_LOSS_EXCEEDS_LIMIT" in answer.json()["detail"]
    assert position_of(client)["stop_loss"] == "1.07"
    assert ChangeRequest.objects.count() == 1


def test_a_stop_loss_may_not_be_taken_away(client):
    place(client, MARKET)

    answer = act(client, f"/trading/positions/{position_of(client)['id']}", {"stop_loss": None}, method="patch")

    assert (answer.status_code, answer.json()["code"]) == (422, "change_refused")


def test_two_opposite_positions_close_by_each_other(client, paper):
    place(client, MARKET)
    place(client, MARKET | {"action": "SELL", "quantity": "0.02", "stop_loss": "1.0900"})
    bought, sold = sorted(client.get("/trading/positions").json()["results"], key=lambda row: row["side"])
    path = f"/trading/positions/{bought['id']}/close"

    assert act(client, path, {"against": bought["id"]}).status_code == 422
    answer = act(client, path, {"against": sold["id"]})

    order = answer.json()
    assert (answer.status_code, order["status"], order["filled_quantity"]) == (201, "FILLED", "0.02")
    assert position_of(client)["quantity"] == "0.01"
    assert {row.quantity for row in BrokerPosition.objects.all()} == {Decimal("0.01"), Decimal(0)}
    assert not Alert.objects.exclude(kind__startswith="SUSPICION_").exists()


@pytest.fixture
def gone(account) -> TradingAccount:
    """Another account of the trader, whose broker cannot be asked."""
    return TradingAccount.objects.create(
        user=account.user, name="Gone", venue="mt5", venue_account="7", server="S", currency="USD", mode="HEDGING",
        created_at=now(),
    )  # fmt: skip


def test_another_account_s_broker_holds_up_no_close(client, paper, account, gone):
    place(client, MARKET | {"account": str(account.public_id)})
    assert TradeLedger.objects.get().reason == "BROKER_UNAVAILABLE"  # what opens waits for it
    gone.delete()
    place(client, MARKET)
    position = position_of(client)
    gone.save(force_insert=True)

    closed = act(client, f"/trading/positions/{position['id']}/close").json()

    assert (closed["status"], closed["reason"], paper.truth()["positions"]) == ("FILLED", "", [])


def test_another_account_s_broker_holds_up_no_stop_that_is_tightened(client, paper, account, gone):
    gone.delete()
    place(client, MARKET)
    path = f"/trading/positions/{position_of(client)['id']}"
    gone.save(force_insert=True)

    wider = act(client, path, {"stop_loss": "1.0700"}, method="patch")
    tighter = act(client, path, {"stop_loss": "1.0830"}, method="patch")

    assert (wider.status_code, tighter.status_code) == (503, 200)
    assert tighter.json()["state"] == "DONE"
    assert paper.truth()["positions"][0]["sl"] == 108300
