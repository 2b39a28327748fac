"""Whose turn it is: every account once an interval, each at its own place in it.

A slot that was handed to a worker and never ended is a failed run; so a loop that dies is counted as soon as it lives
again, and until then the age of the last success admits nothing new.
"""

import uuid
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction

from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from reconciliation import selectors
from reconciliation.models import Cycle
from reconciliation.services import concluding
from reconciliation.services.concluding import Run
from reconciliation.services.stops import RECONCILER
from reconciliation.states import Trigger
from trading.services import accounts, watch

log = structlog.get_logger(__name__)

BATCH = 200
SPREAD = 37  # no divisor of a minute: neighbors come far apart


def hand_out(*, at: datetime) -> list[int]:
    """Return the accounts whose turn it is, each once for its slot, and count the slots that nobody ran."""
    _enroll(at=at)
    due, missed = _take(at=at)
    for account_id in missed:
        _miss(account_id, at=at)
    try:
        _tell_stale(at=at)
    except Exception:  # the slots are taken: what is not handed out now counts as missed
        connection.close_if_unusable_or_obsolete()
        log.exception("reconciliation.stale.not_told")
    return due


def _miss(account_id: int, *, at: datetime) -> None:
    """Count a slot that nobody ran; an error in it must not cost the others theirs, which are taken by now."""
    try:
        run = Run(accounts.get(account_id=account_id), uuid.uuid4(), Trigger.CLOCK, at, RECONCILER)
        concluding.miss(run, detail="The run before did not end in its slot.")
    except Exception:
        connection.close_if_unusable_or_obsolete()
        log.exception("reconciliation.slot.not_counted", account_id=account_id)


@transaction.atomic(durable=True)
def _enroll(*, at: datetime) -> None:
    """Give each new account its place: its first turn is now."""
    known = set(Cycle.objects.values_list("account_id", flat=True))
    new = [account_id for account_id in watch.watched() if account_id not in known]
    Cycle.objects.bulk_create([Cycle(account_id=each, due_at=at) for each in new], ignore_conflicts=True)


@transaction.atomic(durable=True)
def _take(*, at: datetime) -> tuple[list[int], list[int]]:
    rows = list(
        Cycle.objects.filter(due_at__lte=at, account__is_active=True)
        .order_by("due_at", "pk")
        .select_for_update(of=("self",), skip_locked=True, no_key=True)[:BATCH]
    )
    missed = [
        row.pk for row in rows if row.handed_at is not None and (row.ran_at is None or row.ran_at < row.handed_at)
    ]
    for row in rows:
        row.handed_at, row.due_at = at, next_slot(row.pk, at=at)
    Cycle.objects.bulk_update(rows, ["handed_at", "due_at"])
    return [row.pk for row in rows], missed


def next_slot(account_id: int, *, at: datetime) -> datetime:
    """Return the account's next slot after `at`: the same second of every interval, and at least half of one away.

    What is handed out late, or for the first time, is given the time to end before it is missed.
    """
    interval = timedelta(seconds=settings.RECONCILIATION_INTERVAL)
    place = timedelta(seconds=account_id * SPREAD % settings.RECONCILIATION_INTERVAL)
    after = at + interval / 2
    return after - (after - selectors.EPOCH - place) % interval + interval


@transaction.atomic(durable=True)
def _tell_stale(*, at: datetime) -> None:
    """Alert people to accounts that nobody has reconciled for too long; what was told of those put aside ends."""
    told = [f"reconciliation-{each}" for each in ("failed", "stopped", "stale")]
    told += ["discrepancy_stopped", "discrepancy_review"]
    alerts.close_alerts(dedupe_keys=[f"{each}:{pk}" for pk in accounts.put_aside() for each in told], at=at)
    limit = at - timedelta(seconds=settings.RECONCILIATION_AGE_MAX_S)
    for cycle in selectors.stale(since=limit):
        account = cycle.account
        since = f"{cycle.succeeded_at:%Y-%m-%d %H:%M:%S} UTC" if cycle.succeeded_at else "it was linked"
        alerts.open_alert(
            severity=Severity.CRITICAL,
            kind="RECONCILIATION_STALE",
            dedupe_key=f"reconciliation-stale:{account.pk}",
            text=f"{account}: not reconciled since {since}. Nothing new is admitted.",
            object_type="trading_account",
            object_id=str(account.public_id),
            at=at,
        )
