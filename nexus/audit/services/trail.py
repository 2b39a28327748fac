"""Append to the black box, inside the transaction of what is recorded: no audit row, no change."""

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, LiteralString
from uuid import UUID

from django.db import connection, transaction

from nexus.audit.types import Actor, Outcome, Target
from nexus.core import statements
from nexus.core.logs import correlation_id
from nexus.core.money import as_text

# The one call that appends; `event` gives its values. It stands in the transaction, or in the statement, of the change.
APPEND: LiteralString = (
    "audit.append(%(audit_action)s, %(audit_outcome)s, %(audit_actor_type)s, %(audit_actor_id)s, %(audit_object_type)s,"
    " %(audit_object_id)s, %(audit_request_id)s, %(audit_detail)s::jsonb, %(audit_pii)s::jsonb, %(audit_occurred_at)s)"
)
DETAIL: LiteralString = "%(audit_detail)s::jsonb"
DETAIL_SIZE_MAX = 32 * 1024

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # jsonb refuses them, and the business change would fail with it


def append_with(known: LiteralString) -> LiteralString:
    """Return `APPEND` for an event whose detail holds besides what only its statement knows, an SQL object."""
    return APPEND.replace(DETAIL, f"{DETAIL} || {known}")


def record(
    *,
    action: str,
    actor: Actor,
    target: Target,
    outcome: Outcome = Outcome.SUCCESS,
    detail: Mapping[str, Any] | None = None,
    pii: Mapping[str, Any] | None = None,
    occurred_at: datetime | None = None,
) -> int:
    """Append one event to the open transaction and return its id.

    Takes: `action` as dotted lower-case words; `detail` of plain values, Decimals and dates, never floats or secrets;
    `pii` for addresses, user agents and unknown names; `occurred_at` when the outside names another time than now.
    """
    assert connection.in_atomic_block, "an audit event belongs to the transaction of what it records"
    given = event(
        action=action, actor=actor, target=target, outcome=outcome, detail=detail, pii=pii, occurred_at=occurred_at
    )
    return int(statements.fetch_only(f"SELECT {APPEND}", given)[0])


def event(
    *,
    action: str,
    actor: Actor,
    target: Target,
    outcome: Outcome = Outcome.SUCCESS,
    detail: Mapping[str, Any] | None = None,
    pii: Mapping[str, Any] | None = None,
    occurred_at: datetime | None = None,
) -> dict[str, Any]:
    """Return what `APPEND` needs, for a statement that writes a change and its event together. Takes: as `record`."""
    return {
        "audit_action": action,
        "audit_outcome": outcome.value,
        "audit_actor_type": actor.type.value,
        "audit_actor_id": _storable(actor.id),
        "audit_object_type": _storable(target.type),
        "audit_object_id": _storable(target.id),
        "audit_request_id": correlation_id(),
        "audit_detail": _capped(detail or {}),
        "audit_pii": json.dumps(_plain(pii), ensure_ascii=False) if pii else None,
        "audit_occurred_at": occurred_at,
    }


@transaction.atomic(durable=True)
def record_denied(
    *,
    action: str,
    actor: Actor,
    target: Target,
    outcome: Outcome = Outcome.DENIED,
    detail: Mapping[str, Any] | None = None,
    pii: Mapping[str, Any] | None = None,
) -> int:
    """Append a denied or failed action in a transaction of its own, committed before the refusal is raised."""
    return record(action=action, actor=actor, target=target, outcome=outcome, detail=detail, pii=pii)


def _capped(detail: Mapping[str, Any]) -> str:
    """Write the detail as JSON of at most 32 KiB; entries that do not fit are left out and `truncated` says so."""
    plain = {_storable(str(name)): _plain(value) for name, value in detail.items()}
    text = json.dumps(plain, ensure_ascii=False)
    if len(text.encode()) <= DETAIL_SIZE_MAX:
        return text
    kept: dict[str, Any] = {"truncated": True}
    size = len(json.dumps(kept))
    for name, value in plain.items():
        entry_size = len(json.dumps({name: value}, ensure_ascii=False).encode())
        if size + entry_size <= DETAIL_SIZE_MAX and name != "truncated":
            kept[name] = value
            size += entry_size
    return json.dumps(kept, ensure_ascii=False)


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case Enum():
            return _plain(value.value)
        case str():
            return _storable(value)
        case Decimal():
            return as_text(value)
        case datetime() | date():
            return value.isoformat()
        case UUID():
            return str(value)
        case Mapping():
            return {_storable(str(name)): _plain(held) for name, held in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(held) for held in value]
    raise TypeError(f"An audit event cannot hold a {type(value).__name__}; write it as text.")


def _storable(text: str) -> str:
    return _UNSTORABLE.sub("�", text)
