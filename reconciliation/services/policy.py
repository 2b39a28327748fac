"""The settings of reconciliation, as the pure rules see them."""

from django.conf import settings

from reconciliation.types import Policy


def current() -> Policy:
    """Return how differences are judged now."""
    return Policy(
        review_from=settings.RECONCILIATION_REVIEW_FROM,
        stop_above=settings.RECONCILIATION_STOP_ABOVE,
        synced_max=settings.RECONCILIATION_REVIEW_FROM,
    )
