"""Accounts and positions at the console: all of them, by filters, with what stops each and how its books compare."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from nexus.audit.types import Actor
from reconciliation.models import Cycle
from risk.states import ControlScope, StopLevel, Sweep
from tests.factories.accounts import UserFactory
from tests.nexus.console.people import text
from trading.models import AccountFigures, BrokerPosition, TradingAccount
from trading.services import emergency

ACCOUNTS, POSITIONS = "/admin/venues/accounts/", "/admin/venues/positions/"


def make(user, number: str, **changes) -> TradingAccount:
    return TradingAccount.objects.create(
        **{
            "user": user, "name": f"Account {number}", "venue": "mt5", "venue_account": number, "server": "Demo",
            "currency": "EUR", "mode": "HEDGING", "created_at": now(),
        } | changes
    )  # fmt: skip


@pytest.fixture
def rows(floor) -> tuple[TradingAccount, TradingAccount]:
    """A paper account that is read and compared, and an armed live one that nobody has ever read."""
    one, two = UserFactory.create(email="one@nexus.example"), UserFactory.create(email="two@nexus.example")
    first = make(one, "1001")
    second = make(two, "2002", is_live=True, armed_until=now() + timedelta(hours=1))
    AccountFigures.objects.create(
        account=first, currency="EUR", equity=Decimal("12345.67"), loss_today=Decimal("8.5"), read_at=now()
    )
    Cycle.objects.create(
        account=first, due_at=now(), succeeded_at=now(), discrepancy_usd=Decimal("3.21"), is_unvalued=True, failures=2
    )
    return first, second


def names(page) -> list[str]:
    return [row.account.name for row in page.context["rows"]]


def test_accounts_show_link_owner_figures_d_and_what_is_late(console, officer, rows):
    for client in (console, officer):
        page = client.get(ACCOUNTS)
        assert names(page) == ["Account 2002", "Account 1001"]
        live, paper = page.context["rows"]
        assert (live.is_late, live.is_armed, paper.is_late, paper.is_armed) == (True, True, False, False)
        shown = text(page)
        for words in (
            "mt5 1001", "one@nexus.example", "12 345.67 EUR", "8.5</td>", "3.21", "and more", "2 failures",
            "REAL MONEY", "armed until", "LATE",
        ):  # fmt: skip
            assert words in shown.replace("\u202f", " ").replace("\xa0", " "), words


def test_an_account_says_how_far_it_may_trade_and_by_whose_stop(console, rows):
    first, second = rows

    def levels() -> dict[str, tuple[str, str]]:
        return {row.account.name: (row.level, row.stopped) for row in console.get(ACCOUNTS).context["rows"]}

    def stop(scope: ControlScope, key: str, level: StopLevel) -> None:
        emergency.stop(
            scope=scope, key=key, level=level, sweep=Sweep.NONE, reason="A test.", actor=Actor.system("tests"), at=now()
        )

    assert levels() == {"Account 1001": ("ACTIVE", ""), "Account 2002": ("ACTIVE", "")}
    stop(ControlScope.BROKER, "mt5", StopLevel.REDUCE_ONLY)
    assert levels()["Account 1001"] == ("REDUCE_ONLY", "BROKER")
    stop(ControlScope.USER, str(second.user_id), StopLevel.HALTED)
    assert levels() == {"Account 1001": ("REDUCE_ONLY", "BROKER"), "Account 2002": ("HALTED", "USER")}
    stop(ControlScope.ACCOUNT, str(first.pk), StopLevel.HALTED)
    assert levels()["Account 1001"] == ("HALTED", "ACCOUNT")


def test_accounts_are_found_by_owner_number_and_money(console, rows, monkeypatch):
    def found(**given) -> list[str]:
        return names(console.get(ACCOUNTS, given))

    assert found(owner="one@nexus.example") == ["Account 1001"]
    assert found(owner="nobody@nexus.example") == []
    assert found(number="20") == ["Account 2002"]
    assert found(money="live") == ["Account 2002"]
    assert found(money="paper") == ["Account 1001"]
    monkeypatch.setattr("nexus.console.venues.SHOWN", 1)
    page = console.get(ACCOUNTS)
    assert names(page) == ["Account 2002"]
    assert names(console.get(ACCOUNTS + page.context["older"])) == ["Account 1001"]


def test_positions_are_found_by_account_instrument_and_whether_they_are_open(console, officer, execute, account):
    execute()
    position = BrokerPosition.objects.get()

    def found(**given) -> list[BrokerPosition]:
        return list(console.get(POSITIONS, given).context["rows"])

    for client in (console, officer):
        page = text(client.get(POSITIONS))
        assert position.symbol in page
        assert account.user.email in page
        assert 'method="post"' not in page.split("<main", 1)[-1]  # to read, and nothing else
    assert found() == found(account=str(account.public_id)) == found(account=account.venue_account) == [position]
    assert found(symbol="NOTHING") == found(standing="closed") == []
    assert found(standing="") == [position]
    assert "There is no account 999." in text(console.get(POSITIONS, {"account": "999"}))


def test_fifty_accounts_cost_as_many_statements_as_one(console, rows):
    def statements() -> int:
        console.get(ACCOUNTS)
        with CaptureQueriesContext(connection) as asked:
            assert console.get(ACCOUNTS).status_code == 200
        return len(asked)

    few = statements()
    for number in range(30):
        made = make(UserFactory.create(), f"3{number:03d}")
        AccountFigures.objects.create(account=made, read_at=now())
        Cycle.objects.create(account=made, due_at=now())
    assert statements() == few <= 10
