"""Orders that wait, and what can be done about what stands: cancel, close, move the stops. Through the doors."""

import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db.models import F
from django.utils.timezone import now

from risk.models import RiskAdjustment
from risk.services import control
from risk.states import ControlScope, LimitKind, StopLevel
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.fakes.paper import LOGIN
from tests.trading.conftest import TESTER, limit
from tests.trading.desk import LIMIT, MARKET, act, ask_about_everything, place, position_of, reread
from trading.models import ChangeRequest, TradeLedger
from trading.services import changes, coverage, dispatch, terms, watch


def test_a_limit_order_waits_and_fills_at_its_price(client, paper, account):
    order = place(client, LIMIT)
    assert (order["status"], order["delivery"], order["type"]) == ("PENDING", "ACKED", "LIMIT")
    assert Decimal(order["reserved"]) == Decimal(order["risk"]) == Decimal("5.61")
    # (1.08400 − 1.07900·0.9995)·1000 = 5.5395, and 0.07 of fees

    paper.quote("EURUSD", "1.08390", "1.08400")
    ask_about_everything()

    filled = reread(client, order)
    assert (filled["status"], filled["average_price"], filled["reserved"]) == ("FILLED", "1.084", "0")
    assert position_of(client)["stop_loss"] == "1.079"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"limit_price": "1.08600"}, "ENTRY_PRICE_WRONG_SIDE"),
        ({"type": "STOP", "limit_price": None, "stop_price": "1.08400"}, "ENTRY_PRICE_WRONG_SIDE"),
        ({"limit_price": "1.07800"}, "STOP_LOSS_WRONG_SIDE"),
    ],
)
def test_a_pending_order_on_the_wrong_side_is_rejected(client, changes, reason):
    body = {name: value for name, value in (LIMIT | changes).items() if value is not None}

    order = place(client, body)

    assert (order["status"], order["rejected_by"], order["reason"]) == ("REJECTED", "LOCAL", reason)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"limit_price": None, "type": "LIMIT"}, "/limit_price"),
        ({"type": "STOP_LIMIT"}, "/stop_price"),
        ({"type": "MARKET"}, "/limit_price"),
        ({"time_in_force": "FOK"}, "/time_in_force"),
        ({"time_in_force": "GTD"}, "/expires_at"),
        ({"expires_at": "2100-01-01T00:00:00Z"}, "/expires_at"),
    ],
)
def test_terms_that_contradict_each_other_are_refused(client, changes, field):
    body = {name: value for name, value in (LIMIT | changes).items() if value is not None}

    answer = client.post("/trading/execute", body, idempotency_key=uuid.uuid4().hex)

    assert answer.status_code == 422
    assert field in [error["pointer"] for error in answer.json()["errors"]]
    assert not TradeLedger.objects.exists()


def test_a_working_order_counts_as_filled_in_the_position_limit(client, trader):
    limit(LimitKind.POSITION_SIZE, "1999", user=trader)
    place(client, LIMIT)

    assert place(client, LIMIT)["reason"] == "POSITION_SIZE_EXCEEDS_LIMIT"


def test_cancel_is_done_when_the_broker_shows_it(client, paper):
    order = place(client, LIMIT)

    answer = act(client, f"/trading/orders/{order['id']}/cancel", {"reason": "changed my mind"})

    canceled = answer.json()
    assert (answer.status_code, canceled["status"], canceled["cancel"], canceled["reserved"]) == (
        200,
        "CANCELED",
        "DONE",
        "0",
    )
    again = act(client, f"/trading/orders/{order['id']}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "order_not_cancelable")
    assert ChangeRequest.objects.count() == 1


def test_cancel_of_an_order_that_has_filled_meanwhile_is_refused_by_the_facts(client, paper):
    order = place(client, LIMIT)
    paper.quote("EURUSD", "1.08390", "1.08400")

    answer = act(client, f"/trading/orders/{order['id']}/cancel")

    assert (answer.json()["status"], answer.json()["cancel"]) == ("FILLED", "REFUSED")


def test_a_lost_cancel_is_asked_for_and_not_sent_again(client, paper):
    order = place(client, LIMIT)
    paper.control.inject("timeout_after_accept")

    answer = act(client, f"/trading/orders/{order['id']}/cancel")
    ask_about_everything()

    assert answer.status_code == 200
    assert (reread(client, order)["status"], reread(client, order)["cancel"]) == ("CANCELED", "DONE")
    assert ChangeRequest.objects.count() == 1


def test_a_cancel_that_never_arrived_may_be_asked_for_again_and_not_at_once(client, paper):
    order = place(client, LIMIT)
    paper.control.inject("timeout_before_accept")
    act(client, f"/trading/orders/{order['id']}/cancel")
    assert (reread(client, order)["status"], reread(client, order)["cancel"]) == ("PENDING", "UNKNOWN")

    act(client, f"/trading/orders/{order['id']}/cancel")
    assert ChangeRequest.objects.count() == 1
    ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(minutes=1))
    answer = act(client, f"/trading/orders/{order['id']}/cancel")

    assert (answer.json()["status"], answer.json()["cancel"]) == ("CANCELED", "DONE")
    assert ChangeRequest.objects.count() == 2


