"""Fills that nobody here asked for: booked once, shown, and never mistaken for an order's own."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.core import statements
from nexus.core.errors import Refused
from risk.models import AccountDay
from tests.fakes.paper import LOGIN
from tests.threads import together
from tests.trading.conftest import brief
from tests.trading.desk import MARKET, place
from tests.trading.test_closing import alter
from tests.trading.test_sweeps_at_once import frozen, frozen_account
from trading.brokers.mt5 import client as gateway
from trading.brokers.mt5 import wire
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import AccountFigures, BrokerPosition, CashMovement, Fill, OrderDecision, TradeLedger
from trading.services import decisions, figures, fills, watch
from trading.states import Delivery, FillKind, OrderStatus, VenueState
from trading.tasks import watch_account
from trading.types import OrderReport

__all__ = ["frozen"]


def test_keeps_the_first_equity_of_the_day(paper, account):
    watch.look(account_id=account.pk, at=now())
    paper.control.balance(LOGIN, "500")
    watch.look(account_id=account.pk, at=now())

    assert AccountDay.objects.get().equity_start == 100_000


def by_absence(order: TradeLedger, people: Any) -> None:
    fills.record(order_id=order.pk, report=OrderReport(order.client_order_id, VenueState.NEVER_SENT), at=now())


def by_operators(order: TradeLedger, people: Any) -> None:
    words = "The dealer says that it was dropped."
    decision = decisions.propose(order_id=order.pk, to=OrderStatus.CANCELED, evidence=words, by=people[0], at=now())
    decisions.decide(decision_id=decision.pk, approve=True, by=people[1], at=now())


@pytest.mark.parametrize("close", [by_absence, by_operators])
@pytest.mark.parametrize(("closed_hours", "is_looked_for"), [(23, True), (25, False)])
def test_what_was_closed_without_a_word_of_the_broker_is_looked_for_a_day_long_from_when_it_was_sent(
    execute, paper, account, people, monkeypatch, close, closed_hours, is_looked_for
):
    """However long it was unknown before: its deal is dated by then, and the usual look goes back for 26 hours."""
    paper.control.inject("timeout_before_accept")
    order = execute()
    close(order, people)
    assert TradeLedger.objects.get().delivery == Delivery.DONE
    sent_at, closed_at = now() - timedelta(hours=60), now() - timedelta(hours=closed_hours)
    TradeLedger.objects.update(sent_at=sent_at, closed_at=closed_at)
    OrderDecision.objects.update(decided_at=closed_at)
    real, since = watch.reader.read, []

    def read(broker: Any, **asked: Any) -> Any:
        since.append(asked["since"])
        return real(broker, **asked)

    monkeypatch.setattr(watch.reader, "read", read)

    watch.look(account_id=account.pk, at=now())

    assert (since[0] < sent_at) == is_looked_for


def test_a_stop_that_was_hit_closes_the_position_and_is_not_a_fill_of_the_order(execute, paper, account):
    order = execute()
    paper.quote("EURUSD", "1.07990", "1.08000")

    assert watch.look(account_id=account.pk, at=now()) == 1
    assert watch.look(account_id=account.pk, at=now()) == 0

    order.refresh_from_db()
    assert (order.status, order.filled_quantity, order.overfill_quantity) == (OrderStatus.FILLED, Decimal("0.1"), 0)
    exit_fill = Fill.objects.get(order=None)
    assert (exit_fill.kind, exit_fill.price, exit_fill.profit) == (FillKind.STOP_LOSS, Decimal("1.07990"), -51)
    position = BrokerPosition.objects.get()
    assert position.quantity == 0
    assert position.closed_at is not None
    assert not Alert.objects.exists()


def test_somebody_elses_trade_is_booked_as_external_and_told(execute, paper, account, new_events):
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")

    watch.look(account_id=account.pk, at=now())
    watch.look(account_id=account.pk, at=now())

    fill = Fill.objects.get()
    assert (fill.order, fill.kind, fill.quantity) == (None, FillKind.ORDER, Decimal("0.5"))
    assert BrokerPosition.objects.get().quantity == Decimal("-0.5")
    assert Alert.objects.get().kind == "EXTERNAL_FILL"
    assert [event.action for event in new_events() if event.action.startswith("fill.")] == ["fill.booked_external"]


@pytest.mark.parametrize("price", ["0", "-37.63"])
@pytest.mark.parametrize("is_ours", [True, False])
def test_a_deal_at_no_price_above_zero_is_booked_like_any_other(execute, paper, account, monkeypatch, price, is_ours):
    """Oil has traded below zero. One deal that our books did not take would hide everything that comes after it."""
    whole = wire._fill

    def odd(deal: Any, **words: Any) -> Any:
        fill = whole(deal, **words)
        return replace(fill, price=Decimal(price)) if fill.quantity == Decimal("0.1") else fill

    monkeypatch.setattr(wire, "_fill", odd)
    if is_ours:
        order = execute()
        assert (order.status, order.average_price) == (OrderStatus.FILLED, Decimal(price))
    else:
        paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.1", sl="1.08")
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
    paper.control.balance(LOGIN, "500")

    watch.look(account_id=account.pk, at=now())

    assert AccountFigures.objects.get().failing_since is None
    assert list(Fill.objects.order_by("venue_fill_id").values_list("quantity", "price")) == [
        (Decimal("0.1"), Decimal(price)), (Decimal("0.5"), Decimal("1.08490")),
    ]  # fmt: skip
    assert BrokerPosition.objects.get(quantity__gt=0).price_open == Decimal(price)
    assert CashMovement.objects.filter(amount=500).exists()


def test_an_external_position_counts_against_the_daily_loss(execute, paper, account, settings):
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    watch.look(account_id=account.pk, at=now())
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "2", sl="1.0800")

    order = execute()

    # From bid 1.08490 to 1.0800·0.9995 = 1.07946 on 200,000 units: 1,088 of the 1,000 are taken.
    assert (order.status, order.reason) == (OrderStatus.REJECTED, "DAILY_LOSS_EXCEEDS_LIMIT")
    loss = next(check for check in order.checks if check["name"] == "DAILY_LOSS")
    assert loss["used"] == "1108"  # 20 lost at the spread, 1,088 still open


def test_what_somebody_else_alone_trades_is_met_and_seen_with_its_stop(paper, account):
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "2", sl="1.0800")

    for _ in range(2):
        watch.look(account_id=account.pk, at=now())

    figures_now = AccountFigures.objects.get()
    assert (figures_now.open_risk, figures_now.fault) == (Decimal(1088), "")
    assert BrokerPosition.objects.get().stop_loss == Decimal("1.08")


def test_an_external_position_without_a_stop_admits_nothing(execute, paper, settings):
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.01")

    assert execute().reason == "OPEN_RISK_NOT_BOUNDED"


def test_an_order_of_ours_found_in_the_history_first_is_settled_there(execute, paper, account):
    paper.control.inject("timeout_after_accept")
    order = execute()

    watch.look(account_id=account.pk, at=now())

    assert TradeLedger.objects.get(pk=order.pk).status == OrderStatus.FILLED
    assert Fill.objects.count() == 1


def test_a_broker_that_cannot_be_asked_changes_nothing(execute, account, settings):
    execute()
    before = (TradeLedger.objects.values().get(), BrokerPosition.objects.values().get(), Fill.objects.count())
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"

    assert watch.look(account_id=account.pk, at=now()) == 0

    assert (TradeLedger.objects.values().get(), BrokerPosition.objects.values().get(), Fill.objects.count()) == before


def test_a_deposit_hides_no_loss_and_a_withdrawal_is_none(execute, paper, account, settings):
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    watch.look(account_id=account.pk, at=now())
    execute()
    paper.quote("EURUSD", "1.07900", "1.07910")  # the stop is hit: 60 are lost
    paper.control.balance(LOGIN, "1000", comment="mobile money")
    paper.control.balance(LOGIN, "-300")

    for _ in range(2):
        watch.look(account_id=account.pk, at=now())
    order = execute(brief(entry_price=None, stop_loss=Decimal("1.0740"), take_profit=None))

    loss = next(check for check in order.checks if check["name"] == "DAILY_LOSS")
    assert loss["used"] == "60"
    moved = CashMovement.objects.order_by("pk").values_list("kind", "amount", "words")
    assert list(moved) == [
        ("TRANSFER", 100_000, "Initial deposit"),
        ("TRANSFER", 1000, "mobile money"),
        ("TRANSFER", -300, ""),
    ]


def all_done() -> None:
    """Wait until no thread of this process is at an account."""
    until = time.monotonic() + 60
    while watch._busy:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_brokers_that_hang_make_nobody_elses_look_late(account, frozen, settings, monkeypatch):
    """Five accounts whose broker never answers come first, for two workers: each takes one of them 4 s."""
    settings.BROKER_DEADLINE_S = 4
    monkeypatch.setattr(watch, "SLOW_S", 1.0)
    monkeypatch.setattr(gateway, "SILENCE_S", 0)  # as for brokers that answer, and late
    hanging = [frozen_account(frozen, number=number).pk for number in range(5)]

    def work(account_id: int) -> None:
        try:
            watch_account(account_id=account_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as workers:  # somebody has to find out, once
        list(workers.map(work, hanging))
    assert watch._slow == set(hanging)
    with ThreadPoolExecutor(2) as workers:
        for _ in range(2):
            began = time.monotonic()
            jobs = [workers.submit(work, each) for each in [*hanging, account.pk]]
            jobs[-1].result()
            assert time.monotonic() - began < 3
    all_done()

    assert AccountFigures.objects.get(account=account).equity == 100_000
    seen = AccountFigures.objects.filter(account__in=hanging, failing_since__isnull=False)
    assert seen.count() == 5
    watch._slow.clear()


def test_an_account_is_looked_at_by_one_process_at_a_time(account):
    def elsewhere(_: int) -> None:
        with statements.alone(watch.LOOK_LOCK, account.pk):
            together(1, lambda _: watch_account(account_id=account.pk))

    together(1, elsewhere)
    assert not AccountFigures.objects.exists()
    assert watch._slow == {account.pk}

    watch_account(account_id=account.pk)  # in a thread by now, and quick
    all_done()
    assert AccountFigures.objects.get().equity == 100_000
    assert watch._slow == set()


@pytest.mark.parametrize("place", ["judge", "note"])
def test_an_error_of_ours_wakes_people_as_a_broker_does_that_is_gone(account, monkeypatch, place):
    """Behind the figures too: they are fresh, and what is lost stops nobody."""
    watch_account(account_id=account.pk)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the limits cannot be read")

    monkeypatch.setattr(figures, place, fail)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            watch_account(account_id=account.pk)
        assert not Alert.objects.exists()
    since = AccountFigures.objects.get().failing_since
    assert since is not None
    AccountFigures.objects.update(failing_since=since - timedelta(seconds=61))
    with pytest.raises(RuntimeError):
        watch_account(account_id=account.pk)

    alert = Alert.objects.get()
    assert (alert.kind, alert.severity) == ("ACCOUNT_NOT_WATCHED", "CRITICAL")
    assert alert.text.endswith("cannot be read. RuntimeError: the limits cannot be read")
    monkeypatch.undo()
    watch_account(account_id=account.pk)
    alert.refresh_from_db()
    assert alert.closed_at is not None
    assert AccountFigures.objects.get().failing_since is None


def test_what_is_held_is_valued_by_the_terms_that_its_broker_has_now(client, paper, account):
    place(client, MARKET)
    watch.look(account_id=account.pk, at=now())
    before = AccountFigures.objects.get().open_risk
    alter(paper, contract_size=200_000)  # a lot is twice as much from now on, and nobody orders any

    watch.look(account_id=account.pk, at=now())  # reads the new terms when it is done
    watch.look(account_id=account.pk, at=now())

    assert (before, AccountFigures.objects.get().open_risk) == (Decimal("16.32"), Decimal("32.64"))


def test_terms_that_cannot_be_read_keep_nobody_from_looking(client, paper, account, monkeypatch):
    place(client, MARKET)
    alter(paper)

    def refuse(*_: object, **__: object) -> None:
        raise Refused("There is no such symbol.")

    monkeypatch.setattr(Mt5Broker, "instrument", refuse)
    watch.look(account_id=account.pk, at=now())

    assert AccountFigures.objects.get().open_risk == Decimal("16.32")
