"""What hangs in one part of a sweep takes no time from the others: cancels go out first, closes have their turn."""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from nexus.core.errors import OutcomeUnknown, Unavailable, Unreachable
from tests.fakes.paper import LOGIN
from tests.trading.conftest import brief
from tests.trading.desk import LIMIT, place
from tests.trading.sweeps import books, flatten, sweep_now
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import SweepRun, TradeLedger
from trading.services import instruments, sweeping, watch
from trading.states import CancelState, Delivery, OrderStatus, SweepState

BRIEF_S = 0.05


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each part of a round less time than one answer takes that hangs."""
    monkeypatch.setattr(sweeping, "PART_S_MAX", BRIEF_S)


def hang(*_: Any, **__: Any) -> Any:
    time.sleep(2 * BRIEF_S)
    raise Unreachable("the history is loading")


def rounds(count: int) -> SweepRun:
    for _ in range(count):
        swept = sweep_now()
    return swept


def test_searches_that_hang_keep_nothing_open(client, execute, account, paper, monkeypatch, hurried):
    """An order that nobody finds, at a terminal that lists and trades, and whose history does not answer."""
    place(client, LIMIT)
    execute(brief(quantity=Decimal("0.02")))
    paper.control.inject("timeout_before_accept")
    lost = execute(brief(quantity=Decimal("0.01")))
    assert lost.delivery == Delivery.UNKNOWN, lost.reason
    paper.control.manual_order(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY_LIMIT, "0.2", "1.05")
    assert books(paper) == (2, 1)
    flatten()
    monkeypatch.setattr(Mt5Broker, "order_report", hang)

    swept = rounds(3)

    assert (books(paper), swept.state) == ((0, 0), SweepState.RUNNING)
    assert "UNKNOWN" in str(swept.left["on_the_way"])


def test_every_cancel_goes_out_before_anybody_asks_what_became_of_one(client, paper, account, monkeypatch):
    for _ in range(3):
        place(client, LIMIT)
    flatten()
    told: list[str] = []

    def telling(name: str) -> Callable[..., Any]:
        real = getattr(Mt5Broker, name)

        def call(*what: Any, **named: Any) -> Any:
            told.append(name)
            return real(*what, **named)

        return call

    for name in ("cancel", "order_report"):
        monkeypatch.setattr(Mt5Broker, name, telling(name))

    assert sweep_now().state == SweepState.PROVEN
    assert told == ["cancel"] * 3 + ["order_report"] * 3
    assert set(TradeLedger.objects.values_list("status", "cancel")) == {(OrderStatus.CANCELED, CancelState.DONE)}


def test_cancels_that_hang_keep_no_other_order_at_work(paper, account, monkeypatch, hurried):
    """The rounds begin elsewhere each time: one that hangs is not always before the others."""
    for _ in range(4):
        paper.control.manual_order(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY_LIMIT, "0.2", "1.05")
    first = paper.truth()["working"][0]["ticket"]
    flatten()
    real = Mt5Broker.cancel

    def cancel(self: Any, *, cancel_id: str, venue_order_id: str) -> None:
        if venue_order_id == str(first):
            time.sleep(2 * BRIEF_S)
            raise OutcomeUnknown("no answer")
        time.sleep(BRIEF_S)
        real(self, cancel_id=cancel_id, venue_order_id=venue_order_id)

    monkeypatch.setattr(Mt5Broker, "cancel", cancel)

    swept = rounds(6)

    assert [each["ticket"] for each in paper.truth()["working"]] == [first]
    assert swept.state == SweepState.RUNNING


def test_a_look_that_fails_for_a_position_that_is_not_shown_keeps_no_other_open(execute, paper, account, monkeypatch):
    """An error of ours about what our books hold and the broker does not list."""
    execute(brief())
    flatten()

    def fail(**_: Any) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(watch, "look", fail)
        patch.setattr(sweeping, "_missing", lambda *_: ["position 1 of EURUSD"])
        swept = sweep_now()

    assert books(paper) == (0, 0), swept.detail
    assert (swept.state, "failed: ZeroDivisionError: a bug" in swept.detail) == (SweepState.RUNNING, True)
    assert sweep_now().state == SweepState.PROVEN


def test_a_cancel_that_never_reaches_the_broker_keeps_no_position_open(execute, paper, account, monkeypatch):
    """Somebody else's order, whose cancel alone is not taken."""
    execute(brief())
    paper.control.manual_order(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY_LIMIT, "0.2", "1.05")
    flatten()

    def fail(*_: Any, **__: Any) -> None:
        raise Unreachable("not now")

    with monkeypatch.context() as patch:
        patch.setattr(Mt5Broker, "cancel", fail)
        swept = sweep_now()

    assert books(paper) == (1, 0), swept.detail
    assert (swept.state, "is not canceled: not now" in swept.detail) == (SweepState.RUNNING, True)
    assert sweep_now().state == SweepState.PROVEN


def test_terms_that_hang_keep_no_other_instrument_open(execute, paper, account, monkeypatch, hurried):
    execute(brief())
    paper.quote("USDJPY", "150.000", "150.010")
    paper.control.manual_trade(LOGIN, "USDJPY", mt5.ORDER_TYPE_BUY, "0.1", sl="149")
    real = instruments.get

    def get(*, symbol: str, **where: Any) -> Any:
        if symbol == "USDJPY":
            time.sleep(2 * BRIEF_S)
            raise Unavailable("not now")
        return real(symbol=symbol, **where)

    monkeypatch.setattr(instruments, "get", get)
    flatten()

    swept = sweep_now()

    assert [held["symbol"] for held in paper.truth()["positions"]] == ["USDJPY"], swept.detail
