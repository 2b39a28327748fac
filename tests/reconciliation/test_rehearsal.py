"""The bad day of docs/rehearsal.md, said word by word to `manage.py paper`: after each thing the log, the books, the
alerts and the stop are what they should be, and running again changes nothing.
"""

import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.local import servers
from reconciliation.models import Cycle, ReconciliationLog, Review
from reconciliation.services import schedule
from risk.states import StopLevel
from tests.reconciliation.test_bad_day import books, found, replay, stop_of
from tests.trading.conftest import brief
from trading.brokers.mt5.emulator.controls import server
from trading.models import BookCorrection, BrokerPosition, CashMovement, Fill
from trading.states import FillKind

__all__ = ["replay"]
CENT = Decimal(100)
TOKEN = "a control token of the tests"


@pytest.fixture
def say(paper: Any, settings: Any) -> Any:
    """Speak to the paper broker as people do."""
    address = f"127.0.0.1:{servers.free_port()}"
    settings.PAPER_CONTROLS, settings.PAPER_CONTROL_TOKEN = address, TOKEN

    def words(text: str) -> str:
        out = io.StringIO()
        call_command("paper", *text.split(), stdout=out)
        return out.getvalue()

    with server.serve(paper.control, address, TOKEN):
        yield words
        assert "add up" in words("verify")


def told() -> dict[str, bool]:
    """Return every alert by its kind, and whether it stands."""
    return {alert.kind: alert.closed_at is None for alert in Alert.objects.order_by("pk")}


def is_clean(outcome: Any, *, fills: int = 0) -> bool:
    return (outcome.status, outcome.new_fills, outcome.discrepancy_usd) == ("CLEAN", fills, 0)


def test_the_day(say, execute, paper, account, reconcile, replay, quiet, settings):
    ours = Fill.objects.get(order=execute())
    assert is_clean(reconcile())

    say("trade sell EURUSD 0.5 --stop 1.09 --by mobile")  # a manual trade
    assert is_clean(reconcile(), fills=1)
    manual = Fill.objects.get(order=None)
    assert (manual.kind, manual.quantity) == (FillKind.ORDER, Decimal("0.5"))
    assert told() == {"EXTERNAL_FILL": True}
    replay()

    say("inject gap target=EURUSD ticks=-600")  # a stop-loss while we were down
    paper.quote("EURUSD", "1.08490", "1.08500")
    assert is_clean(reconcile(), fills=1)
    assert Fill.objects.latest("pk").kind == FillKind.STOP_LOSS
    assert BrokerPosition.objects.get(venue_position_id=ours.venue_position_id).closed_at is not None
    assert told() == {"EXTERNAL_FILL": True}
    replay()

    say("deposit 2500")
    assert is_clean(reconcile())
    assert CashMovement.objects.order_by("pk").values_list("kind", "amount").last() == ("TRANSFER", 2500)
    say("swap --amount -3.50")  # it is no movement of money before the position is closed
    assert is_clean(reconcile())
    assert CashMovement.objects.count() == 2
    replay()

    # A comment is dropped, an answer is lost, and one ends in the middle.
    for number, fault in enumerate(("comment_drop", "timeout_after_accept", "bridge_drop point=middle")):
        say(f"inject {fault}")
        order = execute(brief(entry_price=None, stop_loss=Decimal("1.07"), quantity=Decimal("0.02") + number / CENT))
        assert (order.delivery == "UNKNOWN") == bool(number)
        assert is_clean(reconcile(), fills=int(order.delivery == "UNKNOWN"))
        order.refresh_from_db()
        assert order.status == "FILLED"
    replay()

    before = books()
    say("inject bridge_drop point=middle --function wire_read")  # what the broker shows ends in the middle
    outcome = reconcile()
    assert (outcome.status, outcome.risk_impact) == ("FAILED", "MEDIUM")
    assert told()["RECONCILIATION_FAILED"]
    after = books()
    before.pop("alerts"), after.pop("alerts")
    assert after == before
    assert is_clean(reconcile())
    assert not told()["RECONCILIATION_FAILED"]
    replay()

    assert [(item[0], item[2]) for item in found()] == [("RUN", "NONE")]
    assert stop_of(account) is None

    say(f"close {manual.venue_position_id} --late 3600")  # a position vanishes, and its deal does not show
    outcome = reconcile()
    assert (outcome.status, outcome.risk_impact) == ("DIFFERENT", "HIGH")
    assert found()[1] == ("DIFFERENCE", manual.venue_position_id, "TRADING_STOPPED", "HIGH")
    assert found()[-1] == ("RUN", "", "TRADING_STOPPED", "HIGH")
    assert BrokerPosition.objects.get(venue_position_id=manual.venue_position_id).closed_at is None
    assert stop_of(account) == StopLevel.REDUCE_ONLY
    assert told()["DISCREPANCY_STOPPED"]
    assert Review.objects.filter(state="OPEN").count() == 2
    replay()

    before = books()
    for function in ("history_deals_get", "positions_get", "account_info"):  # three failures
        say(f"inject none_result --function {function} --times always")
        assert reconcile().status == "FAILED"
        say("clear")
    assert Cycle.objects.get().failures == 3
    assert ReconciliationLog.objects.latest("pk").action == "TRADING_STOPPED"
    assert told()["RECONCILIATION_STOPPED"]
    after = books()
    before.pop("alerts"), after.pop("alerts")
    assert after == before

    later = now() + timedelta(seconds=settings.RECONCILIATION_AGE_MAX_S + 60)
    schedule.hand_out(at=now() + timedelta(seconds=61))  # a loop that died: nobody runs what is handed out
    schedule.hand_out(at=later)
    assert Cycle.objects.get().failures == 4
    assert told()["RECONCILIATION_STALE"]
    assert not BookCorrection.objects.exclude(kind="OPENING").exists()  # all day long
    assert stop_of(account) == StopLevel.REDUCE_ONLY


@pytest.mark.broker(netting=True)
def test_a_flip_on_a_netting_account(say, execute, account, reconcile, replay):
    execute()
    say("trade sell EURUSD 0.3 --stop 1.09 --by desktop")

    assert is_clean(reconcile(), fills=1)

    position = BrokerPosition.objects.get(closed_at=None)
    assert (position.quantity, position.price_open) == (Decimal("-0.2"), Decimal("1.0849"))
    assert (found(), stop_of(account), told()) == ([], None, {"EXTERNAL_FILL": True})
    replay()


def test_a_history_that_is_late_for_a_while(say, account, reconcile, replay):
    say("trade buy EURUSD 0.1 --stop 1.08 --late 2")

    first = reconcile()
    assert [action for _, action in first.findings] == ["EXCLUDED"]
    while (outcome := reconcile(at_once=True)).status != "CLEAN":
        assert outcome.discrepancy_usd == 0

    assert outcome.new_fills == 1
    assert stop_of(account) is None
    replay()
