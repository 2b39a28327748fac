"""Search the black box by what is indexed. What no index tells is sifted out of so many events at a time, never of all.

Ten million events are no reason to wait: each page reads one index from where the page before it has ended.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from nexus.audit.models import Batch, Event, Leaf
from nexus.audit.rules import merkle
from nexus.audit.types import Actor
from nexus.core.errors import NotFound

Row = Event  # for who holds one and never the table
PAGE = 50
SIFTED = 2_000  # events of the leading index that one page looks through: each may lie in a block of its own
SLACK = timedelta(
    seconds=60
)  # ids and times run together but for some seconds; what is beside it, the time itself says

# The first id from a time on, by halving: some twenty reads of the primary key, for no index is on the time.
_FIRST_SINCE = """
WITH RECURSIVE half(low, high) AS (
    SELECT coalesce(min(id), 1), coalesce(max(id), 0) + 1 FROM audit.event
    UNION ALL
    SELECT CASE WHEN probe.recorded_at < %(at)s THEN probe.id + 1 ELSE half.low END,
           CASE WHEN probe.recorded_at < %(at)s THEN half.high ELSE (half.low + half.high) / 2 END
    FROM half CROSS JOIN LATERAL (
        SELECT id, recorded_at FROM audit.event WHERE id >= (half.low + half.high) / 2 ORDER BY id LIMIT 1
    ) probe
    WHERE half.low < half.high
)
SELECT low FROM half WHERE low >= high LIMIT 1
"""

# Each actor's newest by the index of actors: one `IN` would read all that they ever did, and sort it.
_DONE_BY = """
SELECT found.* FROM unnest(%(types)s::text[], %(ids)s::text[]) AS actor (type, id) CROSS JOIN LATERAL (
    SELECT id, recorded_at, action, outcome, actor_type, actor_id, object_type, object_id, request_id
    FROM "audit"."event" WHERE actor_id = actor.id AND actor_type = actor.type AND id < %(before)s
    ORDER BY id DESC LIMIT %(limit)s
) found ORDER BY found.id DESC LIMIT %(limit)s
"""
_ID_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: "" for what does not matter, times as in a `Selection`. An object has a type and an id."""

    actor_id: str = ""
    action: str = ""
    object_type: str = ""
    object_id: str = ""
    outcome: str = ""
    from_at: datetime | None = None
    to_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One page, the newest first. `before` is where the next one goes on, None at the end.

    `is_cut`: it has looked through as many events as it may, and there may be more behind them.
    """

    rows: tuple[Event, ...]
    before: int | None
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Whole:
    """One event with what seals it. `is_as_sealed` is None while it waits for its seal."""

    event: Event
    document: dict[str, Any]
    leaf: Leaf | None
    batch: Batch | None

    @property
    def is_as_sealed(self) -> bool | None:
        """Tell whether the text hashes to what was sealed. That the seal itself is genuine, verification says."""
        if self.leaf is None:
            return None
        return merkle.leaf_hash(self.event.canonical.encode()) == bytes(self.leaf.leaf_hash)


def search(wanted: Search, *, before: int | None = None) -> Found:
    """Return a page of events, in the descending order of their ids."""
    rows = _stretch(wanted, before=before)
    led, sifted = _led(rows, wanted)
    if not sifted:
        page = list(led.defer("canonical").order_by("-id")[: PAGE + 1])
        return Found(tuple(page[:PAGE]), page[PAGE - 1].pk if len(page) > PAGE else None, is_cut=False)
    among = led.order_by("-id").values("id")[:SIFTED]
    page = list(Event.objects.filter(id__in=among, **sifted).defer("canonical").order_by("-id")[: PAGE + 1])
    if len(page) > PAGE:
        return Found(tuple(page[:PAGE]), page[PAGE - 1].pk, is_cut=False)
    last = led.order_by("-id").values_list("id", flat=True)[SIFTED - 1 : SIFTED].first()
    return Found(tuple(page), last, is_cut=last is not None)


def whole(event_id: int) -> Whole:
    """Return one event with its seal. Raises: NotFound."""
    event = Event.objects.filter(pk=event_id).first()
    if event is None:
        raise NotFound(f"There is no event {event_id}.")
    leaf = Leaf.objects.select_related("batch").filter(event_id=event_id).first()
    return Whole(event, json.loads(event.canonical), leaf, leaf.batch if leaf else None)


def older_than(event_id: int) -> int | None:
    """Return the id of the event before this one."""
    return Event.objects.filter(id__lt=event_id).order_by("-id").values_list("id", flat=True).first()


def newest_about(actor_id: str, *, outcome: str, limit: int) -> tuple[Event, ...]:
    """Return the newest events of an actor that ended so, among as many of the actor's events as one page looks at."""
    return search(Search(actor_id=actor_id, outcome=outcome)).rows[:limit]


def done_by(actors: Sequence[Actor], *, before: int | None, limit: int) -> Found:
    """Return a page of what these have done, of each as many as a page has, read from the index of actors."""
    given = {
        "types": [actor.type.value for actor in actors],
        "ids": [actor.id for actor in actors],
        "before": _ID_MAX if before is None else before,
        "limit": limit + 1,
    }
    page = list(Event.objects.raw(_DONE_BY, given))
    return Found(tuple(page[:limit]), page[limit - 1].pk if len(page) > limit else None, is_cut=False)


def first_since(at: datetime) -> int:
    """Return an id that no event recorded at `at` or later is below."""
    with connection.cursor() as cursor:
        cursor.execute(_FIRST_SINCE, {"at": at - SLACK})
        row = cursor.fetchone()
    return int(row[0])


def _stretch(wanted: Search, *, before: int | None) -> QuerySet[Event]:
    rows = Event.objects.all()
    if before is not None:
        rows = rows.filter(id__lt=before)
    if wanted.from_at is not None:
        rows = rows.filter(id__gte=first_since(wanted.from_at), recorded_at__gte=wanted.from_at)
    if wanted.to_at is not None:
        rows = rows.filter(id__lt=first_since(wanted.to_at + 2 * SLACK), recorded_at__lt=wanted.to_at)
    return rows


def _led(rows: QuerySet[Event], wanted: Search) -> tuple[QuerySet[Event], dict[str, str]]:
    """Take the narrowest criterion that has an index to lead; the others are sifted out of what it finds."""
    leads: tuple[dict[str, str], ...] = (
        {"object_type": wanted.object_type, "object_id": wanted.object_id},
        {"actor_id": wanted.actor_id},
        {"action": wanted.action},
    )
    lead = next((each for each in leads if all(each.values())), {})
    others = {name: text for each in (*leads, {"outcome": wanted.outcome}) for name, text in each.items() if text}
    return rows.filter(**lead), {name: text for name, text in others.items() if name not in lead}
