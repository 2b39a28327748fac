"""The stop switch: one person stops, nobody eases by stopping, and what was asked is told."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from nexus.alerts.models import Alert
from nexus.audit.types import Actor
from nexus.core.errors import Invalid
from risk.models import TradingControl
from risk.services import control
from risk.states import ControlScope, StopLevel, Sweep
from tests import stops
from tests.threads import together

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ANNA, BEN = Actor.user("anna"), Actor.user("ben")


@pytest.fixture(autouse=True)
def _installed(transactional_db: None) -> None:
    stops.put(StopLevel.HALTED)  # a flush has taken the row away
    TradingControl.objects.all().delete()
    Alert.objects.all().delete()


def halt(**changes: Any) -> TradingControl:
    usual: dict[str, Any] = {
        "scope": ControlScope.ACCOUNT, "key": "7", "level": StopLevel.HALTED, "reason": "A test.", "actor": ANNA,
        "at": NOON,
    }  # fmt: skip
    return control.set_level(**(usual | changes))


def test_a_stop_is_latched_and_keeps_its_first_setter_and_reason():
    halt(sweep=Sweep.CANCEL)

    halt(level=StopLevel.REDUCE_ONLY, reason="Less.", actor=BEN, at=NOON + timedelta(hours=1))
    again = halt(reason="The same.", actor=BEN, at=NOON + timedelta(hours=1))

    again.refresh_from_db()
    assert (again.level, again.sweep) == (StopLevel.HALTED, Sweep.CANCEL)
    assert (again.set_by, again.reason, again.set_at) == ("anna", "A test.", NOON)
    assert again.version == 3


def test_a_stricter_stop_takes_over_with_its_setter(new_events):
    halt(level=StopLevel.REDUCE_ONLY)

    row = halt(actor=BEN, reason="Worse.", sweep=Sweep.FLATTEN)

    assert (row.level, row.sweep, row.set_by, row.reason) == (StopLevel.HALTED, Sweep.FLATTEN, "ben", "Worse.")
    told = [json.loads(event.canonical)["detail"] for event in new_events() if event.action == "control.level_set"]
    assert [(each["before"], each["after"], each["has_lock"]) for each in told[-2:]] == [
        ("ACTIVE", "REDUCE_ONLY", True),
        ("REDUCE_ONLY", "HALTED", True),
    ]


def test_a_process_that_repeats_itself_changes_nothing(new_events):
    """Whatever fires every few seconds neither fills the black box nor makes a proposal to ease stale."""
    row = halt(actor=Actor.system("trigger:x"))

    again = halt(actor=Actor.system("trigger:y"), level=StopLevel.REDUCE_ONLY)

    assert (again.version, again.set_by, again.reason) == (row.version, "trigger:x", "A test.")
    assert [event.action for event in new_events()].count("control.level_set") == 1


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"level": StopLevel.ACTIVE}, "/level"),
        ({"level": StopLevel.REDUCE_ONLY, "sweep": Sweep.CANCEL}, "/sweep"),
        ({"key": ""}, "/key"),
        ({"scope": ControlScope.SYSTEM}, "/key"),
        ({"reason": " "}, "/reason"),
    ],
)
def test_refuses_a_stop_without_sense(changes, pointer):
    with pytest.raises(Invalid) as refused:
        halt(**changes)

    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert not TradingControl.objects.exists()


def test_the_database_itself_sweeps_only_what_is_halted():
    row = halt(sweep=Sweep.CANCEL)

    with pytest.raises(IntegrityError, match="trading_control_sweeps_halted"), transaction.atomic():
        TradingControl.objects.filter(pk=row.pk).update(level=StopLevel.REDUCE_ONLY)


def test_a_stop_wakes_people_until_it_is_eased():
    halt()
    alert = Alert.objects.get()
    assert (alert.kind, alert.severity, alert.closed_at) == ("TRADING_STOPPED", "CRITICAL", None)

    stops.put(StopLevel.ACTIVE, scope=ControlScope.ACCOUNT, key="7")

    alert.refresh_from_db()
    assert alert.closed_at is not None


def test_a_stop_that_gets_stricter_wakes_people_anew():
    """Whoever was told that closing is still allowed must hear that nothing is any more."""
    halt(level=StopLevel.REDUCE_ONLY)
    halt(actor=BEN, reason="Worse.", sweep=Sweep.FLATTEN, at=NOON + timedelta(minutes=1))
    halt(actor=BEN, reason="Once more.", sweep=Sweep.FLATTEN, at=NOON + timedelta(minutes=2))

    first, second = Alert.objects.order_by("pk")

    assert (first.closed_at, second.closed_at) == (NOON + timedelta(minutes=1), None)
    assert second.text == "Trading is HALTED, and FLATTEN is done, for ACCOUNT 7. Once more."
    assert second.seen_count == 2


def test_a_stop_asks_the_database_three_times():
    """Amid a storm each round trip waits for a processor: the switch, the alert, and all else with the commit."""
    halt(level=StopLevel.REDUCE_ONLY)

    with CaptureQueriesContext(connection) as seen:
        halt(reason="Worse.", at=NOON + timedelta(minutes=1))

    assert len([each for each in seen if each["sql"] not in ("BEGIN", "COMMIT")]) == 3
    assert Alert.objects.filter(closed_at=None).count() == 1


def test_a_stop_that_was_eased_and_is_set_again_is_told_at_once():
    """A key that people have just been told of has to wait (`ALERT_THROTTLE_S`); a new stop is another key."""
    halt()
    stops.put(StopLevel.ACTIVE, scope=ControlScope.ACCOUNT, key="7")
    halt(at=NOON + timedelta(minutes=1))

    first, second = Alert.objects.order_by("pk")

    assert first.closed_at is not None
    assert second.closed_at is None
    assert first.dedupe_key != second.dedupe_key


def test_a_stop_that_was_set_anew_is_not_eased():
    row = halt()
    halt(reason="Again.")

    with transaction.atomic():
        eased = control.ease(
            control_id=row.pk, version=row.version, level=StopLevel.ACTIVE, reason="Over.", actor=BEN, at=NOON
        )

    assert eased is None
    assert TradingControl.objects.get().level == StopLevel.HALTED


def test_eight_first_stops_at_once_are_one_row_at_the_strictest_level():
    levels = [StopLevel.REDUCE_ONLY, StopLevel.HALTED] * 4

    together(8, lambda number: halt(level=levels[number]).pk)

    row = TradingControl.objects.get()
    assert (row.level, row.version) == (StopLevel.HALTED, 8)


def test_submitters_are_those_who_hold_the_lock_shared():
    assert control.submitters() == frozenset()

    with transaction.atomic():
        control.lock_shared()
        held = control.submitters()
        assert len(held) == 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(1)")  # another lock is none of ours
        assert control.submitters() == held

    assert control.submitters() == frozenset()
