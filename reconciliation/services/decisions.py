"""An operator's decision of a difference: its effect is shown first, it is applied once, and only to what was shown.

It takes the version of the evidence that the operator saw. Evidence that the newest complete run does not confirm is
old, and a decision raised on old data is refused. Above RECONCILIATION_STOP_ABOVE, and where nobody can say what the
difference is worth, a second operator agrees to exactly that version before anything is done. So do two where a broker
has been gone for a day: they may keep ours, so that its account can be put aside.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.services import approvals
from accounts.services.approvals import Executed, Request, SecondPersonNeeded
from accounts.states import ApprovalState
from accounts.types import Principal
from nexus.audit.types import Actor, Target
from nexus.core import money
from nexus.core.errors import Conflict, FieldError, Invalid, NotFound
from reconciliation.models import Cycle, ReconciliationLog, Review, Sighting
from reconciliation.services import cycles, reviews
from reconciliation.states import Action, Decision, Entry, ReviewState, Status, Trigger
from reconciliation.types import Outcome, from_evidence
from trading.services import accounts, comparison, corrections
from trading.services.corrections import Origin
from trading.states import CorrectionKind

KIND = "REVIEW_DECISION"
REASON_LENGTH_MIN = 10
GONE_AFTER = timedelta(hours=24)  # without a complete run there is no fresh evidence to wait for


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
    _require_current(row, decision, version=row.version, at=at)
    if decision is Decision.KEEP_OURS:
        return Effect(
            row.version,
            ("Our books stay as they are.", "This very difference raises nothing more; any other figure does."),
        )
    return Effect(row.version, _effect(row))


@dataclass(frozen=True, slots=True)
class Decided:
    """A review after a decision: how the fresh run ended where one was asked for, or who has to agree first."""

    review: Review
    outcome: Outcome | None = None
    approval: uuid.UUID | None = None


def decide(
    *, review_id: uuid.UUID, decision: Decision, version: int, reason: str, by: Principal, at: datetime
) -> Decided:
    """Apply a decision once, or ask a second operator to agree where `needs_another` says so.

    Raises: Denied, NotFound, Invalid, Taken, NotOpen, OldEvidence, BooksMoved, NoPrice, ApprovalPending,
    SecondPersonNeeded. Nothing is written then.
    """
    if len(reason.strip()) < REASON_LENGTH_MIN:
        raise Invalid("Say why.", errors=[FieldError("/reason", "required", "why, for the audit")])
    decided = _decide(review_id=review_id, decision=decision, version=version, reason=reason, by=by, at=at)
    row = decided.review
    if decision is not Decision.RUN_AGAIN:
        return decided
    outcome = cycles.run(account_id=row.account_id, trigger=Trigger.REVIEW, at=at, actor=Actor.user(by.public_id))
    row.refresh_from_db()
    return Decided(row, outcome)


def agree(*, review_id: uuid.UUID, reason: str, by: Principal, at: datetime) -> Review:
    """Agree, as a second operator, to what another one has decided. Raises: NotFound, as `approvals.decide`."""
    public_id = approvals.about(kind=KIND, object_id=review_id)
    if public_id is None:
        raise NotFound("Nobody has asked for a decision of this review.")
    approvals.decide(public_id=public_id, approve=True, by=by, reason=reason, at=at)
    return Review.objects.get(public_id=review_id)


def needs_another(row: Review, *, at: datetime) -> bool:
    """Tell whether a difference is too large for one person, of unknown worth, or of a broker that is gone."""
    is_large = row.value_usd is None or abs(row.value_usd) > settings.RECONCILIATION_STOP_ABOVE
    return is_large or is_gone(row, at=at)


def is_gone(row: Review, *, at: datetime) -> bool:
    """Tell whether no run has seen a difference for so long that nobody can ask for fresh figures."""
    return at - row.seen_at > GONE_AFTER


@transaction.atomic(durable=True)
def _decide(
    *, review_id: uuid.UUID, decision: Decision, version: int, reason: str, by: Principal, at: datetime
) -> Decided:
    """Lock the account's cycle, so that no run concludes meanwhile, then the review; judge, act and write it down."""
    _lock_cycle(review_id)
    row = reviews.take(review_id=review_id, by=by, at=at)
    actor = Actor.user(by.public_id)
    if decision is Decision.RUN_AGAIN:
        _log(row, Action.RUN_AGAIN, [], reason=reason, actor=actor, at=at)
        reviews.note("review.run_again", row, actor=actor, at=at, reason=reason)
        return Decided(row)
    _require_current(row, decision, version=version, at=at)
    if needs_another(row, at=at):
        target, payload = Target("review", str(row.public_id)), _payload(row, decision=decision)
        request = approvals.ask(kind=KIND, target=target, payload=payload, by=by, reason=reason, at=at)
        return Decided(row, approval=request.public_id)
    _refuse_own(row, by=by)
    _apply(row, decision, reason=reason, actor=actor, at=at)
    return Decided(row)


