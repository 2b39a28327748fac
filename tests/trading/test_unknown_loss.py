"""A loss that nobody knows: the last one that was known of the day counts, the gate admits nothing, people are told."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from risk.models import TradingControl
from risk.states import LimitKind, StopLevel
from risk.types import Unknown
from tests.trading.conftest import brief, limit
from trading.models import AccountFigures, TradingAccount
from trading.services import exposure, figures, overview, signals, watch

NOBODY_KNOWS = Unknown("CONVERSION_MISSING")


def look(account):
    watch.look(account_id=account.pk, at=now())


@pytest.fixture
def blinded(execute, paper, account, monkeypatch):
    """An account that has lost 60 USD today, which everybody saw, and cannot be valued since."""
    look(account)
    execute()
    paper.quote("EURUSD", "1.07900", "1.07910")  # its stop is hit
    look(account)
    assert AccountFigures.objects.get().loss_today == 60
    monkeypatch.setattr(exposure, "_loss_today", lambda *_, **__: NOBODY_KNOWS)
    look(account)
    assert AccountFigures.objects.get().loss_today is None
    return account


def test_the_last_known_loss_of_the_day_counts_for_the_stop(blinded, trader):
    assert figures.loss_of(trader.pk, at=now()) == overview.lost_today(at=now()) == 60
    limit(LimitKind.DAILY_LOSS, "60", user=trader)

    look(blinded)

    stop = TradingControl.objects.get(scope="USER", key=str(trader.pk))
    assert stop.level == StopLevel.HALTED
    assert f"counted as last known: {blinded}" in stop.reason


def test_it_is_of_its_day_alone(blinded, trader):
    tomorrow = now() + timedelta(days=1)

    watch.look(account_id=blinded.pk, at=tomorrow)

    assert figures.loss_of(trader.pk, at=tomorrow) == 0


def test_what_is_known_again_counts_instead(blinded, trader, monkeypatch):
    monkeypatch.setattr(exposure, "_loss_today", lambda *_, **__: Decimal(25))

    look(blinded)

    assert figures.loss_of(trader.pk, at=now()) == 25


def test_the_gate_admits_nothing_on_a_loss_that_it_does_not_know(blinded, execute):
    order = execute(brief(quantity=Decimal("0.01")))

    assert (order.status, order.rejected_by) == ("REJECTED", "LOCAL")
    assert next(each for each in order.checks if each["name"] == "DAILY_LOSS")["passed"] is False


def test_what_was_told_of_an_account_that_is_put_aside_ends(blinded):
    AccountFigures.objects.update(failing_since=now() - timedelta(seconds=61))
    look(blinded)
    told = Alert.objects.get(kind="ACCOUNT_NOT_WATCHED")
    figures.alarm(clock=now(), at=now())
    told.refresh_from_db()
    assert told.closed_at is None
    TradingAccount.objects.update(is_active=False)

    figures.alarm(clock=now(), at=now())

    told.refresh_from_db()
    assert told.closed_at is not None


def test_no_headroom_is_told_of_a_limit_whose_use_nobody_knows(blinded):
    told = {kind for _, kind, _ in signals.headroom(at=now())}

    assert LimitKind.DAILY_LOSS.value not in told
    assert LimitKind.ORDERS_PER_DAY.value in told
