"""What people were told of an account ends when it is put aside: nobody compares it any more."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db.models import F
from django.utils.timezone import now

from nexus.alerts.models import Alert
from reconciliation.models import Cycle
from reconciliation.services import schedule
from tests.reconciliation.test_acting import shift_average
from trading.models import TradingAccount


@pytest.fixture
def failed(account, reconcile, settings):
    url, settings.MT5_GATEWAY_URL = settings.MT5_GATEWAY_URL, "http://127.0.0.1:9"
    for _ in range(3):
        assert reconcile().status == "FAILED"
    settings.MT5_GATEWAY_URL = url
    return {"RECONCILIATION_FAILED", "RECONCILIATION_STOPPED"}


@pytest.fixture
def stale(account, reconcile):
    TradingAccount.objects.update(created_at=now() - timedelta(hours=1))
    Cycle.objects.update(due_at=now() + timedelta(hours=1), succeeded_at=now() - timedelta(hours=1))
    schedule.hand_out(at=now())
    return {"RECONCILIATION_STALE"}


@pytest.fixture
def review(execute, account, reconcile, quiet):
    return _differing("200", execute, reconcile)


@pytest.fixture
def stopped(execute, account, reconcile, quiet):
    return _differing("600", execute, reconcile)


def _differing(usd, execute, reconcile):
    execute()
    reconcile()
    shift_average(usd)
    reconcile()
    return {"DISCREPANCY_STOPPED" if Decimal(usd) > 500 else "DISCREPANCY_REVIEW"}


def standing() -> set[str]:
    rows = Alert.objects.filter(closed_at__isnull=True).exclude(kind="TRADING_STOPPED")
    return set(rows.values_list("kind", flat=True))


@pytest.mark.parametrize("trouble", ["failed", "stale", "review", "stopped"])
def test_what_was_told_of_it_ends_and_not_before(trouble, request, account):
    kinds = request.getfixturevalue(trouble)
    Cycle.objects.update(due_at=now() + timedelta(hours=1))
    schedule.hand_out(at=now())
    assert standing() == kinds

    TradingAccount.objects.update(is_active=False)
    schedule.hand_out(at=now())

    assert standing() == set()


def test_what_was_told_of_another_stands(failed, account):
    other = TradingAccount.objects.get()
    other.pk, other.venue_account, other.is_active = None, "9", False
    other.public_id = "00000000-0000-4000-8000-000000000009"
    other.save()
    Cycle.objects.update(due_at=F("due_at") + timedelta(hours=1))

    schedule.hand_out(at=now())

    assert standing() == failed
