"""An operator's word on a change whose answer was lost: proposed with evidence by one, applied by another.

For a broker that is gone for good: nobody else can say what became of the change, and until somebody does no stop of
its account is eased and it is not put aside. A cancel can only be given up: that an order has ended is said by its
own decision (`decisions.py`). What the broker says after all counts over any decision (`settlements.py`).
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.services import approvals
from accounts.services.approvals import ApprovalClosed, ApprovalStale, Executed, Request, SecondPersonNeeded
from accounts.states import ApprovalState
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, FieldError, Invalid
from trading.models import BrokerPosition, ChangeDecision, ChangeRequest, TradeLedger
from trading.services import coverage, facts, lost, settlements
from trading.states import ChangeKind, ChangeState, DecisionState

ENDS: Mapping[str, tuple[ChangeState, ...]] = MappingProxyType({
    ChangeKind.STOPS.value: (ChangeState.DONE, ChangeState.REFUSED),
    ChangeKind.TERMS.value: (ChangeState.DONE, ChangeState.REFUSED),
    ChangeKind.CANCEL.value: (ChangeState.REFUSED,),
})  # fmt: skip
EVIDENCE_LENGTH_MIN, EVIDENCE_LENGTH_MAX = 10, 2000
KIND = "CHANGE_DECISION"


class ChangeNotUndecided(Conflict):
    """The change is answered, or not lost yet, or the proposal is not open: the broker or somebody else was faster."""

    code = "change_not_undecided"


def propose(*, change_id: int, to: ChangeState, evidence: str, by: Principal, at: datetime) -> ChangeDecision:
    """Propose what became of a change whose answer was lost. Raises: ChangeNotUndecided, SecondPersonNeeded, Invalid,
    Denied.
    """
    approvals.expire(at=at)
    return _propose(change_id=change_id, to=to, evidence=evidence, by=by, at=at)


@transaction.atomic(durable=True)
def _propose(*, change_id: int, to: ChangeState, evidence: str, by: Principal, at: datetime) -> ChangeDecision:
    approvals.require_operator(by)
    change = _locked_change(change_id)
    ends = ENDS[change.kind]
    if to not in ends:
        detail = f"A {change.kind} request can be decided to be {' or '.join(ends)}."
        raise Invalid(detail, errors=[FieldError("/to", "invalid", ", ".join(ends))])
    if not EVIDENCE_LENGTH_MIN <= len(evidence.strip()) <= EVIDENCE_LENGTH_MAX:
        words = f"what shows it, in {EVIDENCE_LENGTH_MIN} to {EVIDENCE_LENGTH_MAX} characters"
        raise Invalid("Say what shows it.", errors=[FieldError("/evidence", "required", words)])
    if of(change).account.user_id == by.pk:
        raise SecondPersonNeeded("The account is yours. Another operator asks for it.")
    if barred := obstacle(change):
        raise ChangeNotUndecided(barred)
    decision = ChangeDecision.objects.create(
        change=change, to=to, evidence=evidence, state=DecisionState.PROPOSED, proposed_by=str(by.public_id),
        proposed_at=at,
    )  # fmt: skip
    target, reason = Target("change_decision", str(decision.pk)), evidence[: approvals.REASON_LENGTH_MAX]
    approvals.ask(kind=KIND, target=target, payload=_payload(decision), by=by, reason=reason, at=at)
    _note("change.decision_proposed", decision, by=by, at=at)
    return decision


def decide(
    *, decision_id: int, approve: bool, by: Principal, at: datetime, reason: str = "What it says was looked at."
) -> ChangeDecision:
    """Apply or refuse a proposal, as a second person. Raises: SecondPersonNeeded, ChangeNotUndecided."""
    decision = ChangeDecision.objects.get(pk=decision_id)
    public_id = approval_of(decision)
    if decision.state != DecisionState.PROPOSED or public_id is None:
        raise ChangeNotUndecided(f"The proposal is {decision.state} already.")
    try:
        approvals.decide(public_id=public_id, approve=approve, by=by, reason=reason, at=at)
    except ApprovalStale as exc:
        raise ChangeNotUndecided("The broker was faster: the change is answered. The proposal is void.") from exc
    except ApprovalClosed as exc:
        raise ChangeNotUndecided(exc.detail) from exc
    return ChangeDecision.objects.get(pk=decision_id)


def obstacle(change: ChangeRequest) -> str:
    """Return why nothing can be proposed of a change now, if anything: it is known, or not lost, or asked for."""
    if not is_unanswered(change):
        return "The change is answered, or its order has ended: there is nothing to decide."
    if change.sent_at >= facts.database_clock() - lost.TOLD_AFTER:
        return "It was sent less than a minute ago. Wait: the broker is being asked."
    return "A proposal for this change is open already." if proposal(change) else ""


def is_unanswered(change: ChangeRequest) -> bool:
    """Tell whether nobody knows what became of it."""
    return ChangeRequest.objects.filter(coverage.UNANSWERED, pk=change.pk).exists()


def of(change: ChangeRequest) -> TradeLedger | BrokerPosition:
    """Return the order or the position that a change is of."""
    changed = change.order or change.position
    assert changed is not None
    return changed


def proposal(change: ChangeRequest) -> ChangeDecision | None:
    """Return what is proposed of a change and not decided yet."""
    return next((each for each in change.decisions.all() if each.state == DecisionState.PROPOSED), None)


def approval_of(decision: ChangeDecision) -> UUID | None:
    """Return the request by which a second person decides a proposal."""
    return approvals.about(kind=KIND, object_id=decision.pk)


class _Decision:
    """How a proposal about a lost change is looked at and done."""

    def payload(self, request: Request) -> dict[str, Any] | None:
        """Lock what the change is of, then its proposal, and say what would be decided; nothing once it is answered."""
        decision = _locked(request)
        is_open = decision.state == DecisionState.PROPOSED and is_unanswered(decision.change)
        return _payload(decision) if is_open else None

    def examine(self, request: Request, *, by: Principal, at: datetime) -> None:
        """Refuse whose account it is: what counts of it changes what may be done there. Raises: SecondPersonNeeded."""
        if of(_locked(request).change).account.user_id == by.pk:
            raise SecondPersonNeeded("The account is yours. Another operator decides it.")

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed:
        """Settle the change as proposed, as the broker's own word would."""
        decision = _locked(request)
        change, to, actor = decision.change, ChangeState(decision.to), Actor.user(by.public_id)
        _close(decision, DecisionState.APPLIED, by=by, at=at)
        match ChangeKind(change.kind):
            case ChangeKind.STOPS:
                settlements.settle_stops(change, state=to, answer=settlements.DECIDED, by=actor)
            case ChangeKind.TERMS:
                settlements.settle_terms(change, state=to, answer=settlements.DECIDED, by=actor)
            case ChangeKind.CANCEL:
                settlements.give_up_cancel(change, answer=settlements.DECIDED, by=actor)
        lost.end(change, at=at)
        _note("change.decision_applied", decision, by=by, at=at)
        return Executed(decision)

    def close(self, request: Request, *, state: ApprovalState, by: Principal | None, reason: str, at: datetime) -> None:
        """End the proposal: the change stays as it is. One that came too late is kept as void."""
        decision = _locked(request)
        if decision.state != DecisionState.PROPOSED:
            return
        to = DecisionState.REFUSED if state == ApprovalState.REJECTED else DecisionState.STALE
        is_other = by is not None and str(by.public_id) != decision.proposed_by
        _close(decision, to, by=by if is_other else None, at=at)
        if by is not None:
            _note(f"change.decision_{to.lower()}", decision, by=by, at=at)


