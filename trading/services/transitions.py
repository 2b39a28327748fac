"""How an order moves to where its broker puts it (execution reference §2): one statement with all that goes with it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from nexus.alerts.services import alerts
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import money
from nexus.idempotency.services import records
from trading import rules
from trading.models import Fill, TradeLedger
from trading.services import settling
from trading.services.settling import Held, Only
from trading.states import UNKNOWN, CancelState, Delivery, OrderStatus, RejectedBy, State, VenueState
from trading.types import OrderReport

BROKER = Actor.system("broker")


def follow(
    order: TradeLedger,
    to: State,
    *,
    report: OrderReport,
    standing: list[Fill],
    at: datetime,
    is_late: bool = False,
    why: str = "",
    held: Sequence[Held] = (),
    only: Only | None = None,
) -> None:
    """Move an order to where a report puts it, with the sums of its fills. Takes: as `move`; the fills `standing`."""
    move(
        order,
        to,
        reason=_reason(report, to=to) or why,
        evidence={"venue_state": report.state.value, "code": report.code, "words": report.reason[:300]},
        at=at,
        facts=_facts(order, report=report, to=to, standing=standing, is_late=is_late),
        held=held,
        only=only,
    )


def move(
    order: TradeLedger,
    to: State,
    *,
    reason: str,
    evidence: dict[str, Any],
    at: datetime,
    facts: Mapping[str, Any] = MappingProxyType({}),
    held: Sequence[Held] = (),
    only: Only | None = None,
) -> None:
    """Move an order, and write its audit event and all that goes with it in the same statement.

    Takes: the positions `held` that its fills have made and that are not written yet; `only`, its one fill where that
    is not booked yet. Raises: IllegalTransition when somebody else was faster.
    """
    came_from, is_done = order.state, to.delivery is Delivery.DONE
    event = trail.event(
        action=f"order.{(to.delivery if to is UNKNOWN else to.status).lower()}",
        actor=BROKER,
        target=Target("order", str(order.public_id)),
        detail={
            "before": str(came_from),
            "after": str(to),
            "reason": reason,
            "filled_quantity": facts.get("filled_quantity", order.filled_quantity),
            "average_price": facts.get("average_price", order.average_price),
            "reserved": rules.ZERO if is_done else facts.get("reserved", order.reserved),
            **evidence,
        },
        occurred_at=at,
    )
    closing = records.closing(object_id=str(order.public_id), at=at) if is_done else {}
    beside = settling.beside(held=held, event=event, closing=closing, only=only)
    order.move(to, at=at, reason=reason, evidence=evidence, facts=facts, beside=beside)
    is_told = came_from.delivery is Delivery.UNKNOWN or (is_done and came_from.delivery is not Delivery.SENDING)
    if is_told:  # nobody looks for an order that is being sent; one that was lost is found, by whatever way
        alerts.close_alert(dedupe_key=f"order-unknown:{order.public_id}", at=at)


def _facts(
    order: TradeLedger, *, report: OrderReport, to: State, standing: list[Fill], is_late: bool
) -> dict[str, Any]:
    """Return what is written beside the move: sums of the stored fills, never figures from the report."""
    average = rules.average_price((fill.quantity, fill.price) for fill in standing)
    filled = sum((fill.quantity for fill in standing), start=rules.ZERO)
    leaves = max(rules.ZERO, order.quantity - filled)
    ticket = report.venue_order_id or next((fill.venue_order_id for fill in report.fills), "")
    facts: dict[str, Any] = {
        "filled_quantity": filled,
        "average_price": None if average is None else money.half_even_to(average, settling.PRICE_STEP),
        "overfill_quantity": max(rules.ZERO, filled - order.quantity),
        "reserved": rules.reserved_for(order.risk, leaves=leaves, quantity=order.quantity),
        "venue_order_id": order.venue_order_id or ticket,
    }
    if not order.attempts:  # a database that was put back has forgotten that it was sent
        facts |= {"attempts": 1, "sent_at": order.created_at}
    if order.delivery == Delivery.UNKNOWN and to.delivery is Delivery.ACKED:
        facts |= {"absent_since": None, "absent_at": None}  # it is found, whoever has searched for it in vain
    if to.status is OrderStatus.REJECTED:
        facts |= {
            "rejected_by": RejectedBy.LOCAL if report.is_local else RejectedBy.BROKER,
            "reason": _reason(report, to=to),
            "reason_detail": report.reason[:300],
        }
    elif order.rejected_by:  # it was executed all the same, also where that was taken back before anybody heard of it
        facts |= {"rejected_by": "", "reason": ""}
    if order.delivery == Delivery.DONE and is_late:
        facts |= {"late_fill": True, "reason": "LATE_FILL"}
    facts |= cancel_ended(order, to)
    if to.status is OrderStatus.FILLED and order.cancel == CancelState.DONE:
        facts["cancel"] = CancelState.REFUSED  # late, and filled wins over canceled all the same
    return facts


def cancel_ended(order: TradeLedger, to: State) -> dict[str, Any]:
    """Return what becomes of a cancel that was asked for, where its order ends: nothing where none was."""
    if to.delivery is not Delivery.DONE or order.cancel not in (CancelState.REQUESTED, CancelState.UNKNOWN):
        return {}
    # Filled wins over canceled; any other end says that nothing of the order is left to cancel.
    return {"cancel": CancelState.REFUSED if to.status is OrderStatus.FILLED else CancelState.DONE}


def _reason(report: OrderReport, *, to: State) -> str:
    if to.status is not OrderStatus.REJECTED:
        return ""
    if report.state is VenueState.NEVER_SENT:
        return "NOT_AT_BROKER"
    return f"BROKER_{report.code}"[:64] if report.code else "BROKER_REFUSED"
