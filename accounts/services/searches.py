"""Searches that people keep: each sees, names and forgets the own ones alone."""

from collections.abc import Collection
from datetime import datetime

from django.db import transaction

from accounts.models import SavedSearch, User
from accounts.models.searches import LABEL_LENGTH_MAX, QUERY_LENGTH_MAX
from accounts.types import Principal
from nexus.core.errors import Conflict, FieldError, Invalid

KEPT_MAX = 20  # of one person on one page

__all__ = ["KEPT_MAX", "LABEL_LENGTH_MAX", "TooMany", "of", "put"]


class TooMany(Conflict):
    """A list that nobody reads helps nobody."""

    code = "saved_searches_full"
    title = "No more searches can be kept here"


def of(user_id: int, *, page: str) -> list[SavedSearch]:
    """Return somebody's searches on a page, by their names."""
    return list(SavedSearch.objects.filter(user_id=user_id, page=page).order_by("label"))


@transaction.atomic
def put(
    *, by: Principal, page: str, label: str, query: str, forgotten: Collection[int] = (), at: datetime
) -> SavedSearch | None:
    """Forget some of somebody's own searches, and keep one under its `label`, which replaces the one it named before.

    Takes: no `label` to keep none. Raises: Invalid, TooMany, and nothing has changed.
    """
    User.objects.locked().get(pk=by.pk)  # one at a time counts this person's searches
    own = SavedSearch.objects.filter(user_id=by.pk, page=page)
    own.filter(pk__in=forgotten).delete()
    if not label:
        return None
    if len(query) > QUERY_LENGTH_MAX:
        raise Invalid(
            "The search is too long to be kept.", errors=[FieldError("/query", "too_long", "1000 characters at most")]
        )
    if own.exclude(label=label).count() >= KEPT_MAX:
        raise TooMany(f"{KEPT_MAX} searches are kept here. Forget one first.")
    row, _ = SavedSearch.objects.update_or_create(
        user_id=by.pk, page=page, label=label, defaults={"query": query, "saved_at": at}
    )
    return row
