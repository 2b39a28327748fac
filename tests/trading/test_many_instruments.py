"""An account that holds, or waits for, more instruments than the gateway takes into one unit of calls."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from tests.fakes.paper import Paper
from tests.trading.sweeps import books, flatten, sweep_now
from trading.brokers.mt5 import readings
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator import instruments
from trading.brokers.mt5.gateway import server
from trading.services import accounts
from trading.states import Side, SweepState
from trading.types import MarginQuestion

NAMES = [f"EURUSD.{number:02}" for number in range(34)]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that offers many instruments."""
    named = {name: replace(instruments.EURUSD, name=name) for name in NAMES}
    monkeypatch.setattr(instruments, "BUILT_IN", instruments.BUILT_IN | named)


@pytest.fixture
def paper(offered: None, paper: Paper) -> Paper:
    for name in NAMES:
        paper.quote(name, "1.08490", "1.08500")
    return paper


def test_a_unit_is_what_the_gateway_takes():
    assert readings.UNIT_MAX == server.BATCH_MAX


def test_the_prices_of_many_are_read_with_the_account(paper, account):
    broker = accounts.broker_of(account)
    question = MarginQuestion(symbol=NAMES[-1], side=Side.BUY, quantity=Decimal("0.01"), price=None)

    shown = broker.snapshot(symbols=NAMES, margin=question)

    assert (set(shown.quotes), shown.margin_asked is not None) == (set(NAMES), True)


def test_the_prices_of_many_are_told_as_news(paper, account):
    broker = accounts.broker_of(account)
    first = broker.news(symbols=NAMES, since=now())
    for name in NAMES:
        paper.quote(name, "1.08491", "1.08501")

    second = broker.news(symbols=NAMES, since=now(), mark=first.mark)

    assert (set(first.quotes), set(second.quotes)) == (set(NAMES), set(NAMES))
    assert {each.bid for each in second.quotes.values()} == {Decimal("1.08491")}


def test_what_is_held_in_many_instruments_is_closed_by_a_sweep(paper, account):
    for name in NAMES:
        paper.control.manual_trade(paper.login, name, mt5.ORDER_TYPE_BUY, "0.01", sl="1.08")
    flatten()

    for _ in range(6):
        swept: Any = sweep_now()
        if swept.state == SweepState.PROVEN:
            break

    assert (books(paper), swept.state) == ((0, 0), SweepState.PROVEN), swept.detail
