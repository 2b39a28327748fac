"""An operator's word on an order that nobody can find: proposed with evidence by one, applied by another (move 10).

It can only close the order. A fill is never decided, only booked from the broker's own report; one that appears later
is booked as late.
"""

from datetime import datetime
from typing import Any

from django.db import transaction

from accounts.services import approvals
from accounts.services.approvals import ApprovalClosed, ApprovalStale, Executed, Request, SecondPersonNeeded
from accounts.states import ApprovalState
from accounts.types import Principal
from nexus.alerts.services import alerts
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import money
from nexus.core.errors import Conflict, FieldError, Invalid
from nexus.idempotency.services import records
from trading.models import OrderDecision, TradeLedger
from trading.services import transitions
from trading.states import CANCELED, EXPIRED, REJECTED, DecisionState, Delivery, OrderStatus, RejectedBy

ENDS = {OrderStatus.REJECTED: REJECTED, OrderStatus.CANCELED: CANCELED, OrderStatus.EXPIRED: EXPIRED}
EVIDENCE_LENGTH_MIN = 10
KIND = "ORDER_DECISION"


class NotUndecided(Conflict):
    """Somebody can find the order, or the proposal is not open: the broker or somebody else was faster."""

    code = "order_not_undecided"


SamePerson = SecondPersonNeeded


def propose(*, order_id: int, to: OrderStatus, evidence: str, by: Principal, at: datetime) -> OrderDecision:
    """Propose how an order has ended that nobody can find. Raises: NotUndecided, Invalid."""
    approvals.expire(at=at)
    return _propose(order_id=order_id, to=to, evidence=evidence, by=by, at=at)


@transaction.atomic(durable=True)
def _propose(*, order_id: int, to: OrderStatus, evidence: str, by: Principal, at: datetime) -> OrderDecision:
    if to not in ENDS:
        ends = ", ".join(sorted(ENDS))
        raise Invalid(f"An order can be decided to be {ends}.", errors=[FieldError("/to", "invalid", ends)])
    if len(evidence.strip()) < EVIDENCE_LENGTH_MIN:
        raise Invalid("Say what shows it.", errors=[FieldError("/evidence", "required", "what shows it")])
    order = TradeLedger.objects.locked().get(pk=order_id)
    if not order.is_unfound:
        raise NotUndecided(f"The order is {order.public_status}: there is nothing to decide.")
    if order.filled_quantity and to is OrderStatus.REJECTED:
        detail = "The order has filled in part: its rest is canceled or expired."
        raise Invalid(detail, errors=[FieldError("/to", "invalid", detail)])
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
    approvals.ask(
        kind=KIND,
        target=Target("order_decision", str(decision.pk)),
        payload=_payload(decision, order=order),
        by=by,
        reason=evidence[: approvals.REASON_LENGTH_MAX],
        at=at,
    )
    _note("order.decision_proposed", decision, order=order, by=by, at=at)
    return decision


def decide(
    *, decision_id: int, approve: bool, by: Principal, at: datetime, reason: str = "What it says was looked at."
) -> OrderDecision:
    """Apply or refuse a proposal, as a second person. Raises: SamePerson, NotUndecided."""
    decision = OrderDecision.objects.get(pk=decision_id)
    public_id = approvals.about(kind=KIND, object_id=decision_id)
    if decision.state != DecisionState.PROPOSED or public_id is None:
        raise NotUndecided(f"The proposal is {decision.state} already.")
    try:
        approvals.decide(public_id=public_id, approve=approve, by=by, reason=reason, at=at)
    except ApprovalStale as exc:
        raise NotUndecided("The broker was faster: the order is no longer unknown. The proposal is void.") from exc
    except ApprovalClosed as exc:
        raise NotUndecided(exc.detail) from exc
    return OrderDecision.objects.get(pk=decision_id)


