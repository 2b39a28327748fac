"""Charts of reconciliation against figures that were worked out by hand, in PostgreSQL."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nexus.core.charts import window
from reconciliation.models import Cycle, ReconciliationLog
from reconciliation.services import charts
from tests.factories.accounts import UserFactory
from trading.models import TradingAccount

AT = datetime(2026, 11, 21, 9, 58, 12, tzinfo=UTC)
OVER = window("24h", at=AT)


@pytest.fixture
def linked(db):
    """Make accounts."""
    user = UserFactory.create()

    def link(number, **cycle):
        account = TradingAccount.objects.create(
            user=user, name=f"A{number}", venue="mt5", venue_account=str(number), server="S", currency="USD",
            mode="HEDGING", created_at=AT - timedelta(days=60),
        )  # fmt: skip
        if cycle:
            Cycle.objects.create(account=account, due_at=AT, **cycle)
        return account

    return link


def ran(account, at, value, *, status="DIFFERENT", entry="RUN"):
    ReconciliationLog.objects.create(
        run_id=uuid.uuid4(), entry=entry, account=account, trigger="CLOCK", status=status, value_usd=value,
        risk_impact="LOW", action="NONE", made_by="tests", at=at,
    )  # fmt: skip


def step(number, **later):
    return OVER.since + number * OVER.step + timedelta(**later)


def test_d_is_the_most_of_each_step_of_each_account(linked):
    one, other = linked(1), linked(2)
    for minute, value in enumerate(("0", "12.5", "3")):
        ran(one, step(4, minutes=minute), value)
    ran(one, step(4, minutes=1), "900", entry="DIFFERENCE")  # of one instrument: no run
    ran(one, step(5), None)
    ran(one, step(6), None, status="FAILED")
    ran(other, step(4), "7")
    ran(other, OVER.since - timedelta(seconds=1), "70")

    first, second = charts.of_accounts([one, other], OVER)

    assert (first.discrepancy[3:7], first.unvalued, first.failed) == ((None, Decimal("12.5"), None, None), 1, 1)
    assert [value for value in second.discrepancy if value is not None] == [7]


def test_age_grows_while_nothing_runs_and_a_failed_run_does_not_stop_it(linked):
    account = linked(1)
    ran(account, step(0) - timedelta(seconds=40), "0")
    ran(account, step(0, seconds=20), "0")  # 60 s after the one before, 280 s before the step ends
    ran(account, step(1, seconds=100), None, status="FAILED")
    ran(account, step(3, seconds=10), "0")  # 10 + 300 + 300 + 280 s after the one before

    ages = charts.age_of(account, OVER, at=AT)

    assert ages[:5] == [280, 580, 880, 890, 590]
    assert ages[-1] == (AT - step(3, seconds=10)) // timedelta(seconds=1)


def test_an_account_that_was_never_compared_has_no_age(linked):
    account = linked(1, succeeded_at=None)

    assert set(charts.age_of(account, OVER, at=AT)) == {None}
    assert [each.age_s for each in charts.oldest(at=AT)] == [None]


def test_the_oldest_and_those_that_differ_most_stand_first_and_are_bounded(linked):
    for number in range(25):
        linked(number, succeeded_at=AT - timedelta(seconds=number), discrepancy_usd=number % 7)
    odd = linked(99, succeeded_at=None, is_unvalued=True)

    oldest = charts.oldest(at=AT)
    most, total = charts.most_different()

    assert (oldest[0].account, oldest[1].age_s, len(oldest)) == (odd, Decimal(24), charts.OLDEST)
    assert (most[0], len(most), total) == (odd, charts.SHOWN, 26)
    assert len(charts.of_accounts([*most, odd], OVER)) == charts.SHOWN
    assert [each.name for each in most[1:4]] == ["A6", "A13", "A20"]


def test_each_is_one_statement_or_two(linked):
    accounts = [linked(number, succeeded_at=AT) for number in range(8)]

    for read, most in (
        (lambda: charts.of_accounts(accounts, OVER), 1),
        (lambda: charts.age_of(accounts[0], OVER, at=AT), 2),
        (lambda: charts.oldest(at=AT), 1),
        (charts.most_different, 2),
    ):
        with CaptureQueriesContext(connection) as asked:
            read()
        assert len(asked) == most
