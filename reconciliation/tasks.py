"""The clock's door: accounts are handed out in their slots, and reconciled each as a job of its own."""

import structlog
from celery import shared_task
from django.conf import settings

from nexus.core.jobs import enqueue
from reconciliation.services import cycles, retention, schedule
from reconciliation.states import Trigger
from trading.services.facts import database_clock as now

log = structlog.get_logger(__name__)


@shared_task(name="reconciliation.reconcile_accounts", soft_time_limit=20)
def reconcile_accounts(**_future: object) -> None:
    """Hand out every account whose turn it is."""
    for account_id in schedule.hand_out(at=now()):
        enqueue("reconciliation.reconcile_account", expires_s=settings.RECONCILIATION_INTERVAL, account_id=account_id)


@shared_task(name="reconciliation.reconcile_account", acks_late=True, soft_time_limit=55)
def reconcile_account(*, account_id: int, trigger: str = Trigger.CLOCK.value, **_future: object) -> None:
    """Reconcile one account."""
    outcome = cycles.run(account_id=account_id, trigger=Trigger(trigger), at=now())
    log.info(
        "reconciliation.account.reconciled", account_id=account_id, status=outcome.status.value,
        discrepancy_usd=str(outcome.discrepancy_usd),
    )  # fmt: skip


@shared_task(name="reconciliation.purge_log", soft_time_limit=300)
def purge_log(**_future: object) -> None:
    """Delete old runs that found nothing, batch by batch, until one comes back short."""
    while retention.purge(at=now()) == retention.BATCH:
        continue
