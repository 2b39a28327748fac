"""What the database itself refuses of orders and fills, whatever code writes them (execution reference §4)."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from nexus.idempotency.models import IdempotencyRecord
from tests.trading.desk import LIMIT, MARKET, place
from trading.models import Fill, TradeLedger


@pytest.fixture
def two(client) -> tuple[TradeLedger, TradeLedger]:
    """An order that waits and one that has filled."""
    place(client, LIMIT)
    place(client, MARKET)
    waiting, filled = TradeLedger.objects.order_by("pk")
    assert (waiting.delivery, filled.delivery) == ("ACKED", "DONE")
    return waiting, filled


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("order_one_a_client_order_id", {"client_order_id": "{waiting.client_order_id}"}),
        ("order_one_a_ticket", {"venue_order_id": "{waiting.venue_order_id}"}),
        ("order_quantity_above_zero", {"quantity": Decimal(0)}),
        ("order_filled_not_negative", {"filled_quantity": Decimal("-0.01")}),
        ("order_reserved_not_negative", {"reserved": Decimal("-0.01")}),
        ("order_closed_reserves_nothing", {"reserved": Decimal("0.01")}),
        ("order_sent_at_most_once", {"attempts": F("attempts") + 1}),
        ("order_rejected_by_someone", {"rejected_by": "LOCAL"}),
    ],
)
def test_an_order_that_cannot_be(two, name: str, wrong: dict[str, Any]):
    waiting, filled = two
    values = {
        field: value.format(waiting=waiting) if isinstance(value, str) else value for field, value in wrong.items()
    }

    target = waiting if name == "order_reserved_not_negative" else filled  # what is over reserves nothing at all
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        TradeLedger.objects.filter(pk=target.pk).update(**values)


def test_a_deal_is_booked_once_an_account(two):
    fill = Fill.objects.get()
    fill.pk = None

    with pytest.raises(IntegrityError, match="fill_one_a_deal"), transaction.atomic():
        fill.save(force_insert=True)


def test_a_key_makes_one_thing(two):
    record = IdempotencyRecord.objects.earliest("pk")
    record.pk = None

    with pytest.raises(IntegrityError, match="idempotency_record_one_a_key"), transaction.atomic():
        record.save(force_insert=True)
