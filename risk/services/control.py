"""The stop switch. Whoever admits or sends holds the stop lock shared; whoever stops takes it exclusive.

It is latched: `set_level` only ever makes it stricter, and `ease` is what two people have decided (`releases`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

import structlog
from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import F, Func

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit.services import trail
from nexus.audit.types import Actor, ActorType, Target
from nexus.core import statements
from nexus.core.errors import FieldError, Invalid
from nexus.core.statements import Part, Row
from risk.models import TradingControl
from risk.states import ControlScope, StopLevel, Sweep

Switch = TradingControl  # for those above, who hold a row and never the table

# One number for the whole installation: an advisory lock lives in the database, not in a table.
STOP_LOCK = 0x4E45585553
LOCK_WAIT_MS = 500
ALERT = "TRADING_STOPPED"

# True after waiting for the stop lock, or a failure when a stop covers the order: what a statement that marks one asks.
PASSED: LiteralString = (
    "risk_pass_stop(%(stop_lock)s, %(stop_scopes)s::text[], %(stop_keys)s::text[], %(stop_most)s::smallint)"
)
STOPPED = "NX001"  # the database's code of that failure
STATE = Part(
    """
    SELECT array_agg(scope), array_agg(key), array_agg(level), array_agg(reason) FROM trading_control
    JOIN unnest(%(stop_scopes)s::text[], %(stop_keys)s::text[]) AS wanted (scope, key) USING (scope, key)
    """,
    width=4,
)
SUBMITTERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'advisory' AND classid::bigint = %s AND objid::bigint = %s AND objsubid = 1 AND mode = 'ShareLock'
      AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
LOCK_ROW = "SELECT {columns} FROM trading_control WHERE scope = %s AND key = %s FOR NO KEY UPDATE"
# The lock is taken before the row is written, and `has_lock` stands in the event as it does in the row.
PUT: LiteralString = """
WITH taken AS MATERIALIZED (
    SELECT has_lock, at FROM risk_take_stop_lock(%(lock)s, %(wait)s::integer)
), put AS (
    UPDATE trading_control
    SET level = %(level)s, sweep = %(sweep)s, reason = %(reason)s, set_by = %(set_by)s, set_at = %(set_at)s,
        version = %(version)s, in_flight = '[]', listed_at = NULL, has_lock = taken.has_lock, changed_at = taken.at
    FROM taken WHERE id = %(id)s
    RETURNING trading_control.has_lock, changed_at
)
SELECT has_lock, changed_at, {append} FROM put
""".replace("{append}", trail.append_with("jsonb_build_object('has_lock', put.has_lock)"))  # nosec B608
CLOCK = Func(function="clock_timestamp", output_field=models.DateTimeField())
REASON_LENGTH_MAX = 500
LISTED_AN_EVENT = 100  # an audit event has an end; a long list goes into several

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StopState:
    """The strictest level that covers an order, and where it comes from."""

    level: StopLevel
    scope: str
    reason: str


def lock_shared() -> None:
    """Hold off every stop until this transaction ends, so that what it admits is known to the stop.

    Always the last lock of its transaction: whoever waited for another one while holding it would make the stop wait.
    Never read the stop state in the same statement: its snapshot would be older than the wait.
    """
    assert connection.in_atomic_block
    statements.fetch("SELECT pg_advisory_xact_lock_shared(%s)", [STOP_LOCK])


def hold_off_submitters() -> bool:
    """Wait until nobody marks an order, and let nobody until this transaction ends; the last lock, as above.

    False when they take too long: what is done then holds for whoever comes later, and not for them.
    """
    assert connection.in_atomic_block
    has_lock, _ = _take_lock()
    return has_lock


def _take_lock() -> tuple[bool, datetime]:
    has_lock, clock = statements.fetch_only(
        "SELECT has_lock, at FROM risk_take_stop_lock(%s, %s::integer)", [STOP_LOCK, LOCK_WAIT_MS]
    )
    return has_lock, clock


def state(*, scopes: Iterable[tuple[ControlScope, str]]) -> StopState:
    """Return the strictest level over the system and `scopes`. A switch that cannot be read is a stop."""
    return as_state(statements.fetch_only(STATE.query, wanted(scopes)))


def wanted(scopes: Iterable[tuple[ControlScope, str]]) -> Mapping[str, Any]:
    """Return the arguments of `STATE` and `LEVEL` for the system and `scopes`."""
    every = [(ControlScope.SYSTEM, ""), *scopes]
    return {
        "stop_lock": STOP_LOCK,
        "stop_scopes": [scope.value for scope, _ in every],
        "stop_keys": [key for _, key in every],
    }


def as_state(row: Row) -> StopState:
    """Return the strictest level that a row of `STATE` holds."""
    if not settings.TRADING_ENABLED:
        return StopState(StopLevel.HALTED, ControlScope.SYSTEM.value, "Trading is switched off in the settings.")
    found = list(zip(*(column or () for column in row), strict=True))
    if not any(scope == ControlScope.SYSTEM for scope, *_ in found):
        return StopState(StopLevel.HALTED, ControlScope.SYSTEM.value, "The trading switch has no row.")
    scope, key, level, reason = max(found, key=lambda each: each[2])
    return StopState(StopLevel(level), f"{scope} {key}".strip(), reason)


@transaction.atomic(durable=True)
def set_level(
    *,
    scope: ControlScope,
    key: str,
    level: StopLevel,
    reason: str,
    actor: Actor,
    at: datetime,
    sweep: Sweep = Sweep.NONE,
) -> TradingControl:
    """Stop trading in a scope, one person's act. After the commit nothing that the stop covers can be sent.

    Safe to repeat: what is stricter already stays, with its setter and its reason; a person's repetition asks for the
    sweep once more, a process's changes nothing. `has_lock` of the row that comes
    back says whether the stop has waited for every submitter; without it, orders that were being marked meanwhile may
    still be sent: they are listed once those `submitters` are gone. Raises: Invalid.
    """
    _require_sense(scope=scope, key=key, level=level, sweep=sweep, reason=reason)
    row = _locked(scope=scope, key=key, at=at)
    before, stronger = StopLevel(row.level), max(Sweep(row.sweep), sweep, key=lambda each: each.strength)
    is_raised = level > before or stronger != row.sweep
    if not is_raised and actor.type is ActorType.SYSTEM:
        return row
    if is_raised:
        row.level, row.sweep = max(level, before), stronger
        row.reason, row.set_by, row.set_at = reason[:REASON_LENGTH_MAX], actor.id, at
    row.version, row.in_flight, row.listed_at = row.version + 1, [], None
    _alert(row, reason=reason, at=at)
    _put(row, trail.event(**_said(row, "control.level_set", before=before, reason=reason, actor=actor, at=at)))
    if not row.has_lock:
        log.error("risk.control.stopped_without_lock", scope=scope.value, key=key)
    return row


def ease(
    *, control_id: int, version: int, level: StopLevel, reason: str, actor: Actor, at: datetime
) -> TradingControl | None:
    """Ease a stop as two people have decided, in their transaction. None, and no change, when it was set anew since."""
    assert connection.in_atomic_block
    row: TradingControl | None = TradingControl.objects.locked().filter(pk=control_id, version=version).first()
    if row is None:
        return None
    before = StopLevel(row.level)
    assert level < before, "whoever makes a stop stricter sets its level"
    eased = {
        "level": level,
        "sweep": Sweep.NONE,
        "reason": reason[:REASON_LENGTH_MAX],
        "set_by": actor.id,
        "set_at": at,
    }
    TradingControl.objects.filter(pk=row.pk).update(
        **eased, version=F("version") + 1, followed_version=F("version") + 1, changed_at=CLOCK
    )
    row.refresh_from_db()
    trail.record(**_said(row, "control.level_eased", before=before, reason=reason, actor=actor, at=at))
    if level is StopLevel.ACTIVE:
        alerts.close_about(kind=ALERT, object_id=row.place, at=at)
    return row


def submitters() -> frozenset[str]:
    """Return who holds the stop lock shared just now. A stop that did not wait for them looks again once they are gone.

    Whoever takes the lock later reads the stop that has been committed before.
    """
    rows = statements.fetch(SUBMITTERS, [STOP_LOCK >> 32, STOP_LOCK & 0xFFFFFFFF])
    return frozenset(name for (name,) in rows)


def unfollowed() -> list[TradingControl]:
    """Return the stops of which nobody has listed yet what was on its way, the oldest first."""
    rows = TradingControl.objects.filter(level__gt=StopLevel.ACTIVE, followed_version__lt=F("version"))
    return list(rows.order_by("changed_at", "pk"))


def note_in_flight(row: TradingControl, *, in_flight: list[dict[str, Any]], at: datetime) -> bool:
    """Keep what might still reach the broker after a stop. False, and nothing kept, when the stop was set anew since.

    Runs in the caller's transaction.
    """
    same = TradingControl.objects.filter(pk=row.pk, version=row.version, followed_version__lt=row.version)
    if not same.update(followed_version=row.version, in_flight=in_flight, listed_at=CLOCK):
        return False
    for start in range(0, max(1, len(in_flight)), LISTED_AN_EVENT):
        part = in_flight[start : start + LISTED_AN_EVENT]
        trail.record(
            action="control.in_flight_listed",
            actor=Actor.system("stop"),
            target=_target(row),
            detail={"version": row.version, "has_lock": row.has_lock, "count": len(in_flight), "in_flight": part},
            occurred_at=at,
        )
    row.refresh_from_db()
    return True


def hold_followed(row: TradingControl, *, before: datetime) -> bool:
    """Lock a stop until the transaction ends. False when it is another by now, or was set or not followed since then.

    Takes: `before` by the database's clock.
    """
    same = TradingControl.objects.locked().filter(pk=row.pk, version=row.version, followed_version=row.version)
    return same.filter(changed_at__lt=before).first() is not None


def stops() -> list[TradingControl]:
    """Return every scope that is stopped in any way, the system's switch first."""
    rows = TradingControl.objects.filter(level__gt=StopLevel.ACTIVE)
    return sorted(rows, key=lambda row: (row.scope != ControlScope.SYSTEM, row.scope, row.key))


