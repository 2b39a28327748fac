"""A proven sweep is begun again when something stands there anew; what shows late is not taken for gone."""

import time

import pytest
from django.utils.timezone import now

from risk.states import ControlScope, StopLevel, Sweep
from tests import stops
from tests.fakes.paper import LOGIN
from tests.stops import stop
from tests.trading.sweeps import books, flatten, sweep_now
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BrokerPosition, Fill, SweepRun, TradingAccount
from trading.services import accounts, facts, sweeps, watch
from trading.states import OrderStatus, SweepState


def look(account: TradingAccount) -> None:
    watch.look(account_id=account.pk, at=now())


@pytest.mark.parametrize(("kind", "again"), [(Sweep.FLATTEN, True), (Sweep.CANCEL, False)])
def test_a_position_that_somebody_opens_after_the_proof_is_swept_as_well(busy, paper, new_events, kind, again):
    stop(sweep=kind)
    first = sweep_now()
    assert first.state == SweepState.PROVEN
    look(busy)
    assert SweepRun.objects.count() == 1  # nothing that the sweep is about stands there
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3", sl="1.08")

    look(busy)
    look(busy)

    assert SweepRun.objects.exclude(pk=first.pk).count() == again
    if again:
        assert sweep_now(SweepRun.objects.latest("pk")).state == SweepState.PROVEN
        assert books(paper) == (0, 0)
        assert [event.action for event in new_events()].count("sweep.started") == 2


def test_a_look_from_before_the_proof_begins_no_sweep(busy, paper):
    snapshot, read_at = accounts.broker_of(busy).snapshot(symbols=[]), facts.database_clock()
    flatten()
    assert sweep_now().state == SweepState.PROVEN

    sweeps.renew(busy, snapshot, read_at=read_at, at=now())

    assert SweepRun.objects.count() == 1


def test_what_was_eased_is_not_swept_again(busy, paper):
    flatten()
    sweep_now()
    stops.put(StopLevel.ACTIVE)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3", sl="1.08")

    look(busy)

    assert SweepRun.objects.count() == 1


def test_an_account_that_is_taken_up_under_a_stop_is_swept(paper, account):
    TradingAccount.objects.update(is_active=False)
    flatten()
    assert not SweepRun.objects.exists()
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3", sl="1.08")
    TradingAccount.objects.update(is_active=True)

    look(account)

    assert SweepRun.objects.get().state == SweepState.RUNNING


def test_an_account_that_was_put_aside_is_swept_while_our_books_hold_something(busy, paper):
    TradingAccount.objects.update(is_active=False)

    flatten()

    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_an_account_that_is_named_is_swept_whatever_is_known_of_it(paper, account):
    TradingAccount.objects.update(is_active=False)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3", sl="1.08")

    flatten(scope=ControlScope.ACCOUNT, key=str(account.pk))

    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_a_position_that_the_broker_shows_late_is_not_taken_for_none(execute, paper, account):
    paper.control.inject("positions_delay", seconds=5, times=None)
    assert execute().status == OrderStatus.FILLED

    flatten()
    swept = sweep_now()

    assert (swept.state, books(paper)) == (SweepState.RUNNING, (0, 1))
    assert swept.detail.startswith("In our books, and not shown by the broker: position")
    until = time.monotonic() + 120
    while (swept := sweep_now()).state == SweepState.RUNNING:  # until it shows: then it is closed, and gone
        assert time.monotonic() < until, swept.detail
        paper.quote("EURUSD", "1.08490", "1.08500")  # a machine under load may take longer than a price is fresh
        time.sleep(0.2)
    assert books(paper) == (0, 0)


def test_a_position_that_somebody_else_closed_meanwhile_is_looked_for_by_its_deal(execute, paper, account):
    order = execute()
    paper.control.manual_close(LOGIN, int(Fill.objects.get(order=order).venue_position_id))
    flatten()

    assert sweep_now().state == SweepState.PROVEN
    assert BrokerPosition.objects.get().closed_at is not None
