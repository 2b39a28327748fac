"""A look of which one part fails: what the rest shows stops trading all the same, and people are told of the part."""

from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.core.errors import Unreachable
from risk.states import ControlScope, LimitKind
from tests.fakes.paper import LOGIN
from tests.trading.conftest import limit
from tests.trading.sweeps import flatten, sweep_now
from tests.trading.test_triggers import look, losing, row, stopped, with_snapshot
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import AccountFigures, Fill, SweepRun
from trading.services import fills, watch
from trading.states import SweepState

__all__ = ["losing"]


@pytest.fixture
def without_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that shows the account and not what has happened there."""

    def fail(*_: Any, **__: Any) -> None:
        raise Unreachable("the history is loading")

    monkeypatch.setattr(Mt5Broker, "news", fail)


def test_the_margin_level_stops_an_account_whose_history_cannot_be_read(account, monkeypatch, without_history):
    with_snapshot(monkeypatch, margin_used=Decimal(83_334))

    look(account)

    assert (stopped(account) or (None,))[0] == "REDUCE_ONLY"
    assert Alert.objects.filter(kind="MARGIN_LEVEL_LOW", closed_at=None).exists()
    assert AccountFigures.objects.get(account=account).failing_since is not None  # its loss is not seen


def test_an_equity_that_is_gone_halts_an_account_whose_history_cannot_be_read(account, monkeypatch, without_history):
    with_snapshot(monkeypatch, equity=Decimal(0))

    look(account)

    assert (stopped(account) or (None,))[0] == "HALTED"


def test_what_stands_again_is_swept_where_the_history_cannot_be_read(account, paper, without_history):
    flatten()
    assert sweep_now().state == SweepState.PROVEN
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3", sl="1.08")

    look(account)

    assert SweepRun.objects.filter(state=SweepState.RUNNING).exists()


def test_nothing_is_told_of_a_margin_that_a_broker_does_not_show(account, settings):
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"

    look(account)

    assert stopped(account) is None


def test_the_loss_of_the_day_stops_its_user_although_a_fill_cannot_be_booked(losing, trader, paper, monkeypatch):
    """An error of ours: what was paid in is known, so the loss is."""
    limit(LimitKind.DAILY_LOSS, "60", user=trader)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.01", sl="1.07")

    def fail(**_: Any) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(fills, "ingest", fail)
        with pytest.raises(ZeroDivisionError):
            watch.take_turn(account_id=losing.pk, at=now())

    found = row(ControlScope.USER, trader.pk)
    assert found is not None
    figures = AccountFigures.objects.get(account=losing)
    assert (figures.fault, figures.failing_since is None) == ("ZeroDivisionError: a bug", False)
    look(losing)
    assert Fill.objects.filter(account=losing, order=None).exists()
    assert AccountFigures.objects.get(account=losing).failing_since is None
