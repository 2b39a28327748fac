"""Names are given once, also by a database that was put back to an earlier moment."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.utils.timezone import now

from nexus.alerts.models import Alert
from reconciliation.services import cycles
from reconciliation.states import Trigger
from tests.trading.conftest import brief
from trading.brokers import ids
from trading.models import TradeLedger
from trading.services import accounts, identifiers, watch
from trading.states import OrderType, Side, TimeInForce
from trading.types import OrderRequest

SPEAKS_FOR_THE_BROKER = True
LOTS = Decimal("0.02")


def number(order: TradeLedger) -> int:
    return ids.magic(order.client_order_id) & ids.NUMBER_MAX


@pytest.mark.parametrize("kind", [OrderType.MARKET, OrderType.LIMIT])
@pytest.mark.parametrize("is_look", [True, False], ids=["by a look", "by a reconciliation"])
def test_what_was_sent_before_our_books_were_put_back_names_no_other_order(execute, paper, account, kind, is_look):
    """The gateway would answer the second of a name with what became of the first, and nobody would send it."""
    first = execute(brief(quantity=Decimal("0.01")))
    broker, is_waiting = accounts.broker_of(account), kind is OrderType.LIMIT
    for ahead in (1, 2):
        paper.quote("EURUSD", "1.08490", "1.08500")
        broker.submit(OrderRequest(
            identifiers.of(number(first) + ahead), "EURUSD", Side.BUY, LOTS, Decimal("1.08500"), Decimal("0.01"),
            Decimal("1.0780"), None, order_type=kind, limit_price=Decimal("1.0800") if is_waiting else None,
            time_in_force=TimeInForce.GTC if is_waiting else None, sent_at=now(),
        ))  # fmt: skip
    if is_look:
        watch.look(account_id=account.pk, at=now())
    else:
        cycles.run(account_id=account.pk, trigger=Trigger.COMMAND, at=now())
    paper.quote("EURUSD", "1.08490", "1.08500")

    order = execute(brief(quantity=Decimal("0.01")))

    assert (order.status, order.filled_quantity) == ("FILLED", Decimal("0.01"))
    assert number(order) > number(first) + 2
    assert len(paper.deals()) == (2 if is_waiting else 4)
    told = Alert.objects.get(kind="ORDER_NUMBERS_SKIPPED")
    assert (told.severity, told.seen_count) == ("WARNING", 1)
    assert f"up to {number(first) + 2}, and ours to {number(first)}" in told.text


def test_somebody_else_s_use_of_our_tag_does_not_use_our_numbers_up(execute):
    first = execute(brief(quantity=Decimal("0.01")))

    identifiers.outrun({identifiers.of(number(first) + identifiers.AHEAD_MAX + 1), ""}, at=now())

    assert number(execute(brief(quantity=Decimal("0.01")))) == number(first) + 1


def test_what_the_page_tells_whoever_promotes_a_standby_leaves_numbers_behind(execute):
    page = Path(settings.BASE_DIR, "docs", "database.md").read_text(encoding="utf-8")
    (statement,) = re.findall(r"```sql\n(.*order_number.*)\n```", page)
    first = execute(brief(quantity=Decimal("0.01")))

    with connection.cursor() as cursor:
        cursor.execute(statement)

    assert number(execute(brief(quantity=Decimal("0.01")))) == number(first) + identifiers.SKIPPED + 1
