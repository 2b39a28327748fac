"""The queue of differences that wait for a person: opened and kept current by runs, taken by one operator at a time."""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import connection, transaction

from accounts.states import Role
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import money
from nexus.core.errors import Conflict, Denied, NotFound
from reconciliation import rules
from reconciliation.models import Review
from reconciliation.services import policy
from reconciliation.services.stops import RECONCILER
from reconciliation.states import Action, ReviewState
from reconciliation.types import Finding, as_evidence
from trading.services.accounts import Account

Row = Review  # for those above, who hold a row and never the table

LEASE = timedelta(minutes=30)
WAITING = frozenset({Action.REVIEW, Action.TRADING_STOPPED})


class Taken(Conflict):
    """Another operator looks at it."""

    code = "review_taken"


class NotOpen(Conflict):
    """It was decided, or its difference has gone."""

    code = "review_not_open"


def follow(account: Account, findings: Iterable[tuple[Finding, Action]], *, run_id: uuid.UUID, at: datetime) -> None:
    """Open a review for what now waits, refresh those that stand, and close those whose difference has gone.

    Runs in the transaction of the run.
    """
    assert connection.in_atomic_block
    standing = {row.key: row for row in _locked(account_id=account.pk, state=ReviewState.OPEN)}
    for finding, action in findings:
        row = standing.pop(finding.key, None)
        if row is not None and action is Action.BROKER_SYNCED:
            standing[finding.key] = row
        elif row is not None and action is not Action.EXCLUDED:
            _refresh(row, finding, run_id=run_id, at=at)
        elif row is None and action in WAITING:
            _open(account, finding, run_id=run_id, at=at)
    for row in standing.values():
        row.state, row.seen_at = ReviewState.GONE.value, at
        row.save(update_fields=["state", "seen_at"])
        note("review.gone", row, actor=RECONCILER, at=at)


@transaction.atomic(durable=True)
def claim(*, review_id: uuid.UUID, by: Principal, at: datetime) -> Review:
    """Take a review for half an hour, or for longer what is one's own. Raises: NotFound, NotOpen, Taken, Denied."""
    row = take(review_id=review_id, by=by, at=at)
    note("review.taken", row, actor=Actor.user(by.public_id), at=at)
    return row


def take(*, review_id: uuid.UUID, by: Principal, at: datetime) -> Review:
    """Lock an open review for its owner, whom it gets when nobody holds it. Raises: as `claim`."""
    assert connection.in_atomic_block
    if by.role != Role.OPERATOR:
        raise Denied("Operators decide differences.")
    row = locked(review_id)
    if row is None:
        raise NotFound("There is no such review.")
    if row.state != ReviewState.OPEN:
        raise NotOpen(f"The review is {row.state}: there is nothing to decide.")
    me = str(by.public_id)
    if row.owner not in ("", me) and row.leased_until is not None and row.leased_until > at:
        raise Taken(f"Another operator holds it until {row.leased_until:%H:%M} UTC.")
    row.owner, row.leased_until = me, at + LEASE
    row.save(update_fields=["owner", "leased_until"])
    return row


def locked(review_id: uuid.UUID) -> Review | None:
    """Lock a review, in the caller's transaction."""
    assert connection.in_atomic_block
    return next(iter(_locked(public_id=review_id)), None)


def note(action: str, row: Review, *, actor: Actor, at: datetime, reason: str = "") -> None:
    """Append what happened to a review to the audit."""
    trail.record(
        action=action,
        actor=actor,
        target=Target("review", str(row.public_id)),
        detail={
            "account_id": row.account_id,
            "key": row.key,
            "version": row.version,
            "state": row.state,
            "value_usd": row.value_usd,
            "reason": reason,
            "evidence": row.evidence,
        },
        occurred_at=at,
    )


def _locked(**which: object) -> list[Review]:
    return list(Review.objects.filter(**which).order_by("pk").select_for_update(of=("self",), no_key=True))


def _open(account: Account, finding: Finding, *, run_id: uuid.UUID, at: datetime) -> None:
    row = Review(account=account, key=finding.key, symbol=finding.symbol, opened_at=at)
    _write(row, finding, run_id=run_id, at=at)
    row.save()
    note("review.opened", row, actor=RECONCILER, at=at)


def _refresh(row: Review, finding: Finding, *, run_id: uuid.UUID, at: datetime) -> None:
    if row.signature != finding.signature:
        row.version += 1  # whoever decided on the old figures is refused
    _write(row, finding, run_id=run_id, at=at)
    row.save()


def _write(row: Review, finding: Finding, *, run_id: uuid.UUID, at: datetime) -> None:
    row.signature, row.value_usd = finding.signature, finding.value
    row.risk_impact = rules.impact(finding.value, policy=policy.current()).value
    row.evidence = evidence(finding)
    row.seen_run, row.seen_at = run_id, at


def evidence(finding: Finding) -> dict[str, object]:
    """Write down both sides of a finding."""
    if finding.position is not None:
        return as_evidence(finding.position)
    return {"key": finding.key, "amount": money.as_text(finding.amount)}
