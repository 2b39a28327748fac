"""The stop switch. Whoever admits or sends holds the stop lock shared; whoever stops takes it exclusive."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import structlog
from django.conf import settings
from django.db import OperationalError, connection, transaction

from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import statements
from nexus.core.statements import Part, Row
from risk.models import TradingControl
from risk.states import ControlScope, StopLevel, Sweep

# One number for the whole installation: an advisory lock lives in the database, not in a table.
STOP_LOCK = 0x4E45585553
LOCK_WAIT_MS = 500

# The same, after waiting for the stop lock: what a statement that marks an order asks first.
LEVEL: LiteralString = "risk_stop_level(%(stop_lock)s, %(stop_scopes)s::text[], %(stop_keys)s::text[])"
STATE = Part(
    """
    SELECT array_agg(scope), array_agg(key), array_agg(level), array_agg(reason) FROM trading_control
    JOIN unnest(%(stop_scopes)s::text[], %(stop_keys)s::text[]) AS wanted (scope, key) USING (scope, key)
    """,
    width=4,
)

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
    *, scope: ControlScope, key: str, level: StopLevel, reason: str, actor: Actor, at: datetime
) -> TradingControl:
    """Set how far trading is allowed in a scope. After the commit nothing it covers can be sent.

    Safe to repeat. Raising is one person's act; easing asks for a second person, whose door is not built yet.
    """
    has_lock = _lock_exclusive()
    before = TradingControl.objects.filter(scope=scope, key=key).first()
    row, _ = TradingControl.objects.update_or_create(
        scope=scope,
        key=key,
        defaults={"level": level, "sweep": Sweep.NONE, "reason": reason, "set_by": actor.id, "set_at": at},
    )
    trail.record(
        action="control.level_set",
        actor=actor,
        target=Target("trading_control", f"{scope}:{key}"),
        detail={
            "before": StopLevel(before.level).name if before else None,
            "after": level.name,
            "reason": reason,
            "has_lock": has_lock,
        },
        occurred_at=at,
    )
    return row


def _lock_exclusive() -> bool:
    """Wait for every submitter that is between its lock and its commit, but never long: a stop is written all the same.

    Returns whether the lock was had. Without it, orders that were being marked meanwhile may still be sent.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT_MS}ms'")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [STOP_LOCK])
    except OperationalError:
        log.error("risk.control.stopped_without_lock")  # noqa: TRY400
        return False
    return True