DECISION = _Decision()


def _locked_change(change_id: int) -> ChangeRequest:
    """Lock the order or the position that a change is of, under which it is settled, and read it then."""
    before = ChangeRequest.objects.get(pk=change_id)
    order, position = before.order, before.position
    if order is not None:
        order = TradeLedger.objects.locked().get(pk=order.pk)
    if position is not None:
        position = BrokerPosition.objects.select_for_update(no_key=True).get(pk=position.pk)
    change = ChangeRequest.objects.get(pk=change_id)
    change.order, change.position = order, position
    return change


def _locked(request: Request) -> ChangeDecision:
    """Lock what the change is of, then its proposal."""
    decision_id = int(request.object_id)
    change = _locked_change(ChangeDecision.objects.values_list("change_id", flat=True).get(pk=decision_id))
    decision = ChangeDecision.objects.select_for_update(no_key=True).get(pk=decision_id)
    decision.change = change
    return decision


def _payload(decision: ChangeDecision) -> dict[str, Any]:
    """Say what is decided of what. Whether the answer was lost, or a process died, is the same."""
    change = decision.change
    whole = of(change)
    return {
        "change": str(change.public_id),
        "kind": change.kind,
        "account": str(whole.account),
        "order" if change.order else "position": str(whole.public_id),
        "what": str(whole),
        "before": change.before,
        "after": change.after,
        "to": decision.to,
        "evidence": decision.evidence,
    }


def _close(decision: ChangeDecision, to: DecisionState, *, by: Principal | None, at: datetime) -> None:
    decision.state, decision.decided_by, decision.decided_at = to, "" if by is None else str(by.public_id), at
    decision.save(update_fields=["state", "decided_by", "decided_at"])


def _note(action: str, decision: ChangeDecision, *, by: Principal, at: datetime) -> None:
    change = decision.change
    target = "order" if change.order else "position"
    trail.record(
        action=action,
        actor=Actor.user(by.public_id),
        target=Target(target, str(of(change).public_id)),
        detail={
            "decision_id": decision.pk, "change_id": change.change_id, "kind": change.kind, "to": decision.to,
            "evidence": decision.evidence,
        },
        occurred_at=at,
    )  # fmt: skip