def find(*, scope: ControlScope, key: str) -> TradingControl | None:
    """Return the switch of a scope, or None while nobody has ever touched it."""
    row: TradingControl | None = TradingControl.objects.filter(scope=scope, key=key).first()
    return row


def _require_sense(*, scope: ControlScope, key: str, level: StopLevel, sweep: Sweep, reason: str) -> None:
    faults = []
    if level is StopLevel.ACTIVE:
        faults.append(FieldError("/level", "not_a_stop", "must be REDUCE_ONLY or HALTED; two people ease a stop"))
    if sweep is not Sweep.NONE and level is not StopLevel.HALTED:
        faults.append(FieldError("/sweep", "not_halted", "asks for the level HALTED"))
    if bool(key) == (scope is ControlScope.SYSTEM):
        faults.append(FieldError("/key", "wrong", "names which one of the scope; the system has none"))
    if not reason.strip():
        faults.append(FieldError("/reason", "required", "a reason is required"))
    if faults:
        raise Invalid(f"{faults[0].pointer[1:]} {faults[0].detail}.", errors=faults)


def _locked(*, scope: ControlScope, key: str, at: datetime) -> TradingControl:
    """Lock the switch of a scope, which is made when it is new."""
    rows = statements.objects(TradingControl, LOCK_ROW, [scope.value, key])
    if rows:
        return rows[0]
    new = TradingControl(scope=scope, key=key, level=StopLevel.ACTIVE, reason="", set_by="", set_at=at)
    TradingControl.objects.bulk_create([new], ignore_conflicts=True)
    (row,) = statements.objects(TradingControl, LOCK_ROW, [scope.value, key])
    return row


