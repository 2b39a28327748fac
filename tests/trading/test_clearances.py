"""What looks suspicious and waits for a person: an operator lets it pass, of one trader, in one way, for an hour."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction
from django.utils.timezone import now

from accounts.states import Role
from nexus.alerts.models import Alert
from risk.models import SuspicionClearance
from risk.services import clearances
from risk.states import LimitKind, Suspicion
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.trading.conftest import brief, limit
from trading.services import notices
from trading.states import Side

BUY = brief(quantity=Decimal("0.01"))
SELL = brief(quantity=Decimal("0.01"), side=Side.SELL, stop_loss=Decimal("1.0900"), take_profit=Decimal("1.0800"))
SAID = {"reason": "Called her: the hedge is hers."}


@pytest.fixture
def held_back(execute, settings):
    """An order that looks suspicious has been refused, and people were told."""
    settings.REVIEWED_SUSPICIONS = ["OPPOSITE_ORDERS", "BURST"]
    execute(BUY)
    assert execute(SELL).reason == "REVIEW_DEMANDED"
    return Alert.objects.get()


def clear(alert: Alert, role: Role = Role.OPERATOR):
    return ApiClient().login(UserFactory.create(role=role)).post(f"/system/alerts/{alert.pk}/clear", SAID)


def test_an_operator_lets_it_pass_and_the_order_says_so(execute, held_back, trader, new_events):
    answer = clear(held_back)

    assert answer.status_code == 200, answer.content
    assert (answer.json()["alert"]["note"], answer.json()["alert"]["closed_at"] is None) == (SAID["reason"], False)
    order = execute(SELL)
    (check,) = [check for check in order.checks if check["name"] == "OPPOSITE_ORDERS"]
    assert (order.status, check["passed"], "an operator lets it pass" in check["detail"]) == ("FILLED", True, True)
    assert Alert.objects.filter(closed_at=None).get().kind == "SUSPICION_OPPOSITE_ORDERS"  # it is told all the same
    (event,) = [event for event in new_events() if event.action == "risk.suspicion_cleared"]
    assert (event.object_id, "OPPOSITE_ORDERS" in event.canonical) == (str(trader.public_id), True)


def test_it_passes_for_an_hour_only(execute, held_back, trader):
    clear(held_back)
    row = SuspicionClearance.objects.get()

    assert row.until == row.created_at + timedelta(hours=1)
    assert clearances.in_force(user_id=trader.pk, at=row.until - timedelta(seconds=1)) == {
        Suspicion.OPPOSITE_ORDERS: row.until
    }
    assert not clearances.in_force(user_id=trader.pk, at=row.until)


def test_nobody_elses_orders_and_no_other_kind_pass_with_it(execute, held_back, trader, settings):
    clear(held_back)
    settings.BURST_ORDERS = 2

    refused = execute(SELL)

    assert [check["name"] for check in refused.checks if not check["passed"]] == ["BURST"]
    assert not clearances.in_force(user_id=UserFactory.create().pk, at=now())


def test_every_limit_holds_as_before(execute, held_back, trader):
    clear(held_back)
    limit(LimitKind.TRADE_VALUE_MAX, "100", user=trader)

    assert execute(SELL).reason == "TRADE_VALUE_MAX_EXCEEDS_LIMIT"


@pytest.mark.parametrize("role", [Role.TRADER, Role.COMPLIANCE])
def test_nobody_but_an_operator_lets_anything_pass(held_back, role):
    assert clear(held_back, role).status_code == 403
    held_back.refresh_from_db()
    assert (SuspicionClearance.objects.exists(), held_back.acknowledged_at) == (False, None)


def test_what_somebody_has_in_hand_is_not_cleared_by_another(held_back):
    notices.acknowledge(
        alert_id=held_back.pk, by=UserFactory.create(role=Role.OPERATOR), note="It was not her.", at=now()
    )

    answer = clear(held_back)

    assert (answer.status_code, answer.json()["code"]) == (409, "alert_taken")
    assert not SuspicionClearance.objects.exists()


def test_what_is_not_held_back_is_not_cleared(held_back, settings):
    settings.REVIEWED_SUSPICIONS = ["BURST"]

    answer = clear(held_back)

    held_back.refresh_from_db()
    assert (answer.status_code, answer.json()["code"]) == (409, "suspicion_not_reviewed")
    assert held_back.acknowledged_at is None


@pytest.mark.django_db
def test_a_clearance_is_never_changed_nor_made_by_its_own_user():
    trader, operator = UserFactory.create(), UserFactory.create(role=Role.OPERATOR)
    at = now()
    given = {
        "user": trader,
        "suspicion": "BURST",
        "until": at + timedelta(hours=1),
        "reason": "Seen.",
        "created_at": at,
    }
    row = SuspicionClearance.objects.create(**given, cleared_by=operator)

    for tried in (
        lambda: SuspicionClearance.objects.filter(pk=row.pk).update(until=at + timedelta(days=1)),
        lambda: SuspicionClearance.objects.create(**given, cleared_by=trader),
        lambda: SuspicionClearance.objects.create(**(given | {"reason": ""}), cleared_by=operator),
        lambda: SuspicionClearance.objects.create(**(given | {"until": at}), cleared_by=operator),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            tried()
