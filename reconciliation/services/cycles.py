"""One run over one account: read the broker twice, book what it tells, compare, judge, and act.

One at a time for each account. The broker is asked while no transaction is open; what follows from its answer is
written in one.
"""

import time
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import connection

from nexus.audit.types import Actor
from nexus.core import statements
from nexus.core.errors import OutsideError
from reconciliation import rules
from reconciliation.models import Cycle, ReconciliationLog, Sighting
from reconciliation.services import concluding, policy, snapshots, stops, valuing
from reconciliation.services.concluding import Run
from reconciliation.services.snapshots import Incomplete
from reconciliation.services.stops import RECONCILER
from reconciliation.states import Action, Entry, Status, Trigger
from reconciliation.types import CASH, Finding, Outcome, Reading, Verdict
from trading.services import accounts, comparison, resolution, watch
from trading.services.accounts import Account
from trading.services.comparison import Shown

RUN_LOCK = 0x52454343  # the space of advisory locks whose second number is an account
OVERLAP = timedelta(hours=26)  # a day and what a server's clock may be off
QUIET = timedelta(seconds=5)
FULL_EVERY = timedelta(hours=24)
FULL_RETRY = timedelta(hours=1)
ASKED_MAX = 10  # orders a run; the rest is asked about in the next
ASK_PAUSE_S = 0.1
ASK_S_MAX = 15.0  # then the rest waits for the next run too: searches may hang, and a run has a minute

log = structlog.get_logger(__name__)


def run(*, account_id: int, trigger: Trigger, at: datetime, actor: Actor = RECONCILER) -> Outcome:
    """Reconcile one account now and return how it ended. A run that fails is an outcome, and is counted."""
    account = accounts.get(account_id=account_id)
    with statements.alone(RUN_LOCK, account_id) as is_alone:
        if not is_alone:
            return Outcome(
                account.pk, account.public_id, Status.BUSY, detail="Another run of this account is under way."
            )
        run = Run(account, uuid.uuid4(), trigger, at, actor)
        try:
            return _run(run)
        except OutsideError as exc:
            log.warning("reconciliation.run.incomplete", account_id=account_id, error=str(exc))
            return concluding.fail(run, detail=str(exc))
        except Exception as exc:  # whatever it was, the account was not compared, and that is counted
            connection.close_if_unusable_or_obsolete()
            log.exception("reconciliation.run.failed", account_id=account_id)
            return concluding.fail(run, detail=str(exc) or type(exc).__name__)


def _run(run: Run) -> Outcome:
    account, at = run.account, run.at
    reading, full_at = _read(account, at=at)
    run = _booked(run, reading, full_at=full_at)
    _resolve(account, at=at)
    resolution.tell_of_living(account, reading.snapshot, read_at=reading.started_at, at=at)
    findings = _compared(run, reading)
    verdict = _judged(run, findings)
    if full_at != at and any(each.sightings == 1 and not each.is_excluded for each in findings):
        # Nobody has seen this before, and the deal behind it may be an old one: the broker may have taken it back.
        try:
            reading = snapshots.read(account, since=watch.begins_at(account))
        except OutsideError as exc:
            log.warning("reconciliation.history.not_whole", account_id=account.pk, error=str(exc))
        else:
            run = _booked(run, reading, full_at=at)
            findings = _compared(run, reading)
            verdict = _judged(run, findings)
    outcome = concluding.conclude(run, findings, verdict, balance=reading.snapshot.balance)
    if verdict.stops:  # once more: who eased the stop meanwhile did not see what this run has found
        stops.stop_for_discrepancy(account, reason=_reason(verdict), at=at)
    concluding.tell_fleet(is_off=stops.stop_when_fleet_is_off(at=at), at=at)
    return outcome


def _judged(run: Run, findings: list[Finding]) -> Verdict:
    """Judge what was found, and stop where it says so, first of all: whatever fails then, nothing new is admitted."""
    verdict = rules.judge(findings, synced=_synced(run.account, at=run.at), policy=policy.current())
    if verdict.stops:
        stops.stop_for_discrepancy(run.account, reason=_reason(verdict), at=run.at)
    return verdict


def _booked(run: Run, reading: Reading, *, full_at: datetime | None) -> Run:
    """Book what was read, and return the run with what is known of it by then."""
    shown = reading.snapshot
    new_fills = watch.book(
        run.account, shown, reports=reading.fills, moved=reading.cash, read_at=reading.started_at, at=run.at
    )
    read_at = run.read_at or reading.started_at  # the first: a run that stops is no look after that stop
    return replace(run, as_of=reading.as_of, read_at=read_at, full_at=full_at, new_fills=run.new_fills + new_fills)


