"""An order is not acknowledged under a ticket that is another's (move 5): nobody knows then what has become of it."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError
from django.db.models import F
from django.utils.timezone import now

from nexus.alerts.models import Alert
from tests.trading.desk import LIMIT, MARKET, place
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import Fill, TradeLedger
from trading.services import accounts, fills, resolution
from trading.types import OrderReport

SPEAKS_FOR_THE_BROKER = True  # it names one ticket twice, which the paper broker never does


@pytest.fixture
def confused(client, monkeypatch) -> TradeLedger:
    """An order that works, whose ticket the broker names for every other from now on."""
    place(client, LIMIT)
    first = TradeLedger.objects.get()
    for name in ("submit", "order_report"):
        real = getattr(Mt5Broker, name)

        def report(self: Mt5Broker, *args: Any, real: Any = real, **words: Any) -> OrderReport:
            found: OrderReport = replace(real(self, *args, **words), venue_order_id=first.venue_order_id)
            return found

        monkeypatch.setattr(Mt5Broker, name, report)
    return first


def test_an_order_under_another_s_ticket_is_unknown_and_told(client, paper, confused):
    answer = place(client, LIMIT | {"limit_price": "1.08300"})

    assert (answer["status"], answer["delivery"], answer["venue_order_id"]) == ("UNKNOWN", "UNKNOWN", "")
    order = TradeLedger.objects.get(public_id=answer["id"])
    assert order.reserved == order.risk > 0
    TradeLedger.objects.filter(pk=order.pk).update(sent_at=F("sent_at") - timedelta(seconds=61))
    with pytest.raises(IntegrityError):
        resolution.resolve(order_id=order.pk, at=now())
    order.refresh_from_db()
    assert (order.delivery, order.reserved) == ("UNKNOWN", order.risk)
    assert Alert.objects.get(kind="ORDER_UNKNOWN").object_id == str(order.public_id)
    confused.refresh_from_db()
    assert (confused.status, confused.delivery) == ("PENDING", "ACKED")


def test_a_deal_under_another_s_ticket_is_somebody_else_s_and_holds_up_no_other(client, paper):
    """Were it refused, nobody would see any more what the account loses."""
    place(client, LIMIT)
    first = TradeLedger.objects.get()
    paper.control.inject("timeout_after_accept")
    lost = TradeLedger.objects.get(public_id=place(client, MARKET)["id"])
    paper.control.manual_trade(paper.login, "EURUSD", mt5.ORDER_TYPE_BUY, "0.02")
    told = accounts.broker_of(first.account).fills_since(first.created_at)
    confused = [
        replace(each, venue_order_id=first.venue_order_id) if each.client_order_id == lost.client_order_id else each
        for each in told
    ]

    assert fills.ingest(account=first.account, reports=confused, at=now()) == 2

    assert {(fill.order_id, fill.quantity.normalize()) for fill in Fill.objects.all()} == {
        (None, Decimal("0.03")), (None, Decimal("0.02")),
    }  # fmt: skip
    lost.refresh_from_db()
    assert (lost.delivery, lost.venue_order_id) == ("UNKNOWN", "")
    assert Alert.objects.filter(kind="EXTERNAL_FILL").count() == 2


@pytest.mark.parametrize("is_lost", [False, True], ids=["answer", "search"])
def test_an_order_whose_deal_is_told_under_another_s_ticket_is_unknown_and_told(client, paper, monkeypatch, is_lost):
    """The deal is somebody else's then, and says nothing of this order."""
    place(client, LIMIT)
    first = TradeLedger.objects.get()
    for name in ("submit", "order_report"):
        real = getattr(Mt5Broker, name)

        def report(self: Mt5Broker, *args: Any, real: Any = real, **words: Any) -> OrderReport:
            found: OrderReport = real(self, *args, **words)
            theirs = tuple(replace(each, venue_order_id=first.venue_order_id) for each in found.fills)
            return replace(found, venue_order_id=first.venue_order_id, fills=theirs)

        monkeypatch.setattr(Mt5Broker, name, report)
    if is_lost:
        paper.control.inject("timeout_after_accept")

    answer = place(client, MARKET)

    assert (answer["status"], answer["delivery"], answer["venue_order_id"]) == ("UNKNOWN", "UNKNOWN", "")
    order = TradeLedger.objects.get(public_id=answer["id"])
    TradeLedger.objects.filter(pk=order.pk).update(sent_at=F("sent_at") - timedelta(seconds=61))
    resolution.resolve(order_id=order.pk, at=now())
    order.refresh_from_db()
    assert (order.delivery, order.reserved, order.filled_quantity) == ("UNKNOWN", order.risk, 0)
    assert Fill.objects.get().order is None
    assert Alert.objects.get(kind="ORDER_UNKNOWN").object_id == str(order.public_id)
