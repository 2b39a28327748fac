"""An operator's decision of a difference: its effect is shown first, it is applied once, and only to what was shown.

It takes the version of the evidence that the operator saw. Evidence that the newest complete run does not confirm is
old, and a decision raised on old data is refused.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from accounts.types import Principal
from nexus.audit.types import Actor
from nexus.core import money
from nexus.core.errors import Conflict, FieldError, Invalid, NotFound
from reconciliation.models import Cycle, ReconciliationLog, Review, Sighting
from reconciliation.services import cycles, reviews
from reconciliation.states import Action, Decision, Entry, ReviewState, Status, Trigger
from reconciliation.types import Outcome, from_evidence
from trading.services import accounts, corrections
from trading.services.corrections import Origin
from trading.states import CorrectionKind

REASON_LENGTH_MIN = 10


class OldEvidence(Conflict):
    """What the decision was raised on is not what the newest complete run has seen."""

    code = "evidence_is_old"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a decision would do, in words, and the version of the evidence that it rests on."""

    version: int
    lines: tuple[str, ...]


def preview(*, review_id: uuid.UUID, decision: Decision, at: datetime) -> Effect:
    """Return what a decision would do now. Raises: NotFound, NotOpen, OldEvidence, BooksMoved, NoPrice."""
    row = Review.objects.filter(public_id=review_id).first()
    if row is None:
        raise NotFound("There is no such review.")
    if row.state != ReviewState.OPEN:
        raise reviews.NotOpen(f"The review is {row.state}: there is nothing to decide.")
    if decision is Decision.RUN_AGAIN:
        return Effect(row.version, ("The account is reconciled now. Nothing else changes.",))
    _require_current(row, version=row.version, at=at)
    if decision is Decision.KEEP_OURS:
        return Effect(
            row.version,
            ("Our books stay as they are.", "This very difference raises nothing more; any other figure does."),
        )
    return Effect(row.version, _effect(row))


def decide(
    *, review_id: uuid.UUID, decision: Decision, version: int, reason: str, by: Principal, at: datetime
) -> tuple[Review, Outcome | None]:
    """Apply a decision once; return the review and, where the account was reconciled anew, how that ended.

    Raises: Denied, NotFound, Invalid, Taken, NotOpen, OldEvidence, BooksMoved, NoPrice. Nothing is written then.
    """
    if len(reason.strip()) < REASON_LENGTH_MIN:
        raise Invalid("Say why.", errors=[FieldError("/reason", "required", "why, for the audit")])
    row = _decide(review_id=review_id, decision=decision, version=version, reason=reason, by=by, at=at)
    if decision is not Decision.RUN_AGAIN:
        return row, None
    outcome = cycles.run(account_id=row.account_id, trigger=Trigger.REVIEW, at=at, actor=Actor.user(by.public_id))
    row.refresh_from_db()
    return row, outcome


@transaction.atomic(durable=True)
def _decide(
    *, review_id: uuid.UUID, decision: Decision, version: int, reason: str, by: Principal, at: datetime
) -> Review:
    """Lock the account's cycle, so that no run concludes meanwhile, then the review; judge, act and write it down."""
    account_id = Review.objects.filter(public_id=review_id).values_list("account_id", flat=True).first()
    Cycle.objects.select_for_update(of=("self",), no_key=True).filter(account_id=account_id).first()
    row = reviews.take(review_id=review_id, by=by, at=at)
    actor = Actor.user(by.public_id)
    if decision is Decision.RUN_AGAIN:
        _log(row, Action.RUN_AGAIN, [], reason=reason, actor=actor, at=at)
        reviews.note("review.run_again", row, actor=actor, at=at, reason=reason)
        return row
    _require_current(row, version=version, at=at)
    made: list[str] = []
    if decision is Decision.ACCEPT_BROKER:
        made = _accept(row, reason=reason, actor=actor, at=at)
        Sighting.objects.filter(account_id=row.account_id, key=row.key).delete()
        row.state = ReviewState.SYNCED.value
    else:
        Sighting.objects.filter(account_id=row.account_id, key=row.key).update(kept=row.signature)
        row.state = ReviewState.KEPT.value
    row.decision, row.reason = decision.value, reason[:500]
    row.decided_by, row.decided_at = str(by.public_id), at
    row.save()
    action = Action.BROKER_SYNCED if decision is Decision.ACCEPT_BROKER else Action.KEPT
    _log(row, action, made, reason=reason, actor=actor, at=at)
    reviews.note(f"review.{row.state.lower()}", row, actor=actor, at=at, reason=reason)
    return row


def _require_current(row: Review, *, version: int, at: datetime) -> None:
    cycle = Cycle.objects.filter(account_id=row.account_id).first()
    age_max = timedelta(seconds=settings.RECONCILIATION_AGE_MAX_S)
    is_newest = cycle is not None and cycle.last_run == row.seen_run
    is_fresh = cycle is not None and cycle.succeeded_at is not None and at - cycle.succeeded_at <= age_max
    if version != row.version or not is_newest or not is_fresh:
        raise OldEvidence("The figures have changed, or are too old. Ask for a fresh run and look again.")


def _accept(row: Review, *, reason: str, actor: Actor, at: datetime) -> list[str]:
    """Move our books to the broker's, as the newest run saw it."""
    account = accounts.get(account_id=row.account_id)
    # The run that saw it names the broker's state; a decision about it is another entry than the run's own.
    origin = Origin(CorrectionKind.DECIDED, reason, actor, f"review:{row.pk}.{row.version}")
    if "amount" in row.evidence:
        amount = Decimal(row.evidence["amount"])
        name = corrections.restate_cash(account, amount, balance=amount, origin=origin, at=at)
        return [name] if name else []
    return corrections.restate(account, from_evidence(row.evidence), origin=origin, at=at)


def _effect(row: Review) -> tuple[str, ...]:
    account = accounts.get(account_id=row.account_id)
    if "amount" in row.evidence:
        return (f"The expected balance moves by {row.evidence['amount']} {account.currency}.",)
    found = from_evidence(row.evidence)
    legs = corrections.plan(account, found)
    lines = [
        f"Position {leg.venue_position_id}: {money.as_text(leg.quantity)} lots of {found.symbol} at "
        f"{money.as_text(money.half_even_to(leg.price, corrections.PRICE_STEP))}."
        for leg in legs
    ]
    return (*lines, "No order is sent, and no result is booked.")


def _log(row: Review, action: Action, made: list[str], *, reason: str, actor: Actor, at: datetime) -> None:
    sides = None if "amount" in row.evidence else from_evidence(row.evidence)
    ReconciliationLog.objects.create(
        run_id=row.seen_run,
        entry=Entry.DECISION,
        account_id=row.account_id,
        trigger=Trigger.REVIEW,
        status=Status.DIFFERENT,
        key=row.key,
        symbol=row.symbol,
        our_quantity=None if sides is None else sides.quantity,
        broker_quantity=None if sides is None else sides.venue_quantity,
        quantity_discrepancy=Decimal(0) if sides is None else sides.missing,
        our_price=None if sides is None else sides.price,
        broker_price=None if sides is None else sides.venue_price,
        cash_discrepancy=Decimal(row.evidence.get("amount", 0)),
        value_usd=row.value_usd,
        risk_impact=row.risk_impact,
        action=action,
        reason=reason[:500],
        evidence={**row.evidence, "review": str(row.public_id), "version": row.version, "corrections": made},
        made_by=actor.id,
        at=at,
    )
