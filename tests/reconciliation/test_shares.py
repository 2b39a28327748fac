"""A broker whose fills tell no result: it follows from their prices, and the balance must agree all the same."""

import pytest
from django.utils.timezone import now

from reconciliation.models import ReconciliationLog
from reconciliation.services import cycles
from reconciliation.states import Trigger
from tests.trading.conftest import _always_true, floor
from tests.trading.test_shares import buy, client, emulator, owner, send
from trading.brokers.alpaca.wire import EXCHANGE_ZONE
from trading.models import TradingAccount

__all__ = ["_always_true", "client", "emulator", "floor", "owner"]


def reconcile() -> str:
    """Reconcile the one account and say how that ended."""
    outcome = cycles.run(account_id=TradingAccount.objects.get().pk, trigger=Trigger.CLOCK, at=now())
    return outcome.status.value or outcome.detail


@pytest.mark.parametrize("bid", ["105.00", "93.00"])
def test_what_shares_have_earned_is_no_difference(client, emulator, bid):
    assert reconcile() == "CLEAN"
    assert buy(client, 0.37).json()["status"] == "FILLED"
    assert buy(client, 2).json()["status"] == "FILLED"
    assert reconcile() == "CLEAN"
    emulator.books.move("AAPL", bid, str(float(bid) + 0.02))
    (position,) = client.get("/trading/positions").json()["results"]

    for part in ({"quantity": 0.37}, {}):
        assert send(client, f"/trading/positions/{position['id']}/close", **part).json()["status"] == "FILLED"
        assert reconcile() == "CLEAN"

    assert not ReconciliationLog.objects.exclude(status="CLEAN").exists()


def test_money_of_the_day_of_the_link_is_no_difference(client, emulator):
    today = f"{now().astimezone(EXCHANGE_ZONE):%Y-%m-%d}"
    emulator.books.pay("CSD", "300", date=today)  # before the link or after it, its day does not say
    assert reconcile() == "CLEAN"

    emulator.books.pay("CSD", "500", date=today)

    assert reconcile() == "CLEAN"