class _Decision:
    """How a proposal about an unknown order is looked at and done."""

    def payload(self, request: Request) -> dict[str, Any] | None:
        """Lock the order, then its proposal, and say how what would end."""
        decision = _locked(request)
        return None if decision.state != DecisionState.PROPOSED else _payload(decision, order=decision.order)

    def examine(self, request: Request, *, by: Principal, at: datetime) -> None:
        """Refuse whose order it is: its end gives back what was reserved. Raises: SecondPersonNeeded."""
        if OrderDecision.objects.filter(pk=int(request.object_id), order__account__user_id=by.pk).exists():
            raise SecondPersonNeeded("The order is yours. Another operator decides it.")

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed:
        """End the order as proposed."""
        decision = _locked(request)
        _settle(decision, DecisionState.APPLIED, by=by, at=at)
        order, to = decision.order, OrderStatus(decision.to)
        moved = {"before": str(order.state), "filled_quantity": order.filled_quantity}
        rejected = {"rejected_by": RejectedBy.BROKER} if to is OrderStatus.REJECTED else {}
        order.move(
            ENDS[to],
            at=at,
            reason="DECIDED_BY_OPERATORS",
            evidence={"evidence": decision.evidence, "proposed_by": decision.proposed_by},
            facts={"reason": "DECIDED_BY_OPERATORS", **rejected, **transitions.cancel_ended(order, ENDS[to])},
        )
        records.close(object_id=str(order.public_id), at=at)
        alerts.close_alert(dedupe_key=f"order-unknown:{order.public_id}", at=at)
        _note("order.decision_applied", decision, order=order, by=by, at=at, **moved)
        return Executed(decision)

    def close(self, request: Request, *, state: ApprovalState, by: Principal | None, reason: str, at: datetime) -> None:
        """End the proposal: the order stays UNKNOWN. One that came too late is kept as void."""
        decision = _locked(request)
        if decision.state != DecisionState.PROPOSED:
            return
        to = DecisionState.REFUSED if state == ApprovalState.REJECTED else DecisionState.STALE
        _settle(decision, to, by=by if to is DecisionState.REFUSED or _is_other(by, decision) else None, at=at)
        if by is not None:
            _note(f"order.decision_{to.lower()}", decision, order=decision.order, by=by, at=at)


DECISION = _Decision()


def _locked(request: Request) -> OrderDecision:
    """Lock the order, then its proposal."""
    order_id = OrderDecision.objects.values_list("order_id", flat=True).get(pk=int(request.object_id))
    order = TradeLedger.objects.locked().get(pk=order_id)
    decision = OrderDecision.objects.select_for_update(no_key=True).get(pk=int(request.object_id))
    decision.order = order
    return decision


def _payload(decision: OrderDecision, *, order: TradeLedger) -> dict[str, Any]:
    is_found = order.delivery == Delivery.ACKED and not order.is_unfound  # it is shown again: the proposal is void
    return {
        "order": str(order.public_id),
        "delivery": "FOUND" if is_found else str(order.delivery),
        "to": str(decision.to),
        "evidence": decision.evidence,
    } | ({"filled": money.as_text(order.filled_quantity)} if order.filled_quantity else {})


def _is_other(by: Principal | None, decision: OrderDecision) -> bool:
    return by is not None and str(by.public_id) != decision.proposed_by


def _settle(decision: OrderDecision, to: DecisionState, *, by: Principal | None, at: datetime) -> None:
    decision.state, decision.decided_by, decision.decided_at = to, "" if by is None else str(by.public_id), at
    decision.save(update_fields=["state", "decided_by", "decided_at"])


def _note(
    action: str, decision: OrderDecision, *, order: TradeLedger, by: Principal, at: datetime, **beside: object
) -> None:
    trail.record(
        action=action,
        actor=Actor.user(by.public_id),
        target=Target("order", str(order.public_id)),
        detail={
            "decision_id": decision.pk,
            "to": decision.to,
            "evidence": decision.evidence,
            "after": str(order.state),
            **beside,
        },
        occurred_at=at,
    )
