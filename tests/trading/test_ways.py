"""What is known of an order by one way has the consequences that it has by every other."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db.models import F
from django.utils.timezone import now

from accounts.states import Role
from nexus.alerts.models import Alert
from tests.factories.accounts import UserFactory
from tests.trading.conftest import brief
from tests.trading.test_lifecycle import fill
from tests.trading.test_nowhere import search
from trading.models import TradeLedger
from trading.services import decisions, fills, resolution
from trading.services.decisions import NotUndecided
from trading.states import CancelState, OrderStatus

SPEAKS_FOR_THE_BROKER = True  # its reports are made up: the paper broker has never heard of them


def told() -> list[str]:
    return list(Alert.objects.filter(kind="ORDER_UNKNOWN", closed_at__isnull=True).values_list("kind", flat=True))


def test_an_order_that_history_shows_at_work_is_unknown_no_more(execute, paper, account, settings):
    """What was told of it ends, also where nobody's search has found it."""
    paper.control.inject("timeout_before_accept")
    order = execute(brief())
    TradeLedger.objects.filter(pk=order.pk).update(sent_at=F("sent_at") - timedelta(seconds=70))
    url, settings.MT5_GATEWAY_URL = settings.MT5_GATEWAY_URL, "http://127.0.0.1:9"
    resolution.resolve(order_id=order.pk, at=now())
    settings.MT5_GATEWAY_URL = url
    assert told() == ["ORDER_UNKNOWN"]

    fills.ingest(account=account, reports=[fill(order, 1, "0.04")], at=now())

    order.refresh_from_db()
    assert (order.status, order.delivery) == ("PARTIALLY_FILLED", "ACKED")
    assert told() == []


@pytest.mark.parametrize("asked", [CancelState.REQUESTED, CancelState.UNKNOWN])
def test_a_cancel_is_done_where_operators_have_decided_the_end(execute, paper, account, asked, monkeypatch):
    with monkeypatch.context() as patched:
        for name in ("history_deals_get", "positions_get", "orders_get", "history_orders_get"):
            patched.setattr(paper.desk._hands.module, name, lambda *_, **__: ())
        order = execute(brief(quantity=Decimal("0.01")))
        search(order, times=4)
        TradeLedger.objects.filter(pk=order.pk).update(cancel=asked)
        first, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
        decision = decisions.propose(
            order_id=order.pk, to=OrderStatus.CANCELED, evidence="The dealer has canceled it.", by=first, at=now()
        )
        decisions.decide(decision_id=decision.pk, approve=True, by=second, at=now())

    order.refresh_from_db()
    assert (order.status, order.cancel) == (OrderStatus.CANCELED, CancelState.DONE)


def test_a_proposal_is_void_once_its_order_has_filled_in_part(execute, paper, account, monkeypatch):
    """It was about an order of which nobody had seen anything."""
    for name in ("history_deals_get", "positions_get", "orders_get", "history_orders_get"):
        monkeypatch.setattr(paper.desk._hands.module, name, lambda *_, **__: ())
    order = execute(brief(quantity=Decimal("0.03")))
    search(order, times=4)
    first, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
    decision = decisions.propose(
        order_id=order.pk, to=OrderStatus.REJECTED, evidence="The dealer has refused it.", by=first, at=now()
    )
    order.refresh_from_db()
    part = fill(order, 1, "0.01", venue_order_id=order.venue_order_id)
    fills.ingest(account=account, reports=[part], at=now())

    with pytest.raises(NotUndecided):
        decisions.decide(decision_id=decision.pk, approve=True, by=second, at=now())

    order.refresh_from_db()
    assert (order.status, order.delivery) == (OrderStatus.PARTIALLY_FILLED, "ACKED")
