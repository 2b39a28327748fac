"""What people look up in the black box, by what is indexed: the newest of it, and all about one object."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Max

from nexus.audit.models import Event
from nexus.audit.types import Outcome

DENIED_AMONG = 20_000  # of the newest events: no index tells outcomes apart, and no page waits for ten million rows


@dataclass(frozen=True, slots=True)
class Denied:
    """What was refused since a time, as far as was looked: how often, and the newest of it."""

    count: int
    newest: tuple[Event, ...]
    is_whole: bool


def denied(*, since: datetime, limit: int) -> Denied:
    """Return what was refused since then, among the newest events."""
    last = Event.objects.aggregate(last=Max("id"))["last"] or 0
    looked = Event.objects.filter(id__gt=last - DENIED_AMONG)
    rows = looked.filter(outcome=Outcome.DENIED, recorded_at__gte=since).order_by("-id")
    first = (
        Event.objects.filter(id__gt=last - DENIED_AMONG).order_by("id").values_list("recorded_at", flat=True).first()
    )
    is_whole = last <= DENIED_AMONG or first is None or first < since
    return Denied(rows.count(), tuple(rows.defer("canonical")[:limit]), is_whole)


def about(*, object_type: str, object_id: str, limit: int) -> list[tuple[Event, dict[str, Any]]]:
    """Return the events about an object, the oldest first, each with its detail."""
    rows = Event.objects.filter(object_type=object_type, object_id=object_id).order_by("id")[:limit]
    return [(row, json.loads(row.canonical).get("detail") or {}) for row in rows]