def test_a_cancel_whose_answer_was_lost_holds_up_no_release_once_its_order_has_ended(client, paper, account):
    order = place(client, LIMIT)
    paper.control.inject("timeout_before_accept")
    act(client, f"/trading/orders/{order['id']}/cancel")
    assert [change.state for change in coverage.unanswered([account])[1]] == ["UNKNOWN"]
    assert len(coverage.in_flight(ControlScope.SYSTEM, "")) == 1

    paper.control.manual_cancel(LOGIN, int(TradeLedger.objects.get().venue_order_id))
    ask_about_everything()

    assert reread(client, order)["status"] == "CANCELED"
    assert not coverage.unanswered([account])[1].exists()
    assert coverage.in_flight(ControlScope.SYSTEM, "") == []


def test_a_working_order_moves_to_new_prices(client, paper):
    order = place(client, LIMIT)

    answer = act(
        client, f"/trading/orders/{order['id']}", {"limit_price": "1.0835", "stop_loss": "1.0780"}, method="patch"
    )

    assert (answer.status_code, answer.json()["state"]) == (200, "DONE")
    moved = reread(client, order)
    assert (moved["limit_price"], moved["stop_loss"], moved["take_profit"]) == ("1.0835", "1.078", "1.09")
    assert (moved["risk"], moved["reserved"]) == ("6.11", "6.11")  # (1.0835 − 1.0780·0.9995)·1000 + 0.07
    (working,) = paper.truth()["working"]
    assert working["price"] == 108350


def test_a_worse_change_needs_room_and_leaves_the_old_terms(client, trader, paper):
    order = place(client, LIMIT)
    limit(LimitKind.DAILY_LOSS, "6", user=trader)

    answer = act(client, f"/trading/orders/{order['id']}", {"stop_loss": "1.0700"}, method="patch")

    assert (answer.status_code, answer.json()["code"]) == (422, "change_refused")
    assert reread(client, order) == order


def test_a_lost_change_reserves_the_worse_until_the_broker_shows_it(client, paper):
    order = place(client, LIMIT)
    paper.control.inject("timeout_after_accept")

    answer = act(client, f"/trading/orders/{order['id']}", {"stop_loss": "1.0780"}, method="patch")

    assert (answer.status_code, answer.json()["state"]) == (202, "UNKNOWN")
    assert (reread(client, order)["stop_loss"], reread(client, order)["risk"]) == ("1.078", "6.61")
    (change_id,) = changes.due()
    terms.resolve(change_id=change_id)
    assert (reread(client, order)["stop_loss"], reread(client, order)["risk"]) == ("1.078", "6.61")
    assert ChangeRequest.objects.get().state == "DONE"


def test_a_lost_change_of_a_stop_limit_is_not_done_before_its_limit_is(client, paper):
    order = place(client, LIMIT | {"type": "STOP_LIMIT", "stop_price": "1.08700", "limit_price": "1.08600"})
    paper.control.inject("timeout_before_accept")
    act(client, f"/trading/orders/{order['id']}", {"limit_price": "1.08590"}, method="patch")
    terms.resolve(change_id=changes.due()[0])
    assert ChangeRequest.objects.get().state == "UNKNOWN"
    assert reread(client, order)["risk"] == order["risk"]


def test_an_accepted_order_is_sent_by_a_worker_once(client, paper):
    order = place(client, MARKET, prefer="respond-async")
    assert (order["status"], order["delivery"]) == ("PENDING", "QUEUED")
    assert Decimal(order["reserved"]) > 0

    (order_id,) = dispatch.due()
    dispatch.dispatch(order_id=order_id, at=now())
    dispatch.dispatch(order_id=order_id, at=now())

    assert reread(client, order)["status"] == "FILLED"
    assert len(paper.deals()) == 1


