"""The clock of this app."""

import structlog
from celery import shared_task
from django.utils import timezone

from accounts.services import sessions

log = structlog.get_logger(__name__)


@shared_task(name="accounts.purge_tokens", soft_time_limit=600)
def purge_tokens(**_future: object) -> None:
    """Delete tokens and sessions that ended more than a day ago."""
    purged = sessions.purge(at=timezone.now())
    log.info("accounts.purge.done", revoked=purged.tokens, families=purged.families)
