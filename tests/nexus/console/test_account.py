"""One account at the console: how it stands, what holds it, what waits, in as few statements for much."""

import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.audit.types import Actor
from risk.states import ControlScope, StopLevel, Sweep
from tests.nexus.console.people import text
from tests.nexus.console.test_venues import rows
from trading.models import BrokerPosition, TradingAccount
from trading.services import emergency

__all__ = ["rows"]
ACCOUNTS = "/admin/venues/accounts/"


@pytest.fixture
def hold() -> Iterator[Callable[..., None]]:
    """Let an account hold positions that no fill has made; they are gone before anybody adds the books up."""

    def make(account: TradingAccount, symbol: str, *, count: int = 1) -> None:
        for number in range(count):
            BrokerPosition.objects.create(
                account=account, venue_position_id=str(number), symbol=symbol, quantity=Decimal("0.1"),
                price_open=Decimal("1.1"), opened_at=now(),
            )  # fmt: skip

    yield make
    BrokerPosition.objects.all().delete()


def test_one_account_shows_what_holds_it_what_waits_and_the_ways_on(console, officer, rows, operator, hold):
    paper, live = rows
    emergency.stop(
        scope=ControlScope.ACCOUNT, key=str(paper.pk), level=StopLevel.HALTED, sweep=Sweep.NONE,
        reason="It differs by far too much.", actor=Actor.user(operator.public_id), at=now(),
    )  # fmt: skip
    about = {"severity": "CRITICAL", "opened_at": now(), "last_seen_at": now(), "object_type": "trading_account"}
    for account, kind in ((paper, "DISCREPANCY_STOPPED"), (live, "MARGIN_LEVEL_LOW")):
        Alert.objects.create(kind=kind, dedupe_key=kind, text="x", object_id=str(account.public_id), **about)
    hold(paper, "EURUSD")
    hold(live, "XAUUSD")

    for client in (console, officer):
        shown = text(client.get(f"{ACCOUNTS}{paper.public_id}/"))
        for words in (
            "one@nexus.example", "12 345.67 EUR", "3.21", "and more", "It differs by far too much.", "HALTED",
            "DISCREPANCY_STOPPED", "runbooks/reconciliation/#discrepancy_stopped", "EURUSD",
            f"/admin/charts/{paper.public_id}/", f"scope=ACCOUNT&amp;key={paper.pk}",
        ):  # fmt: skip
            assert words in shown, words
        assert "MARGIN_LEVEL_LOW" not in shown
        assert "XAUUSD" not in shown
    newest = text(console.get(f"{ACCOUNTS}{live.public_id}/"))
    assert f'{paper.public_id}/" rel="next"' in newest
    assert "Nothing stops it." in newest
    assert console.get(f"{ACCOUNTS}{uuid.uuid4()}/").status_code == 404


def test_one_account_costs_as_many_statements_with_much_on_it_as_with_nothing(console, rows, hold):
    paper, live = rows

    def statements(account: TradingAccount) -> int:
        console.get(f"{ACCOUNTS}{account.public_id}/")
        with CaptureQueriesContext(connection) as asked:
            assert console.get(f"{ACCOUNTS}{account.public_id}/").status_code == 200
        return len(asked)

    few = statements(paper)
    hold(paper, "EURUSD", count=30)
    assert statements(paper) == few == statements(live)
    assert few <= 16
