"""The clock's door: old records go."""

from celery import shared_task
from django.utils.timezone import now

from nexus.idempotency.services import records


@shared_task(name="idempotency.purge_records", soft_time_limit=300)
def purge_records(**_future: object) -> None:
    """Delete expired records, batch by batch, until one comes back short."""
    while records.purge(at=now()) == records.PURGE_BATCH:
        continue
