"""What becomes of a change of stops or terms, or of a cancel, once somebody knows: the same, whoever has found it out.

The broker's own word counts over everything: what two operators have decided is taken back by an answer that comes
after all. What stands at the broker otherwise is kept by the next look (`moved.py`).
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from risk.services import adjustments, stats
from risk.states import AdjustmentKind
from trading import rules
from trading.models import BrokerPosition, ChangeRequest, TradeLedger
from trading.services import facts
from trading.states import IN_FLIGHT, CancelState, ChangeKind, ChangeState, DecisionState

BROKER = Actor.system("broker")
DECIDED = "Two operators have decided it: the broker could not be asked."  # the answer, where no broker gave one
OLD = "The position shows the old stops."
OTHERS = "The position shows stops that are neither the old nor the new."
CLOSED = "The position is closed, and nobody knows whether it had the new stops by then."
FOUND = (OLD, OTHERS, CLOSED)  # what searches say
UNHEARD = (*FOUND, DECIDED)  # a refusal that the broker itself is heard to say takes their place
ENDED = "The order has ended, and nobody knows whether it had the new terms by then."
STOPS = ("stop_loss", "take_profit")
PRICES = ("limit_price", "stop_price", "stop_loss", "take_profit")


def settle_stops(
    change: ChangeRequest, *, state: ChangeState, answer: str, is_known: bool = True, by: Actor = BROKER
) -> ChangeRequest:
    """Keep what became of a change of stops: the new ones hold, or the old ones do. Locks the position.

    Takes: `is_known`, False where nobody will ever know. Returns the change as it stands, settled by somebody else too.
    """
    assert connection.in_atomic_block
    assert change.position is not None
    at = facts.database_clock()
    position = BrokerPosition.objects.select_for_update(no_key=True).get(pk=change.position.pk)
    change.refresh_from_db()
    takes_back = is_known and _takes_back(change, state)
    is_late = (change.state, state) == (ChangeState.REFUSED, ChangeState.DONE)
    is_said = state is ChangeState.REFUSED and change.answer in UNHEARD and answer not in UNHEARD
    if change.state not in IN_FLIGHT and not (is_late or is_said or takes_back):
        return change  # somebody else has found it out meanwhile
    ChangeRequest.objects.filter(pk=change.pk).update(state=state, answer=answer[:300], settled_at=at)
    is_followed = position.changes.filter(kind=ChangeKind.STOPS, state=ChangeState.DONE, pk__gt=change.pk).exists()
    stands = {name: getattr(position, name) for name in STOPS}
    is_back = takes_back and not is_followed and stands == _prices(change.after, names=STOPS)  # else seen by a look
    if state is ChangeState.DONE or is_back:
        if not is_followed:  # what was sent later was done later
            held = _prices(change.before if is_back else change.after, names=STOPS)
            BrokerPosition.objects.filter(pk=position.pk).update(**held)
        _keep_risk_of_stops(change, position=position, is_back=is_back, at=at)
    trail.record(
        action="position.stops_answered",
        actor=by,
        target=Target("position", str(position.public_id)),
        detail={"change_id": change.change_id, "state": state, "answer": answer},
        occurred_at=at,
    )
    change.refresh_from_db()
    return change


def _keep_risk_of_stops(change: ChangeRequest, *, position: BrokerPosition, is_back: bool, at: datetime) -> None:
    """Keep what another stop-loss has done to what the position can lose; a target bounds no loss."""
    risks = [(change.before["stop_loss"], change.risk_before), (change.after["stop_loss"], change.risk_after)]
    (old, before), (new, after) = reversed(risks) if is_back else risks
    if old == new:
        return
    words = f"position {position.public_id}: stop-loss {old or 'none'} → {new or 'none'}"
    adjustments.record(
        kind=AdjustmentKind.STOP_CHANGE, account_id=position.account_id, order_id=None, before=before, after=after,
        reason=words, at=at,
    )  # fmt: skip


def settle_terms(
    request: ChangeRequest, *, state: ChangeState, answer: str, is_known: bool = True, by: Actor = BROKER
) -> ChangeRequest:
    """Keep the answer: the new terms hold, or the old ones do, or nobody knows and the worse stays reserved. Locks the
    order.

    Takes: `is_known`, False where the order has ended, and nobody will ever know.
    """
    assert connection.in_atomic_block
    assert request.order is not None
    at = facts.database_clock()
    order = TradeLedger.objects.locked().get(pk=request.order.pk)
    request.refresh_from_db()
    takes_back = is_known and _takes_back(request, state) and not _is_followed(request)
    is_news = is_known and _is_news(request, state)
    if request.state not in IN_FLIGHT and not (is_news or takes_back):
        return request  # somebody else has found it out meanwhile
    ChangeRequest.objects.filter(pk=request.pk).update(state=state, answer=answer[:300], settled_at=at)
    held = request.after if state is ChangeState.DONE else request.before
    prices = _prices(held, names=PRICES)
    prices["stop_price"] = prices["stop_price"] or order.stop_price  # a trigger that was touched stays written
    since = order.changes.filter(kind=ChangeKind.TERMS, pk__gt=request.pk).exclude(state=ChangeState.REFUSED)
    holds = state is not ChangeState.UNKNOWN and is_known and not since.exists()  # what was sent later was done later
    if holds:  # of an order that has ended, its day and its stop are at stake
        restopped = Decimal(held.get("restopped") or 0)  # of a change that an earlier version sent, none is known
        reserve(order, risk=Decimal(held["risk"]), restopped=restopped, value=Decimal(held["value"]), **prices)
    if state is ChangeState.DONE or (
        takes_back and order.stop_loss == _prices(request.after, names=STOPS)["stop_loss"]
    ):
        _keep_risk_of_terms(request, order=order, is_back=takes_back, at=at)
    trail.record(
        action="order.terms_answered",
        actor=by,
        target=Target("order", str(order.public_id)),
        detail={"change_id": request.change_id, "state": state, "answer": answer},
        occurred_at=at,
    )
    request.refresh_from_db()
    return request


def _keep_risk_of_terms(request: ChangeRequest, *, order: TradeLedger, is_back: bool, at: datetime) -> None:
    """Keep what another stop-loss has done to what the order may cost."""
    terms = (request.after, request.before) if is_back else (request.before, request.after)
    (old, before), (new, after) = ((each["stop_loss"], Decimal(each["risk"])) for each in terms)
    if old == new:
        return
    adjustments.record(
        kind=AdjustmentKind.STOP_CHANGE, account_id=order.account_id, order_id=order.pk, before=before, after=after,
        reason=f"stop-loss {old or 'none'} → {new or 'none'}", at=at,
    )  # fmt: skip


def give_up_cancel(change: ChangeRequest, *, answer: str, by: Actor) -> ChangeRequest:
    """Give a lost cancel up: the order counts as working, and its owner may ask for another. Locks the order.

    That the order has ended is nobody's to say but the broker's.
    """
    assert connection.in_atomic_block
    assert change.order is not None
    at = facts.database_clock()
    order = TradeLedger.objects.locked().get(pk=change.order.pk)
    lost = ChangeRequest.objects.filter(pk=change.pk, state__in=IN_FLIGHT)
    if lost.update(state=ChangeState.REFUSED, answer=answer[:300], settled_at=at):
        if order.cancel in (CancelState.REQUESTED, CancelState.UNKNOWN):
            order.wish(CancelState.REFUSED)
        trail.record(
            action="order.cancel_answered",
            actor=by,
            target=Target("order", str(order.public_id)),
            detail={"change_id": change.change_id, "state": ChangeState.REFUSED, "answer": answer, "again_at": ""},
            occurred_at=at,
        )
    change.refresh_from_db()
    return change


def reserve(order: TradeLedger, *, risk: Decimal, restopped: Decimal, value: Decimal, **facts_beside: Any) -> None:
    """Write what the order may cost and is worth, and keep the day on which it was admitted in step with it."""
    reserved = rules.reserved_for(risk, leaves=order.leaves, quantity=order.quantity)
    TradeLedger.objects.filter(pk=order.pk).update(
        risk=risk, restopped=restopped, reserved=reserved, value=value, **facts_beside
    )
    if value != order.value:
        admitted_on = order.created_at.date()
        stats.count_changed(user_id=order.user_id, trading_date=admitted_on, value=value - order.value)


def _is_news(request: ChangeRequest, state: ChangeState) -> bool:
    """Tell whether an answer says otherwise than the search that has settled its request, or what nobody knew."""
    says_more = state is ChangeState.DONE or (state is ChangeState.REFUSED and request.answer == ENDED)
    return says_more and request.state == ChangeState.REFUSED


def _takes_back(change: ChangeRequest, state: ChangeState) -> bool:
    """Tell whether the broker refuses after all what operators have decided to be done."""
    if (change.state, state) != (ChangeState.DONE, ChangeState.REFUSED):
        return False
    return change.decisions.filter(state=DecisionState.APPLIED, to=ChangeState.DONE).exists()


def _is_followed(request: ChangeRequest) -> bool:
    """Tell whether the order's terms were asked to be changed again since."""
    assert request.order is not None
    return request.order.changes.filter(kind=ChangeKind.TERMS, pk__gt=request.pk).exists()


def _prices(texts: Mapping[str, str | None], *, names: tuple[str, ...]) -> dict[str, Decimal | None]:
    return {name: None if (text := texts[name]) is None else Decimal(text) for name in names}
