"""One account at the console: how it stands, what holds it, what waits, in as few statements for much."""

import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from accounts.models import ApprovalRequest
from nexus.alerts.models import Alert
from nexus.audit.types import Actor
from risk.states import ControlScope, StopLevel, Sweep
from tests.nexus.console.people import confirm, text
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
    assert few <= 17


def test_an_account_is_put_aside_and_taken_up_again_by_two(console, other_console, officer, rows):
    account = rows[0]
    path = f"{ACCOUNTS}{account.public_id}/"
    for verb, offered, words, is_active in (
        ("put-aside/", "Ask to put it aside…", "Put an account aside", False),
        ("take-up/", "Ask to take it up again…", "Take an account up again", True),
    ):
        assert offered in text(console.get(path))
        assert offered not in text(officer.get(path))
        assert officer.get(path + verb).status_code == 403
        assert confirm(console, path + verb).status_code == 302
        asked = ApprovalRequest.objects.get(state="PENDING")
        assert words in text(console.get(path))
        assert words in text(other_console.get(f"/admin/approvals/{asked.public_id}/"))
        assert confirm(console, path + verb).status_code == 409  # it waits already

        assert confirm(other_console, f"/admin/approvals/{asked.public_id}/approve/").status_code == 302

        account.refresh_from_db()
        assert account.is_active is is_active
        assert "already" in text(console.get(path + verb))
