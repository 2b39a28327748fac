"""The clock's door at the roof."""

from celery import shared_task
from django.utils.timezone import now

from nexus import watch


@shared_task(name="audit.watch")
def watch_audit(**_future: object) -> None:
    """Tell people when the black box does not keep up."""
    watch.watch_seals(at=now())
