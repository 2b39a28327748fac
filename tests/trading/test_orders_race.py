"""Many requests at one instant: what the locks promise, with exact counts."""

import uuid
from collections import Counter
from decimal import Decimal

import pytest

from risk.states import LimitKind
from tests.threads import together
from tests.trading.conftest import brief, limit
from trading.models import Fill, TradeLedger
from trading.services import facts

BODY = (
    '{"symbol": "EURUSD", "action": "BUY", "quantity": %s, "entry_price": 1.0850, "stop_loss": 1.0800, '
    '"take_profit": 1.0900}'
)
RISK = Decimal("5.83")  # of 0.01 lots: ceil_cent((1.08522 − 1.07946)·1000 + 0.07)


@pytest.fixture(autouse=True)
def _patient(settings):
    """One terminal serves them one after the other, and a slow machine takes its time."""
    settings.BROKER_DEADLINE_S = settings.SNAPSHOT_AGE_MAX_S = settings.QUOTE_AGE_MAX_S = 60


@pytest.mark.parametrize("most", [3 * RISK, 4 * RISK - Decimal("0.01")])
def test_40_at_once_with_a_daily_loss_for_3(client, trader, paper, most):
    """Never a fourth, by a single cent, and never fewer than fit."""
    limit(LimitKind.DAILY_LOSS, str(most), user=trader)

    answers = together(
        40, lambda _: client.post("/trading/execute", BODY % "0.01", idempotency_key=uuid.uuid4().hex).json()
    )

    assert Counter((answer["status"], answer["reason"]) for answer in answers) == {
        ("FILLED", ""): 3,
        ("REJECTED", "DAILY_LOSS_EXCEEDS_LIMIT"): 37,
    }
    assert not TradeLedger.objects.filter(reserved__gt=0).exists()
    assert Fill.objects.count() == 3
    assert len(paper.deals()) == 3


def test_40_at_once_with_a_position_for_3(client, trader, paper):
    limit(LimitKind.POSITION_SIZE, "3999", user=trader)

    answers = together(
        40, lambda _: client.post("/trading/execute", BODY % "0.01", idempotency_key=uuid.uuid4().hex).json()
    )

    assert Counter(answer["status"] for answer in answers) == {"FILLED": 3, "REJECTED": 37}
    assert {answer["reason"] for answer in answers if answer["status"] == "REJECTED"} == {"POSITION_SIZE_EXCEEDS_LIMIT"}
    assert len(paper.deals()) == 3


def test_one_key_20_times_at_once_is_one_order(client, paper):
    key = uuid.uuid4().hex

    answers = together(20, lambda _: client.post("/trading/execute", BODY % "0.01", idempotency_key=key))

    codes = Counter(answer.status_code for answer in answers)
    assert set(codes) <= {201, 202, 409}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"idempotency_in_progress"}
    assert len({answer.json()["id"] for answer in answers if answer.status_code != 409}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers if answer.status_code != 409) == 1
    assert TradeLedger.objects.count() == 1
    assert len(paper.deals()) == 1


def test_the_same_order_under_40_keys_is_40_orders(client, settings, paper):
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)

    answers = together(
        40, lambda _: client.post("/trading/execute", BODY % "0.01", idempotency_key=uuid.uuid4().hex).json()
    )

    assert Counter((answer["status"], answer["reason"]) for answer in answers) == {("FILLED", ""): 40}
    assert len({answer["client_order_id"] for answer in answers}) == 40
    assert len(paper.deals()) == 40


def test_settling_between_the_read_and_the_lock_counts_an_order_once(execute, trader, paper, monkeypatch):
    """A fill booked after the broker was read is not in the facts: it counts in full, and then only once."""
    limit(LimitKind.DAILY_LOSS, str(2 * RISK), user=trader)
    small = brief(quantity=Decimal("0.01"))
    original = facts.read
    nested: list[bool] = []

    def read_then_fill_another(**arguments):
        found = original(**arguments)
        if not nested:
            nested.append(True)
            assert execute(small).status == "FILLED"
        return found

    monkeypatch.setattr(facts, "read", read_then_fill_another)

    assert execute(small).status == "FILLED"
    assert execute(small).reason == "DAILY_LOSS_EXCEEDS_LIMIT"
