"""A stop says what was on its way, also when it could not wait for whoever was sending."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.utils.timezone import now

from nexus.alerts.models import Alert
from risk.models import TradingControl
from risk.services import control
from risk.states import ControlScope, StopLevel, Sweep
from tests.stops import stop
from tests.trading.conftest import TESTER, brief
from trading.models import SweepRun, TradeLedger
from trading.services import coverage, emergency, facts
from trading.states import Delivery


@contextmanager
def submitting(act: Callable[[], None] = lambda: None) -> Iterator[threading.Event]:
    """Be a submitter in another thread that holds the stop lock until it is told to commit."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            control.lock_shared()
            act()
            held.set()
            over.wait(10)
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        yield over
    finally:
        over.set()
        thread.join()


@pytest.fixture
def lost(execute, paper) -> Any:
    """An order of which nobody knows whether it arrived."""
    paper.control.inject("timeout_after_accept")
    return execute()


def test_what_may_still_reach_the_broker_is_in_the_answer_the_row_and_the_audit(lost, account, new_events):
    stopped = stop()

    assert stopped.is_listed
    (listed,) = stopped.switch.in_flight
    assert (listed["order"], listed["delivery"]) == (str(lost.public_id), "UNKNOWN")
    row = TradingControl.objects.get(scope="SYSTEM")
    assert (row.in_flight, row.followed_version) == ([listed], row.version)
    (event,) = (each for each in new_events() if each.action == "control.in_flight_listed")
    detail = json.loads(event.canonical)["detail"]
    assert (detail["has_lock"], detail["count"], detail["in_flight"]) == (True, 1, [listed])


def test_a_stop_lists_only_what_it_covers(lost, account, trader):
    def listed(scope: ControlScope, key: str) -> int:
        return len(stop(scope=scope, key=key).switch.in_flight)

    assert listed(ControlScope.ACCOUNT, str(account.pk)) == listed(ControlScope.USER, str(trader.pk)) == 1
    assert listed(ControlScope.BROKER, "mt5") == listed(ControlScope.INSTRUMENT, "EURUSD") == 1
    assert listed(ControlScope.ACCOUNT, str(account.pk + 1)) == listed(ControlScope.INSTRUMENT, "GBPUSD") == 0
    assert listed(ControlScope.BROKER, "other") == listed(ControlScope.USER, str(trader.pk + 1)) == 0


def test_without_the_lock_it_looks_again_once_the_submitters_are_gone(lost, monkeypatch):
    """A submitter marks its order while the stop is written without the lock, and commits after it."""
    monkeypatch.setattr(control, "LOCK_WAIT_MS", 30)
    TradeLedger.objects.update(delivery=Delivery.QUEUED)  # as if it had not been marked yet
    looks = []
    real = control.submitters

    def submitters() -> frozenset[str]:
        looks.append(coverage.in_flight(ControlScope.SYSTEM, "")[0]["delivery"])
        if len(looks) == 3:
            over.set()
        return real()

    monkeypatch.setattr(control, "submitters", submitters)
    with submitting(lambda: void(TradeLedger.objects.update(delivery=Delivery.UNKNOWN))) as over:
        stopped = stop()

    assert not stopped.switch.has_lock
    assert stopped.is_listed
    assert looks[:3] == ["QUEUED"] * 3  # while the submitter was there, its mark could not be seen
    assert [each["delivery"] for each in stopped.switch.in_flight] == ["UNKNOWN"]


def void(_: object) -> None:
    """Forget an answer."""


def test_a_submitter_that_stays_leaves_the_list_to_the_worker(floor, monkeypatch):
    monkeypatch.setattr(control, "LOCK_WAIT_MS", 30)
    monkeypatch.setattr(emergency, "SUBMITTERS_WAIT_S", 0.05)
    with submitting():
        stopped = stop()
        assert (stopped.is_listed, stopped.switch.level) == (False, StopLevel.HALTED)
        assert not emergency.follow(stopped.switch, at=now())

    emergency.follow_due(at=now())

    row = TradingControl.objects.get(scope="SYSTEM")
    assert (row.followed_version, row.in_flight) == (row.version, [])


def test_a_database_that_fails_after_the_stop_is_no_error_and_the_worker_goes_on(account, monkeypatch):
    def fail(*_: object) -> None:
        raise OperationalError("the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(coverage, "in_flight", fail)
        stopped = stop(sweep=Sweep.CANCEL)

    assert not stopped.is_listed
    assert TradingControl.objects.get(scope="SYSTEM").level == StopLevel.HALTED
    assert not SweepRun.objects.exists()
    assert emergency.follow_due(at=now()) == 1
    assert emergency.follow_due(at=now()) == 0
    assert SweepRun.objects.get().account == account


def test_a_stop_that_cannot_be_followed_holds_up_no_other(account, trader, monkeypatch):
    for scope, key in ((ControlScope.USER, str(trader.pk)), (ControlScope.ACCOUNT, str(account.pk))):
        control.set_level(
            scope=scope, key=key, level=StopLevel.HALTED, sweep=Sweep.FLATTEN, reason="A test.", actor=TESTER, at=now()
        )
    listed = coverage.in_flight

    def in_flight(scope: ControlScope, key: str) -> Any:
        if scope is ControlScope.USER:  # the older of the two
            raise RuntimeError("it cannot be listed")
        return listed(scope, key)

    monkeypatch.setattr(coverage, "in_flight", in_flight)

    assert emergency.follow_due(at=now()) == 1

    assert [sweep.scope for sweep in SweepRun.objects.all()] == ["ACCOUNT"]
    assert [row.scope for row in control.unfollowed()] == ["USER"]
    monkeypatch.undo()
    assert emergency.follow_due(at=now()) == 1


def test_nothing_is_sent_after_a_stop_whatever_it_covers(execute, account, paper):
    for scope, key in ((ControlScope.INSTRUMENT, "EURUSD"), (ControlScope.USER, str(account.user_id))):
        stop(scope=scope, key=key)
        assert execute(brief(), key=uuid.uuid4().hex).reason == "TRADING_HALTED"

    assert paper.deals() == []


def test_stops_that_nobody_follows_wake_people_until_somebody_does(account, monkeypatch):
    control.set_level(
        scope=ControlScope.SYSTEM, key="", level=StopLevel.HALTED, reason="A test.", actor=TESTER, at=now()
    )
    emergency.alarm(at=now())
    assert not Alert.objects.filter(kind="STOP_NOT_FOLLOWED").exists()
    TradingControl.objects.update(changed_at=facts.database_clock() - 2 * emergency.FOLLOWED_AFTER)

    emergency.alarm(at=now())

    alert = Alert.objects.get(kind="STOP_NOT_FOLLOWED")
    assert "1 stops and 0 sweeps" in alert.text
    emergency.follow_due(at=now())
    emergency.alarm(at=now())
    alert.refresh_from_db()
    assert alert.closed_at is not None
