"""The button: stop what a scope covers, list what was on its way, and have swept what stands.

The stop is committed before anything else is done, and needs nothing but the database. What follows is picked up from
its row by whoever comes by: this process, the worker of stops, or `manage.py emergency_stop`.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit.types import Actor
from nexus.core import metrics
from risk.services import control
from risk.services.control import Switch
from risk.states import ControlScope, StopLevel, Sweep
from trading.services import arming, coverage, facts, sweeps

STOP = Actor.system("stop")

log = structlog.get_logger(__name__)

POLL_S = 0.005
SUBMITTERS_WAIT_S = 3.0  # their transactions are shorter; what is left then is looked at again by the worker
FOLLOWED_AFTER = timedelta(seconds=30)  # a stop that nobody has followed for this long has no worker


@dataclass(frozen=True, slots=True)
class Stopped:
    """A stop that stands, and whether what was on its way is listed in it by now."""

    switch: Switch
    is_listed: bool


def stop(
    *, scope: ControlScope, key: str, level: StopLevel, sweep: Sweep, reason: str, actor: Actor, at: datetime
) -> Stopped:
    """Stop trading in a scope, list what may still reach the broker, and begin the sweep if one is asked for.

    Safe to repeat. Once the stop has committed, nothing that fails afterwards is an error to the caller: it is said,
    and done again. Raises: Invalid.
    """
    assert not connection.in_atomic_block
    with metrics.STOP_COMMIT.time():
        switch = control.set_level(scope=scope, key=key, level=level, sweep=sweep, reason=reason, actor=actor, at=at)
    try:
        return Stopped(switch, is_listed=follow(switch, at=at))
    except (OperationalError, InterfaceError) as exc:
        log.error("trading.stop.not_followed", place=switch.place, error=str(exc))  # noqa: TRY400 - the stop stands
        return Stopped(switch, is_listed=False)


def follow_due(*, at: datetime) -> int:
    """Follow every stop that nobody has followed yet, and return how many were. One that fails holds up no other."""
    return sum(_follow_or_leave(switch, at=at) for switch in control.unfollowed())


def _follow_or_leave(switch: Switch, *, at: datetime) -> bool:
    try:
        return follow(switch, at=at)
    except Exception:  # `alarm` wakes people while it lasts
        connection.close_if_unusable_or_obsolete()
        log.exception("trading.stop.not_followed", place=switch.place)
        return False


def follow(switch: Switch, *, at: datetime) -> bool:
    """List what may still reach the broker after a stop, begin its sweep, and disarm what it covers. False when it has
    to be done again.

    A stop that had the lock came after every submitter. One that had not looks once those of its moment are gone:
    whoever came later has read the stop.
    """
    if not switch.has_lock and not _submitters_gone():
        log.error("trading.stop.submitters_stay", place=switch.place)
        return False
    scope = ControlScope(switch.scope)
    with transaction.atomic(durable=True):
        # Accounts before the switch: who arms holds an account and waits for a stop, which waits for its switch.
        arming.disarm_under(scope, switch.key, reason=f"Stopped: {switch.reason}", actor=STOP, at=at)
        listed = coverage.in_flight(scope, switch.key)
        if control.note_in_flight(switch, in_flight=listed, at=at):
            sweeps.begin(switch, at=at)
    return True


def alarm(*, at: datetime) -> None:
    """Wake people when stops are not followed: the worker of stops is gone, and nothing is swept."""
    clock = facts.database_clock()
    late = [row for row in control.unfollowed() if row.changed_at and clock - row.changed_at > FOLLOWED_AFTER]
    overdue = sweeps.overdue(clock - FOLLOWED_AFTER)
    with transaction.atomic(durable=True):
        if not late and not overdue:
            alerts.close_alert(dedupe_key="stop-worker", at=at)
            return
        alerts.open_alert(
            severity=Severity.CRITICAL,
            kind="STOP_NOT_FOLLOWED",
            dedupe_key="stop-worker",
            text=f"{len(late)} stops and {overdue} sweeps wait for their worker (queue `stop`). Start it, or run"
            " `manage.py emergency_stop sweep`.",
            at=at,
        )


def _submitters_gone() -> bool:
    """Wait until everybody who is marking an order now has committed or given up. False when some stay too long."""
    left = control.submitters()
    deadline = time.monotonic() + SUBMITTERS_WAIT_S
    while left:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
        left &= control.submitters()
    return True
