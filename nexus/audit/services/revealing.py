"""Show the personal data of one event to a person, after an event that says who looked, and why.

The application's role reads none of it. `audit.reveal_pii` gives it out, and only for such an event that is committed.
"""

import json
from typing import Any

from django.db import transaction

from nexus.audit import selectors
from nexus.audit.services import searching, trail
from nexus.audit.types import Actor, Target
from nexus.core import statements
from nexus.core.errors import Conflict


class NothingToReveal(Conflict):
    """The event has no personal data, or has it no more."""

    code = "no_personal_data"
    title = "There is no personal data to show"


def reveal(*, event_id: int, by: Actor, reason: str) -> dict[str, Any]:
    """Return the personal data of an event, once the log says who reads it. Raises: NotFound, NothingToReveal."""
    if searching.whole(event_id).document.get("pii_sha256") is None:
        raise NothingToReveal("The event has no personal data.")
    if selectors.is_erased(event_id):
        raise NothingToReveal("It was erased.")
    with transaction.atomic(durable=True):  # committed before anything is read, whatever comes of the reading
        reveal_id = trail.record(
            action=selectors.REVEALED,
            actor=by,
            target=Target(selectors.AUDIT_EVENT, str(event_id)),
            detail={"reason": reason},
        )
    (data,) = statements.fetch_only("SELECT audit.reveal_pii(%s)", [reveal_id])
    if data is None:  # erased meanwhile, or gone without a word, which verification finds
        raise NothingToReveal("It is not there any more.")
    found: dict[str, Any] = json.loads(data)
    return found
