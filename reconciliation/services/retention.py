"""What the log of reconciliation keeps: every difference and decision for good, clean runs for some months, failed
ones for a good year: an account whose broker is gone for good leaves one a minute."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from reconciliation.models import ReconciliationLog
from reconciliation.states import Entry, Status

BATCH = 10_000


@transaction.atomic(durable=True)
def purge(*, at: datetime) -> int:
    """Delete one batch of old runs that found nothing or failed and return how many. Safe to run beside itself."""
    clean = Q(status=Status.CLEAN, at__lt=at - timedelta(days=settings.RECONCILIATION_LOG_DAYS))
    failed = Q(status=Status.FAILED, at__lt=at - timedelta(days=settings.RECONCILIATION_FAILURES_DAYS))
    rows = ReconciliationLog.objects.filter(clean | failed, entry=Entry.RUN).order_by("at")
    chosen = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
    deleted, _ = ReconciliationLog.objects.filter(pk__in=chosen).delete()
    return deleted
