"""An operator's word on an order that nobody can find: proposed with evidence by one, applied by another (move 10).

It can only close the order. A fill is never decided, only booked from the broker's own report; one that appears later
is booked as late.
"""

from datetime import datetime

from django.db import transaction

from accounts.types import Principal
from nexus.alerts.services import alerts
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, Denied, FieldError, Invalid
from nexus.idempotency.services import records
from trading.models import OrderDecision, TradeLedger
from trading.states import CANCELED, EXPIRED, REJECTED, DecisionState, Delivery, OrderStatus, RejectedBy

ENDS = {OrderStatus.REJECTED: REJECTED, OrderStatus.CANCELED: CANCELED, OrderStatus.EXPIRED: EXPIRED}
EVIDENCE_LENGTH_MIN = 10


class NotUndecided(Conflict):
    """The order is not UNKNOWN, or the proposal is not open: the broker or somebody else was faster."""

    code = "order_not_undecided"


class SamePerson(Denied):
    """Who proposes may not decide."""

    code = "second_person_needed"


@transaction.atomic(durable=True)
def propose(*, order_id: int, to: OrderStatus, evidence: str, by: Principal, at: datetime) -> OrderDecision:
    """Propose how an UNKNOWN order has ended. Raises: NotUndecided, Invalid."""
    if to not in ENDS:
        ends = ", ".join(sorted(ENDS))
        raise Invalid(f"An order can be decided to be {ends}.", errors=[FieldError("/to", "invalid", ends)])
    if len(evidence.strip()) < EVIDENCE_LENGTH_MIN:
        raise Invalid("Say what shows it.", errors=[FieldError("/evidence", "required", "what shows it")])
    order = TradeLedger.objects.locked().get(pk=order_id)
    if order.delivery != Delivery.UNKNOWN:
        raise NotUndecided(f"The order is {order.public_status}: there is nothing to decide.")
    if order.decisions.filter(state=DecisionState.PROPOSED).exists():
        raise NotUndecided("A proposal for this order is open already.")
    decision = OrderDecision.objects.create(
        order=order,
        to=to,
        evidence=evidence,
        state=DecisionState.PROPOSED,
        proposed_by=str(by.public_id),
        proposed_at=at,
    )
    _note("order.decision_proposed", decision, order=order, by=by, at=at)
    return decision


def decide(*, decision_id: int, approve: bool, by: Principal, at: datetime) -> OrderDecision:
    """Apply or refuse a proposal, as a second person. Raises: SamePerson, NotUndecided."""
    decision, is_stale = _decide(decision_id=decision_id, approve=approve, by=by, at=at)
    if is_stale:
        raise NotUndecided("The broker was faster: the order is no longer unknown. The proposal is void.")
    return decision


@transaction.atomic(durable=True)
def _decide(*, decision_id: int, approve: bool, by: Principal, at: datetime) -> tuple[OrderDecision, bool]:
    """Lock the order, then its proposal, and decide; a proposal that came too late is kept as void."""
    order_id = OrderDecision.objects.values_list("order_id", flat=True).get(pk=decision_id)
    order = TradeLedger.objects.locked().get(pk=order_id)
    decision = OrderDecision.objects.select_for_update(no_key=True).get(pk=decision_id)
    if decision.proposed_by == str(by.public_id):
        raise SamePerson("Somebody else has to decide what you have proposed.")
    if decision.state != DecisionState.PROPOSED:
        raise NotUndecided(f"The proposal is {decision.state} already.")
    is_stale = approve and order.delivery != Delivery.UNKNOWN
    decision.state = DecisionState.STALE if is_stale else DecisionState.APPLIED if approve else DecisionState.REFUSED
    decision.decided_by, decision.decided_at = str(by.public_id), at
    decision.save(update_fields=["state", "decided_by", "decided_at"])
    if decision.state == DecisionState.APPLIED:
        to = OrderStatus(decision.to)
        rejected = {"rejected_by": RejectedBy.BROKER} if to is OrderStatus.REJECTED else {}
        order.move(
            ENDS[to],
            at=at,
            reason="DECIDED_BY_OPERATORS",
            evidence={"evidence": decision.evidence, "proposed_by": decision.proposed_by},
            facts={"reason": "DECIDED_BY_OPERATORS", **rejected},
        )
        records.close(object_id=str(order.public_id), at=at)
        alerts.close_alert(dedupe_key=f"order-unknown:{order.public_id}", at=at)
    _note(f"order.decision_{decision.state.lower()}", decision, order=order, by=by, at=at)
    return decision, is_stale


def _note(action: str, decision: OrderDecision, *, order: TradeLedger, by: Principal, at: datetime) -> None:
    trail.record(
        action=action,
        actor=Actor.user(by.public_id),
        target=Target("order", str(order.public_id)),
        detail={
            "decision_id": decision.pk,
            "to": decision.to,
            "evidence": decision.evidence,
            "after": str(order.state),
        },
        occurred_at=at,
    )
