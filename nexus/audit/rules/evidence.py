"""One event against what the log says of it: its columns, its personal data."""

import json
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

COLUMNS = ("action", "outcome", "actor_type", "actor_id", "object_type", "object_id", "request_id")


def differing(document: Any, *, event_id: int, recorded_at: datetime, columns: Sequence[Any]) -> list[str]:
    """Return which typed columns say something else than the sealed text. Takes: `columns` as COLUMNS names them."""
    if not isinstance(document, dict):
        return ["canonical"]
    wrong = [name for name, value in zip(COLUMNS, columns, strict=True) if document.get(name) != value]
    if document.get("id") != event_id:
        wrong.append("id")
    try:
        if datetime.fromisoformat(document["recorded_at"]) != recorded_at:
            wrong.append("recorded_at")
    except (KeyError, TypeError, ValueError):
        wrong.append("recorded_at")
    return wrong


def detail_of(canonical: str) -> Any:
    """Return what an event's text says in detail; None of a text that cannot be read, as a tampered one may be."""
    try:
        return json.loads(canonical)["detail"]
    except (KeyError, TypeError, ValueError):
        return None


def commitment(salt: bytes, data: str) -> str:
    """Return what an event holds of its personal data."""
    return sha256(salt + data.encode()).hexdigest()
