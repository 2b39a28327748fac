"""One request, one effect. The unique key of the table is the only judge of what is a duplicate."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

from django.db import connection, transaction

from nexus.core import money, statements
from nexus.core.errors import Conflict, FieldError, Invalid
from nexus.idempotency.models import IdempotencyRecord

KEPT = timedelta(hours=48)
PURGE_BATCH = 5000
CLOSE: LiteralString = (
    "UPDATE idempotency_record SET expires_at = greatest(%(closed_at_least)s, created_at + %(closed_kept)s)"
    " WHERE object_id = %(closed_object)s AND expires_at IS NULL"
)
MADE: LiteralString = "idempotency_record.fingerprint, idempotency_record.object_id"
# For a statement over accounts: what a key has made at each of them, beside it.
MADE_BESIDE: LiteralString = (
    " LEFT JOIN idempotency_record ON idempotency_record.principal = %(principal)s AND idempotency_record.key = %(key)s"
    " AND idempotency_record.account = "
)
_KEY = re.compile(r"[A-Za-z0-9_-]{8,128}")


class KeyRequired(Invalid):
    """The header is missing or malformed."""

    status = 400
    code = "idempotency_key_required"
    title = "An idempotency key is required"


class KeyMismatch(Invalid):
    """The key was used before, for another request."""

    code = "idempotency_key_mismatch"
    title = "This key belongs to another request"


class KeyInProgress(Conflict):
    """The first request with this key is still being decided."""

    code = "idempotency_in_progress"
    title = "The first request with this key is still running"


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Who asked, for which account, under which key, and for what."""

    principal: str
    account: str
    key: str
    fingerprint: bytes


def read_key(header: str | None) -> str:
    """Check an `Idempotency-Key` header. Raises: KeyRequired."""
    if header is None or not _KEY.fullmatch(header):
        raise KeyRequired(
            "Send an Idempotency-Key header of 8 to 128 letters, digits, hyphens or underscores, new for each request "
            "and the same when you repeat one.",
            errors=[FieldError("/headers/Idempotency-Key", "required", "missing or malformed")],
        )
    return header


def fingerprint(*, method: str, path: str, body: Mapping[str, Any], query: Sequence[tuple[str, str]] = ()) -> bytes:
    """Hash what was asked: method, path, sorted query and canonical body.

    Numbers that are equal hash equal, however written. Who asks, and with which second factor, is no part of it.
    """

    def plain(value: object) -> object:
        return money.as_text(value) if isinstance(value, Decimal) else str(value)

    asked = [method, path, dict(body), *([sorted(query)] if query else [])]
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"), default=plain)
    return hashlib.sha256(canonical.encode()).digest()


def find(request: RequestKey) -> str | None:
    """Return the object this key has made, or None. Raises: KeyMismatch when it was for another request."""
    row = statements.fetch_one(
        "SELECT fingerprint, object_id FROM idempotency_record WHERE principal = %s AND account = %s AND key = %s",
        [request.principal, request.account, request.key],
    )
    return None if row is None else same(request, *row)


def same(request: RequestKey, fingerprint: bytes, object_id: str) -> str:
    """Return the object that the request's key has made. Takes: `MADE`. Raises: KeyMismatch."""
    if bytes(fingerprint) != request.fingerprint:
        raise mismatch()
    return object_id


def claim(request: RequestKey, *, object_type: str, object_id: str, at: datetime) -> str | None:
    """Take a key for a new object in the caller's transaction, and return None; or the object that it made before.

    The key's lock dies with the transaction, and so does the record when it fails. Raises: KeyMismatch, KeyInProgress.
    """
    assert connection.in_atomic_block
    outcome, made = statements.fetch_only(
        "SELECT outcome, made FROM idempotency_claim(%s, %s, %s, %s, %s, %s, %s)",
        [request.principal, request.account, request.key, request.fingerprint, object_type, object_id, at],
    )
    if outcome == "BUSY":
        raise in_progress()
    if outcome == "MISMATCH":
        raise mismatch()
    return None if outcome == "CLAIMED" else str(made)


def mismatch() -> KeyMismatch:
    """Return the refusal of a key that was used for something else."""
    return KeyMismatch("This Idempotency-Key was used for a different request. Use a new key for a new request.")


def in_progress() -> KeyInProgress:
    """Return the refusal of a key that another transaction holds."""
    return KeyInProgress("Repeat the request in a moment to see what came of it.", headers={"Retry-After": "1"})


def close(*, object_id: str, at: datetime) -> None:
    """Let the record of a closed object expire, `KEPT` after it was made or at once when that has passed."""
    statements.fetch(CLOSE, closing(object_id=object_id, at=at))


def closing(*, object_id: str, at: datetime) -> Mapping[str, Any]:
    """Return what `CLOSE` needs, for a statement that closes the object and its record together."""
    return {"closed_object": object_id, "closed_at_least": at, "closed_kept": KEPT}


@transaction.atomic(durable=True)
def purge(*, at: datetime) -> int:
    """Delete one batch of expired records and return how many. Safe to run beside itself."""
    expired = (
        IdempotencyRecord.objects.filter(expires_at__lt=at)
        .order_by("pk")
        .select_for_update(skip_locked=True)
        .values_list("pk", flat=True)[:PURGE_BATCH]
    )
    deleted, _ = IdempotencyRecord.objects.filter(pk__in=list(expired)).delete()
    return deleted