def _put(row: TradingControl, event: Mapping[str, Any]) -> None:
    """Wait for the submitters, write the switch and its event, and commit, in one round trip.

    All else has been written before: submitters wait for this statement alone, and those who still run, on a machine
    that they keep busy, are no reason for many more.
    """
    given = {
        "id": row.pk, "level": StopLevel(row.level).value, "sweep": Sweep(row.sweep).value, "reason": row.reason,
        "set_by": row.set_by, "set_at": row.set_at, "version": row.version, "lock": STOP_LOCK, "wait": LOCK_WAIT_MS,
    }  # fmt: skip
    ((row.has_lock, row.changed_at, _),) = statements.fetch(PUT, {**given, **event}, is_last=True)


def _said(
    row: TradingControl, action: str, *, before: StopLevel, reason: str, actor: Actor, at: datetime
) -> dict[str, Any]:
    detail = {
        "before": before.name,
        "after": StopLevel(row.level).name,
        "sweep": row.sweep,
        "reason": reason,
        "version": row.version,
    }
    return {"action": action, "actor": actor, "target": _target(row), "detail": detail, "occurred_at": at}


def _target(row: TradingControl) -> Target:
    return Target("trading_control", f"{row.scope}:{row.key}")


def _alert(row: TradingControl, *, reason: str, at: datetime) -> None:
    """Tell people of a stop: each time it gets stricter by an alert of its own, which waits for no earlier one."""
    since = row.set_at.astimezone(UTC)  # who repeats a stop leaves this as it is, and so its alert
    swept = "" if row.sweep == Sweep.NONE else f", and {row.sweep} is done,"
    alerts.open_alert(
        severity=Severity.CRITICAL,
        kind=ALERT,
        dedupe_key=f"stop:{row.scope}:{row.key}:{since:%Y%m%dT%H%M%S.%f}",
        is_alone=True,
        text=f"Trading is {StopLevel(row.level).name}{swept} for {row.place}. {reason}",
        object_type="trading_control",
        object_id=row.place,
        at=at,
    )