def test_an_accepted_order_that_waited_too_long_is_rejected(client, paper, settings):
    order = place(client, MARKET, prefer="respond-async")
    settings.MARKET_TTL_S = 0

    dispatch.dispatch(order_id=dispatch.due()[0], at=now())

    late = reread(client, order)
    assert (late["status"], late["reason"], late["reserved"]) == ("REJECTED", "INTENT_TOO_OLD", "0")
    assert paper.deals() == []


@pytest.mark.parametrize(("body", "age_s"), [(MARKET, 5), (LIMIT, 30)])
def test_a_market_order_waits_for_5_seconds_and_one_that_rests_for_30(client, paper, body, age_s):
    for seconds in (age_s - 3, age_s + 1):
        order = TradeLedger.objects.get(public_id=place(client, body, prefer="respond-async")["id"])
        TradeLedger.objects.filter(pk=order.pk).update(created_at=F("created_at") - timedelta(seconds=seconds))

        dispatch.dispatch(order_id=order.pk, at=now())

        order.refresh_from_db()
        assert (order.attempts, order.reason) == ((1, "") if seconds < age_s else (0, "INTENT_TOO_OLD"))


def test_a_stop_after_accepting_and_before_sending_wins(client, paper):
    order = place(client, MARKET, prefer="respond-async")
    control.set_level(
        scope=ControlScope.SYSTEM, key="", level=StopLevel.HALTED, reason="A test.", actor=TESTER, at=now()
    )

    dispatch.dispatch(order_id=dispatch.due()[0], at=now())

    assert (reread(client, order)["status"], reread(client, order)["reason"]) == ("REJECTED", "TRADING_HALTED")
    assert paper.deals() == []


def test_an_accepted_order_can_be_canceled_before_it_is_sent(client, paper):
    order = place(client, MARKET, prefer="respond-async")

    answer = act(client, f"/trading/orders/{order['id']}/cancel")

    assert (answer.json()["status"], answer.json()["reserved"]) == ("CANCELED", "0")
    assert dispatch.due() == []
    assert paper.deals() == []


def test_somebody_elses_orders_and_positions_do_not_exist(client, paper):
    order = place(client, LIMIT)
    place(client, MARKET)
    position = position_of(client)
    other = ApiClient().login(UserFactory.create())

    assert act(other, f"/trading/orders/{order['id']}/cancel").status_code == 404
    assert act(other, f"/trading/positions/{position['id']}/close").status_code == 404
    assert act(other, f"/trading/positions/{position['id']}", {"stop_loss": "1.07"}, method="patch").status_code == 404
    assert reread(client, order)["status"] == "PENDING"


def test_a_pending_order_that_filled_while_nobody_looked_is_found_by_the_watch(client, paper, account):
    order = place(client, LIMIT)
    paper.quote("EURUSD", "1.08390", "1.08400")

    watch.look(account_id=account.pk, at=now())

    assert reread(client, order)["status"] == "FILLED"


def test_a_price_that_jumps_is_not_believed(client, paper):
    place(client, MARKET)
    paper.quote("EURUSD", "1.20000", "1.20010")

    order = place(client, MARKET | {"stop_loss": "1.1950"})

    assert (order["status"], order["reason"]) == ("REJECTED", "QUOTE_JUMPED")


def test_what_changed_the_risk_is_kept(client, paper, account):
    """3,000 EUR at 1.0849 with a stop at 1.08, which may slip by 0.05 %: (1.0849 - 1.08·0.9995)·3000 = 16.32."""
    place(client, MARKET)

    act(client, f"/trading/positions/{position_of(client)['id']}", {"stop_loss": "1.0790"}, method="patch")

    held = position_of(client)["id"]
    act(client, f"/trading/positions/{held}", {"stop_loss": "1.0830"}, method="patch")
    act(client, f"/trading/positions/{held}", {"take_profit": "1.0990"}, method="patch")  # it bounds no loss
    kept = RiskAdjustment.objects.order_by("pk").values_list("kind", "before", "after", "reason")
    assert list(kept) == [
        ("STOP_CHANGE", Decimal("16.32"), Decimal("19.32"), f"position {held}: stop-loss 1.08 → 1.079"),
        ("STOP_CHANGE", Decimal("19.32"), Decimal("7.33"), f"position {held}: stop-loss 1.079 → 1.083"),
    ]
