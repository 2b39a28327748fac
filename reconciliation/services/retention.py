"""What the log of reconciliation keeps: every difference, decision and failure for good, clean runs for some months."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from reconciliation.models import ReconciliationLog
from reconciliation.states import Entry, Status

BATCH = 10_000


@transaction.atomic(durable=True)
def purge(*, at: datetime) -> int:
    """Delete one batch of old runs that found nothing and return how many. Safe to run beside itself."""
    old = at - timedelta(days=settings.RECONCILIATION_LOG_DAYS)
    rows = ReconciliationLog.objects.filter(entry=Entry.RUN, status=Status.CLEAN, at__lt=old).order_by("at")
    chosen = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
    deleted, _ = ReconciliationLog.objects.filter(pk__in=chosen).delete()
    return deleted
