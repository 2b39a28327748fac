"""The clock of this app."""

import structlog
from celery import shared_task
from django.utils import timezone

from accounts.services import approvals, browsing, gates, links, lockout, notices, rates, sessions

log = structlog.get_logger(__name__)


@shared_task(name="accounts.purge_tokens", soft_time_limit=600)
def purge_tokens(**_future: object) -> None:
    """Delete tokens and sessions that ended more than a day ago, and counts that count no more."""
    at = timezone.now()
    purged = sessions.purge(at=at)
    gates.purge(at=at)
    rates.purge(at=at)
    gates.forget_pairs(before=at - lockout.KNOWN)
    notices.purge(at=at)
    browsing.purge(at=at)
    lockout.purge_attempts(before=at - gates.PURGED_AFTER)
    log.info("accounts.purge.done", revoked=purged.tokens, families=purged.families)


@shared_task(name="accounts.expire_approvals", soft_time_limit=60)
def expire_approvals(**_future: object) -> None:
    """Close the requests for a second person that nobody has decided in time."""
    count = approvals.expire(at=timezone.now())
    if count:
        log.info("accounts.approvals.expired", count=count)


@shared_task(name=notices.SEND, soft_time_limit=120)
def send_notices(**_future: object) -> None:
    """Send people what they are to know of their own accounts."""
    at = timezone.now()
    links.purge(at=at)  # nobody is sent a token that is over
    notices.send_due(at=at)
