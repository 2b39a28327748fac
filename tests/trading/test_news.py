"""News by watermarks: told once, booked before they count as told, and never behind an order's back."""

import contextlib
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from tests.fakes.paper import LOGIN
from trading.brokers.mt5 import news as terminal_news
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import CashMovement, Fill
from trading.services import accounts, desk, fills, glances, watch
from trading.services.news import WHOLE_EVERY, Reader
from trading.types import News


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[News]:
    """Return what the broker has told, reading by reading."""
    real, told = Mt5Broker.news, []

    def news(self: Mt5Broker, **asked: Any) -> News:
        told.append(real(self, **asked))
        return told[-1]

    monkeypatch.setattr(Mt5Broker, "news", news)
    return told


def look(account):
    return watch.look(account_id=account.pk, at=now())


def test_the_watch_reads_its_history_once_and_then_what_is_new(execute, paper, account, told):
    execute()
    look(account)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
    paper.control.balance(LOGIN, "500")

    assert [look(account), look(account)] == [1, 0]

    # Where money has moved, the account is looked at once more: its equity may be from before that.
    assert [each.is_whole for each in told] == [True, False, False, False, False]
    assert [(len(each.fills), len(each.cash)) for each in told] == [(1, 1), (0, 0), (1, 1), (0, 0), (0, 0)]
    assert (Fill.objects.count(), CashMovement.objects.filter(amount=500).count()) == (2, 1)


def test_what_could_not_be_booked_is_told_again(paper, account, told, monkeypatch):
    look(account)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")

    with monkeypatch.context() as patch, contextlib.suppress(RuntimeError):
        patch.setattr(fills, "ingest", lambda **_: (_ for _ in ()).throw(RuntimeError))
        look(account)
    with monkeypatch.context() as patch:
        patch.setattr(fills, "ingest", lambda **_: 0)  # it returns, and has booked nothing
        assert look(account) == 0

    assert look(account) == 1
    assert [len(each.fills) for each in told[2:]] == [1, 1, 1]  # the first look was two: money had been paid in


def test_a_deal_that_is_listed_late_is_told_when_it_is_listed(paper, account, told):
    look(account)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.1", sl="1.08", late_s=1)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
    look(account)

    moved = 0
    for _ in range(2000):
        moved += look(account)
        if moved:
            break

    assert Fill.objects.count() == 2
    assert not any(each.is_whole for each in told[1:])


def test_once_a_minute_everything_is_read_whatever_the_mark_says(paper, account, told):
    broker, reader, at = accounts.broker_of(account), Reader(), now()

    for seconds in (0, 1, 59, 60, 61, -30):
        clock = at + timedelta(seconds=seconds)
        reader.keep(broker, reader.read(broker, symbols=[], since=at, clock=clock), clock=clock)

    assert [each.is_whole for each in told] == [True, False, False, True, False, True]
    assert timedelta(seconds=60) == WHOLE_EVERY


def test_a_clock_that_goes_back_an_hour_hides_no_deal(paper, account):
    """In autumn the server writes a time that it has written before."""
    broker = accounts.broker_of(account)
    mark = broker.news(symbols=["EURUSD"], since=now()).mark
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")

    ahead = type(mark)({"EURUSD": mark.quotes["EURUSD"] + 3_600_000}, mark.deals + 3600, mark.told, mark.asked)
    news = broker.news(symbols=["EURUSD"], since=now(), mark=ahead)

    assert [each.quantity for each in news.fills] == [Decimal("0.5")]
    assert set(news.quotes) == {"EURUSD"}
    assert terminal_news.OVERLAP_S > 3600


@pytest.mark.parametrize("asked_s", [-3601, 3601])
def test_a_mark_of_another_hour_is_no_beginning(paper, account, asked_s):
    broker = accounts.broker_of(account)
    mark = broker.news(symbols=[], since=now()).mark

    other = type(mark)(mark.quotes, mark.deals, mark.told, mark.asked + asked_s)

    assert broker.news(symbols=[], since=now(), mark=other).is_whole


def test_a_worker_that_nobody_has_compared_is_read_whole_and_then_sends(paper, account):
    """News from a mark are no reconciliation: a gateway that has started a worker waits for the whole history."""
    broker = accounts.broker_of(account)
    mark = broker.news(symbols=[], since=now()).mark
    worker = paper.desk
    worker._reconciled = -1
    broker.snapshot(symbols=[])
    assert worker.must_reconcile

    assert broker.news(symbols=[], since=now(), mark=mark).is_whole

    assert not worker.must_reconcile


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the jobs that a glance asks for."""
    jobs: list[str] = []
    monkeypatch.setattr(glances, "enqueue", lambda name, **_: jobs.append(name))
    return jobs


def test_a_glance_shows_what_has_moved_and_nothing_else(execute, paper, account, asked):
    execute()
    at = now()

    def glance(seconds: float) -> bool:
        return desk.glance(account, at=at + timedelta(seconds=seconds)) is not None

    assert [glance(0), glance(1), glance(2)] == [True, False, False]
    paper.quote("EURUSD", "1.08480", "1.08500")
    assert [glance(3), glance(4), glance(7.9), glance(8.1), glance(9)] == [True, False, False, True, False]
    assert asked == []  # our own fill is booked: nobody need look


def test_a_glance_has_a_strangers_deal_booked_at_once(paper, account, asked):
    assert desk.glance(account, at=now()) is not None
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
    assert desk.glance(account, at=now()) is not None
    paper.control.balance(LOGIN, "500")
    assert desk.glance(account, at=now()) is not None

    assert asked == ["trading.watch_account"] * 2


def test_a_glance_at_a_broker_that_is_away_shows_that(account, settings):
    desk.glance(account, at=now())
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"

    seen = desk.glance(account, at=now())

    assert seen is not None
    assert seen.live is None