def _refuse_own(row: Review, *, by: Principal) -> None:
    """Refuse whose account it is: the books say what they have lost, and may still lose. Raises: SecondPersonNeeded."""
    if row.account.user_id == by.pk:
        raise SecondPersonNeeded("The account is yours. Another operator decides it.")


def _apply(row: Review, decision: Decision, *, reason: str, actor: Actor, at: datetime) -> None:
    made: list[str] = []
    if decision is Decision.ACCEPT_BROKER:
        made = _accept(row, reason=reason, actor=actor, at=at)
        Sighting.objects.filter(account_id=row.account_id, key=row.key).delete()
        row.state = ReviewState.SYNCED.value
    else:
        Sighting.objects.filter(account_id=row.account_id, key=row.key).update(kept=row.signature)
        row.state = ReviewState.KEPT.value
    row.decision, row.reason = decision.value, reason[:500]
    row.decided_by, row.decided_at = actor.id, at
    row.save()
    action = Action.BROKER_SYNCED if decision is Decision.ACCEPT_BROKER else Action.KEPT
    _log(row, action, made, reason=reason, actor=actor, at=at)
    reviews.note(f"review.{row.state.lower()}", row, actor=actor, at=at, reason=reason)


class _Agreed:
    """How a decision that takes two operators is looked at and done."""

    def payload(self, request: Request) -> Mapping[str, Any] | None:
        """Lock the cycle and the review, and say what would be decided on which figures."""
        review_id = uuid.UUID(request.object_id)
        _lock_cycle(review_id)
        row = reviews.locked(review_id)
        decision = Decision(request.payload["decision"])
        return None if row is None or row.state != ReviewState.OPEN else _payload(row, decision=decision)

    def examine(self, request: Request, *, by: Principal, at: datetime) -> None:
        """Refuse whose account it is, and while the newest complete run does not confirm the figures.

        Raises: SecondPersonNeeded, OldEvidence.
        """
        _refuse_own(self._row(request), by=by)
        decision = Decision(request.payload["decision"])
        _require_current(self._row(request), decision, version=request.payload["version"], at=at)

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed:
        """Apply the decision, for the reason of who asked."""
        row = self._row(request)
        decision = Decision(request.payload["decision"])
        _apply(row, decision, reason=request.reason, actor=Actor.user(by.public_id), at=at)
        return Executed(row)

    def close(self, request: Request, *, state: ApprovalState, by: Principal | None, reason: str, at: datetime) -> None:
        """Leave the review as it is: open, for another decision."""

    def _row(self, request: Request) -> Review:
        return Review.objects.get(public_id=uuid.UUID(request.object_id))


AGREED = _Agreed()
_OF_THE_MARKET = frozenset({"mark", "conversion"})


def _payload(row: Review, *, decision: Decision) -> dict[str, Any]:
    """Say what is decided: other figures make it another decision.

    The market's price is no such figure: each run writes down that of its moment.
    """
    figures = {name: figure for name, figure in row.evidence.items() if name not in _OF_THE_MARKET}
    return {
        "decision": decision.value,
        "version": row.version,
        "account": row.account_id,
        "key": row.key,
        "evidence": figures,
    }


def _lock_cycle(review_id: uuid.UUID) -> None:
    account_id = Review.objects.filter(public_id=review_id).values_list("account_id", flat=True).first()
    Cycle.objects.select_for_update(of=("self",), no_key=True).filter(account_id=account_id).first()


def _require_current(row: Review, decision: Decision, *, version: int, at: datetime) -> None:
    cycle = Cycle.objects.filter(account_id=row.account_id).first()
    age_max = timedelta(seconds=settings.RECONCILIATION_AGE_MAX_S)
    is_newest = cycle is not None and cycle.last_run == row.seen_run
    is_fresh = cycle is not None and cycle.succeeded_at is not None and at - cycle.succeeded_at <= age_max
    # It moves nothing in our books: what the last run has left out, or was told since, stands in nobody's way.
    is_settled = decision is Decision.KEEP_OURS and is_gone(row, at=at) and not is_fresh
    if version != row.version or not ((is_newest and is_fresh) or is_settled):
        raise OldEvidence("The figures have changed, or are too old. Ask for a fresh run and look again.")
    if is_settled:
        return
    # A position that has moved refuses its correction; a balance has no such row of its own.
    if "amount" in row.evidence and comparison.has_told_late(
        accounts.get(account_id=row.account_id), since=row.seen_at
    ):
        raise OldEvidence("Money was booked since that may be this very difference. Ask for a fresh run.")


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
