"""What the audit log keeps of one's own acts: those in sessions, and those of bots by one's API keys."""

from dataclasses import dataclass

from accounts import selectors
from accounts.types import Principal
from nexus.audit.services import searching
from nexus.audit.services.searching import Row
from nexus.audit.types import Actor, ActorType


@dataclass(frozen=True, slots=True)
class OwnEvent:
    """One event, and the key that did it: its id and what its owner calls it, "" for what was done in a session."""

    event: Row
    api_key: str = ""
    key_name: str = ""


@dataclass(frozen=True, slots=True)
class OwnEvents:
    """One page, the newest first. `before` is where the next one goes on, None at the end."""

    rows: tuple[OwnEvent, ...]
    before: int | None


def page(by: Principal, *, before: int | None, limit: int) -> OwnEvents:
    """Return a page of what somebody did. Keys that have ended are looked for too: what they did was done."""
    names = selectors.key_names(by.pk)
    actors = [Actor.user(by.public_id), *(Actor(ActorType.API_KEY, key_id) for key_id in names)]
    found = searching.done_by(actors, before=before, limit=limit)
    rows = (
        OwnEvent(event, event.actor_id, names[event.actor_id]) if event.actor_id in names else OwnEvent(event)
        for event in found.rows
    )
    return OwnEvents(tuple(rows), found.before)
