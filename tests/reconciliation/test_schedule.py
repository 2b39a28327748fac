"""Whose turn it is, and what a loop that died leaves behind."""

import re
import uuid
from datetime import timedelta
from typing import Any

from django.db import OperationalError
from django.utils.timezone import now

from nexus.alerts.models import Alert
from reconciliation import tasks
from reconciliation.models import Cycle, ReconciliationLog
from reconciliation.services import concluding, schedule
from risk.states import StopLevel
from tests.reconciliation.test_bad_day import found, stop_of
from trading.models import TradingAccount

MINUTE = timedelta(seconds=60)


def more(account: TradingAccount, count: int) -> None:
    """Add accounts beside this one."""
    for number in range(count):
        row = TradingAccount.objects.get(pk=account.pk)
        row.pk, row.public_id, row.venue_account = None, uuid.uuid4(), f"more-{number}"
        row.save()


def test_a_new_account_is_due_at_once_and_then_once_an_interval(account):
    at = now()

    assert schedule.hand_out(at=at) == [account.pk]
    assert schedule.hand_out(at=at) == []
    first = Cycle.objects.get().due_at
    assert at + MINUTE / 2 < first <= at + MINUTE * 1.5
    Cycle.objects.update(ran_at=first)
    assert schedule.hand_out(at=first - timedelta(seconds=1)) == []
    assert schedule.hand_out(at=first) == [account.pk]
    assert Cycle.objects.get().due_at == first + MINUTE


def test_accounts_are_spread_over_the_interval_and_keep_their_second(account):
    at = now()
    slots = [schedule.next_slot(number, at=at) for number in range(1, 121)]

    assert all(at + MINUTE / 2 < slot <= at + MINUTE * 1.5 for slot in slots)
    assert all(schedule.next_slot(n + 1, at=slot) == slot + MINUTE for n, slot in enumerate(slots))
    a_second = {slot.replace(microsecond=0) for slot in slots}
    assert len(a_second) >= 60


def test_what_is_handed_out_late_is_given_time_to_end(account):
    slot = schedule.next_slot(account.pk, at=now())

    assert schedule.next_slot(account.pk, at=slot + timedelta(seconds=1)) == slot + MINUTE
    assert schedule.next_slot(account.pk, at=slot + timedelta(seconds=45)) == slot + 2 * MINUTE


def test_an_account_that_is_put_aside_has_no_turn(account):
    TradingAccount.objects.update(is_active=False)

    assert schedule.hand_out(at=now()) == []


def test_a_slot_that_nobody_ran_is_a_failure_and_the_third_stops(account, reconcile):
    at = now()
    stops = []
    for _ in range(5):
        schedule.hand_out(at=at)  # handed out, and whoever had it died
        stops.append(stop_of(account))
        at = Cycle.objects.get().due_at

    assert stops == [None, None, None, StopLevel.REDUCE_ONLY, StopLevel.REDUCE_ONLY]
    assert [row[2] for row in found()] == ["NONE", "NONE", "TRADING_STOPPED", "TRADING_STOPPED"]
    assert ReconciliationLog.objects.filter(status="FAILED").latest("pk").reason == (
        "The run before did not end in its slot."
    )


def test_a_slot_that_ended_is_none(account, reconcile):
    at = now()
    for _ in range(4):
        schedule.hand_out(at=at)
        reconcile(at=at + timedelta(seconds=1))
        at = Cycle.objects.get().due_at

    assert Cycle.objects.get().failures == 0
    assert found() == []


def test_a_slot_that_found_another_run_under_way_is_none(account, reconcile, settings):
    """Somebody asked for a run just before the slot: its own job finds the account taken, and the run ends after it."""
    schedule.hand_out(at=now())
    reconcile(at=now() + timedelta(seconds=1))
    for gateway in (settings.MT5_GATEWAY_URL, "http://127.0.0.1:1", settings.MT5_GATEWAY_URL):
        settings.MT5_GATEWAY_URL = gateway
        at = Cycle.objects.get().due_at
        before = Cycle.objects.get().failures
        schedule.hand_out(at=at)
        assert Cycle.objects.get().failures == before
        reconcile(at=at - timedelta(seconds=1))

    assert Cycle.objects.get().failures == 0
    assert [row[0] for row in found()] == ["RUN"]  # the one that failed by itself


def test_an_error_about_one_account_costs_no_other_its_slot(account, reconcile, monkeypatch):
    more(account, 2)
    at = now()
    assert len(schedule.hand_out(at=at)) == 3
    at = max(Cycle.objects.values_list("due_at", flat=True))
    missed, counted = [], concluding.miss

    def miss(run: Any, **named: Any) -> Any:
        missed.append(run.account.pk)
        if run.account == account:
            raise OperationalError("canceling statement due to lock timeout")
        return counted(run, **named)

    monkeypatch.setattr(concluding, "miss", miss)

    assert sorted(schedule.hand_out(at=at)) == sorted(missed) == sorted(Cycle.objects.values_list("pk", flat=True))
    assert sorted(Cycle.objects.values_list("failures", flat=True)) == [0, 1, 1]


def test_people_who_cannot_be_told_cost_nobody_a_slot(account, monkeypatch):
    """The slots are taken by then: what is not handed out now counts as missed."""

    def fail(**_: Any) -> None:
        raise OperationalError("canceling statement due to lock timeout")

    monkeypatch.setattr(schedule, "_tell_stale", fail)

    assert schedule.hand_out(at=now()) == [account.pk]


def test_people_are_told_of_an_account_that_nobody_reconciles_until_somebody_does(account, reconcile):
    late = now() + timedelta(seconds=181)
    TradingAccount.objects.update(created_at=now() - timedelta(hours=1))
    Cycle.objects.update(due_at=late + MINUTE)

    schedule.hand_out(at=late - timedelta(seconds=10))
    assert not Alert.objects.exists()
    schedule.hand_out(at=late)
    alert = Alert.objects.get()
    assert (alert.kind, alert.severity, alert.closed_at) == ("RECONCILIATION_STALE", "CRITICAL", None)
    assert re.search(r"not reconciled since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\. Nothing new", alert.text)
    reconcile(at=late)

    assert Alert.objects.get().closed_at is not None


def test_the_clock_hands_out_jobs_and_a_job_is_a_run(account, paper, monkeypatch):
    more(account, 2)
    sent = []
    monkeypatch.setattr(tasks, "enqueue", lambda name, **words: sent.append((name, words["account_id"])))

    tasks.reconcile_accounts()
    tasks.reconcile_account(account_id=account.pk, trigger="LINK")

    ids = TradingAccount.objects.order_by("pk").values_list("pk", flat=True)
    assert sent == [("reconciliation.reconcile_account", each) for each in ids]
    row = ReconciliationLog.objects.get(account=account)
    assert (row.trigger, row.status, row.made_by) == ("LINK", "CLEAN", "reconciliation")
