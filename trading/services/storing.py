"""The admission step's own SQL: its beginning, and what it stores. Two statements; the judgement stands between them.

`begin` takes the first locks in the one order (the idempotency key, the user and the day) inside `order_begin`, a
VOLATILE function (migration 0006): each statement in it sees what was committed before that statement
began, so it searches after it has waited. It reads nothing that the locks guard: the judge does, in later statements.

`store` writes the order, its events, its audit event and its count. Of an admitted order it first takes the stop lock
and reads the stop under it, inside `risk_pass_stop`, a VOLATILE function as well; it reads nothing else, so one
snapshot is as good as several for the rest. It commits in the same round trip: a stop waits for whoever holds the lock,
and must not wait for this process to be told of its success, find time, and ask for the commit. The price that the
order was judged by is noted beside it, where nobody else holds the instrument.

The ORM's way of the same steps is kept in tests/trading/twins.py, and a test holds the two to the same rows.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.db import DatabaseError, connection

from nexus.audit.services import trail
from nexus.core import statements
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.services import control, stats
from risk.states import ControlScope, StopLevel
from trading.models import TradeLedger
from trading.services import instruments
from trading.states import State

BEGIN = """
SELECT begun.outcome, begun.made, begun.number, {day}
FROM order_begin(%(principal)s, %(account)s, %(key)s, %(fingerprint)s, %(public_id)s, %(at)s, %(user_lock)s::integer,
                 %(user_id)s, %(date)s) begun
"""

STORE = """
WITH stored AS (
    INSERT INTO trade_ledger ({columns}) SELECT {values} {gate} RETURNING id, sent_at
), told AS (
    INSERT INTO order_event (order_id, came_from, "to", reason, evidence, at)
    SELECT stored.id, step.came_from, step."to", %(event_reason)s, '{}', %(event_at)s
    FROM stored, unnest(%(came_from)s::text[], %(to)s::text[]) WITH ORDINALITY AS step (came_from, "to", number)
    ORDER BY step.number
){counted}{noted}
SELECT id, sent_at, {append} FROM stored
"""

# The account is looked at once the stop lock is held: a row comes from the function before it is judged.
IS_ARMED = " AND trading_pass_armed(%(armed_account)s)"


@dataclass(frozen=True, slots=True)
class Beginning:
    """The order that the key has made: this one or an earlier one. With this one come its number and the locked day."""

    made: str
    number: int
    day: stats.Day


def begin(*, key: RequestKey, public_id: uuid.UUID, user_id: int, at: datetime) -> Beginning:
    """Claim the key for a new order and take the locks that an admission needs, or return what the key has made.

    Raises: KeyInProgress while another transaction holds the key, KeyMismatch when it was for another request.
    """
    assert connection.in_atomic_block
    outcome, made, number, *day = statements.fetch_only(
        _beginning(),
        {
            "principal": key.principal,
            "account": key.account,
            "key": key.key,
            "fingerprint": key.fingerprint,
            "public_id": str(public_id),
            "at": at,
            "user_lock": stats.USER_LOCK,
            "user_id": user_id,
            "date": at.date(),
        },
    )
    if outcome == "BUSY":
        raise records.in_progress()
    if outcome == "MISMATCH":
        raise records.mismatch()
    if outcome == "KNOWN":
        return Beginning(made, 0, stats.Day())
    known = stats.as_day(day)
    return Beginning(made, number, known or stats.lock(user_id=user_id, trading_date=at.date()))


@dataclass(frozen=True, slots=True)
class Mark:
    """What an admitted order is stored under: the strictest stop it may pass, and what it counts on the locked day."""

    day: stats.Day
    value: Decimal
    quantity: Decimal
    scopes: tuple[tuple[ControlScope, str], ...]
    most: StopLevel
    armed: int | None = None  # the account with real money that has to be armed
    price: Mapping[str, Any] = field(default_factory=dict)  # what `instruments.noting` says


class StopCame(Exception):
    """A stop covers the order, or its account is not armed. Nothing was stored, and the transaction is lost: begin anew
    and judge again.
    """


def store(
    order: TradeLedger, *, path: tuple[State, ...], event: Mapping[str, Any], mark: Mark | None, at: datetime
) -> None:
    """Insert the order with its first events and its audit event; an order with an attempt is dated as sent now.

    With a `mark`, the stop lock is taken first, the stop is read under it, and whether the account is armed where it
    has to be. It is the last lock, held for this statement and the commit, which it brings along: it is the last of the
    transaction. Takes: `event` as `trail.event` returns it. Raises: StopCame.
    """
    assert connection.in_atomic_block
    row = statements.inserted(TradeLedger, order)
    steps = [str(state) for state in path]
    given: dict[str, Any] = {
        **row,
        **event,
        "event_reason": order.reason,
        "event_at": at,
        "came_from": ["", *steps[:-1]],
        "to": steps,
    }
    if mark is not None:
        given |= stats.counting(mark.day, value=mark.value, quantity=mark.quantity)
        given |= {**control.wanted(mark.scopes), "stop_most": mark.most.value, "armed_account": mark.armed}
        given |= mark.price
    is_live = mark is not None and mark.armed is not None
    notes = mark is not None and bool(mark.price)
    text = _text(tuple(row), is_sent=bool(order.attempts), is_marked=mark is not None, is_live=is_live, notes=notes)
    try:
        (stored,) = statements.fetch(text, given, is_last=mark is not None)
    except DatabaseError as exc:
        if getattr(exc.__cause__, "sqlstate", "") == control.STOPPED:
            raise StopCame from exc
        raise
    order.pk, order.sent_at, _ = stored
    order._state.adding, order._state.db = False, connection.alias


@lru_cache(maxsize=1)
def _beginning() -> Any:
    return BEGIN.replace("{day}", ", ".join(f'(begun.day)."{name}"' for name in stats.day_columns()))


@lru_cache(maxsize=16)
def _text(names: tuple[str, ...], *, is_sent: bool, is_marked: bool, is_live: bool, notes: bool) -> Any:
    gate = f"FROM {control.PASSED} AS stop (passed) WHERE stop.passed{IS_ARMED if is_live else ''}" if is_marked else ""
    clock = {"sent_at": "clock_timestamp()"} if is_sent else {}
    parts = {
        "{columns}": ", ".join(f'"{name}"' for name in names),
        "{values}": ", ".join(clock.get(name, f"%({name})s") for name in names),
        "{gate}": gate,
        "{counted}": f", counted AS ({stats.COUNT} AND EXISTS (SELECT FROM stored))" if is_marked else "",  # nosec B608
        "{noted}": f", noted AS ({instruments.NOTE} AND EXISTS (SELECT FROM stored))" if notes else "",  # nosec B608
        "{append}": trail.APPEND,
    }
    text: str = STORE
    for place, part in parts.items():
        text = text.replace(place, part)
    return text