def _compared(run: Run, reading: Reading) -> list[Finding]:
    """Return everything on which the answer and our books differ, valued, with what earlier runs know of it."""
    account, at = run.account, run.at
    quiet_since = reading.started_at - QUIET
    differences = comparison.differences(account, reading.snapshot.positions, quiet_since=quiet_since)
    missing = comparison.balance_missing(account, _shown(reading))
    if not comparison.is_opened(account):
        if any(each.is_busy for each in differences):
            raise Incomplete("The account moves while it is looked at for the first time.")
        differences = concluding.open_books(run, differences, missing=missing, balance=reading.snapshot.balance)
        missing = rules.ZERO
    is_cash_busy = bool(missing) and comparison.is_cash_busy(account, quiet_since=quiet_since)
    valued = valuing.value(account, differences, missing=missing, at=at)
    return _sighted(account, valued, is_cash_busy=is_cash_busy, at=at)


def _read(account: Account, *, at: datetime) -> tuple[Reading, datetime | None]:
    """Read the broker: once a day its whole history, else what has happened since the last success, with an overlap.

    Returns when the whole was read, too. A history that cannot be had whole is left for an hour: the rest is compared.
    """
    begins = watch.begins_at(account)
    cycle = Cycle.objects.filter(account=account).first()
    if cycle is None or cycle.succeeded_at is None:
        return snapshots.read(account, since=begins), at
    since = max(begins, cycle.succeeded_at - OVERLAP)
    if cycle.full_at is not None and at - cycle.full_at < FULL_EVERY:
        return snapshots.read(account, since=since), cycle.full_at
    try:
        return snapshots.read(account, since=begins), at
    except OutsideError as exc:
        log.warning("reconciliation.history.not_whole", account_id=account.pk, error=str(exc))
        return snapshots.read(account, since=since), at - FULL_EVERY + FULL_RETRY


def _resolve(account: Account, *, at: datetime) -> None:
    """Ask the broker about orders that are not closed, a few a run. One that nobody finds, be it by an error of ours,
    stays as it is, and the account is compared all the same.
    """
    began = time.monotonic()
    for number, order_id in enumerate(resolution.due_of(account.pk)[:ASKED_MAX]):
        if number:
            if time.monotonic() - began > ASK_S_MAX:
                return
            time.sleep(ASK_PAUSE_S)
        try:
            resolution.resolve(order_id=order_id, at=at)
        except Exception:
            connection.close_if_unusable_or_obsolete()
            log.exception("reconciliation.order.not_asked_for", account_id=account.pk, order_id=order_id)


def _shown(reading: Reading) -> Shown:
    return Shown(
        balance=reading.snapshot.balance,
        started_at=reading.started_at,
        fill_ids=[each.venue_fill_id for each in reading.fills],
        cash_ids=[each.venue_cash_id for each in reading.cash],
    )


def _sighted(account: Account, findings: list[Finding], *, is_cash_busy: bool, at: datetime) -> list[Finding]:
    """Add what the runs before have seen of each difference. Half an interval lies between two that count."""
    apart = timedelta(seconds=settings.RECONCILIATION_INTERVAL) / 2
    known = {row.key: row for row in Sighting.objects.filter(account=account)}
    nothing = Sighting()
    rows = [(each, known.get(each.key, nothing)) for each in findings]
    return [
        rules.sighted(
            each, seen=row.signature, sightings=row.sightings, excluded=row.excluded, kept=row.kept,
            is_busy=is_cash_busy if each.key == CASH else bool(each.position and each.position.is_busy),
            is_apart=row.counted_at is None or at - row.counted_at >= apart,
        )
        for each, row in rows
    ]  # fmt: skip


def _synced(account: Account, *, at: datetime) -> Decimal:
    """Return the USD that were corrected without a person in the last 24 h."""
    rows = ReconciliationLog.objects.filter(
        account=account, entry=Entry.DIFFERENCE, action=Action.BROKER_SYNCED, at__gt=at - timedelta(hours=24)
    )
    return sum((worth for worth in rows.values_list("value_usd", flat=True) if worth), start=rules.ZERO)


def _reason(verdict: Verdict) -> str:
    if verdict.is_unvalued:
        return "Our books differ from the broker's, and nobody can say by how much."
    return f"Our books differ from the broker's by {verdict.total:.2f} USD."
