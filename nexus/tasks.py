"""The clock's door at the roof."""

from celery import shared_task
from django.utils.timezone import now

from nexus import watch
from nexus.audit.types import Actor


@shared_task(name="audit.watch")
def watch_audit(**_future: object) -> None:
    """Tell people when the database has few connections left, and when the black box does not keep up."""
    at = now()
    watch.watch_connections(at=at)
    watch.watch_seals(at=at)
    watch.watch_verification(at=at)


@shared_task(name="audit.verify_log")
def verify_log(*, asked_by: str = "", **_future: object) -> None:
    """Verify the whole log, once a night or now for a person, and wake people unless it is clean."""
    watch.verify_log(at=now(), clock=now, asked_by=Actor.user(asked_by) if asked_by else None)
