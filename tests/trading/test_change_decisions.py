"""What two operators decide of a change whose answer was lost, at a broker that cannot be asked any more."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError
from django.utils.timezone import now

from accounts.models import ApprovalRequest, User
from accounts.services import approvals
from accounts.services.approvals import SecondPersonNeeded
from nexus.alerts.models import Alert
from nexus.core.errors import Denied, Invalid
from reconciliation.services.putting_aside import PUT_ASIDE
from risk.models import RiskAdjustment, UserDailyStats
from risk.states import AdjustmentKind, StopLevel
from tests import stops
from tests.stops import stop
from tests.threads import together
from tests.trading import releases
from tests.trading.desk import act
from trading.models import BrokerPosition, ChangeDecision, ChangeRequest, TradeLedger, TradingAccount
from trading.services import change_decisions, changes, lost, resolution, settlements
from trading.services.change_decisions import ChangeNotUndecided
from trading.services.putting_aside import NotChangeable
from trading.states import CancelState, ChangeState, DecisionState

DONE, REFUSED = ChangeState.DONE, ChangeState.REFUSED
SAID = "Their desk says so on the phone, Ms Adams, 14:05."
NOWHERE = "http://127.0.0.1:9"


def propose(change: ChangeRequest, to: ChangeState, by: User, *, evidence: str = SAID) -> ChangeDecision:
    return change_decisions.propose(change_id=change.pk, to=to, evidence=evidence, by=by, at=now())


def decide(decision: ChangeDecision, by: User, *, approve: bool = True) -> ChangeDecision:
    return change_decisions.decide(decision_id=decision.pk, approve=approve, by=by, at=now())


def settled(change: ChangeRequest, to: ChangeState, people: Any) -> ChangeRequest:
    decide(propose(change, to, people[0]), people[1])
    change.refresh_from_db()
    return change


def told() -> list[str]:
    rows = Alert.objects.filter(kind="CHANGE_UNKNOWN", closed_at__isnull=True)
    return list(rows.values_list("kind", flat=True))


def adjusted() -> list[tuple[Decimal | None, Decimal | None]]:
    rows = RiskAdjustment.objects.filter(kind=AdjustmentKind.STOP_CHANGE).order_by("pk")
    return list(rows.values_list("before", "after"))


def reserved() -> tuple[Decimal, Decimal, Decimal, Decimal]:
    order, day = TradeLedger.objects.get(), UserDailyStats.objects.get()
    return order.risk, order.reserved, order.value, day.value_admitted


# --- Each kind, each decision --------------------------------------------------------------------------------------
@pytest.mark.parametrize(("to", "stands"), [(DONE, "1.0790"), (REFUSED, "1.0800")])
def test_stops_are_decided_either_way_as_the_broker_would_have_answered(lose, people, new_events, to, stands):
    change = settled(lose("STOPS", arrives=to is DONE), to, people)

    assert (change.state, change.answer) == (to, settlements.DECIDED)
    assert BrokerPosition.objects.get().stop_loss == Decimal(stands)
    assert adjusted() == ([(change.risk_before, change.risk_after)] if to is DONE else [])
    assert told() == []
    actions = [(event.action, event.actor_id) for event in new_events() if "decision" in event.action]
    assert actions == [
        ("change.decision_proposed", str(people[0].public_id)), ("change.decision_applied", str(people[1].public_id)),
    ]  # fmt: skip
    (answered,) = [event for event in new_events() if event.action == "position.stops_answered"][-1:]
    assert answered.actor_id == str(people[1].public_id)


@pytest.mark.parametrize("to", [DONE, REFUSED])
def test_terms_are_decided_either_way_and_what_they_reserve_with_them(lose, people, to):
    change = lose("TERMS", arrives=to is DONE)
    worse = TradeLedger.objects.get().risk
    change = settled(change, to, people)

    held = change.after if to is DONE else change.before
    order = TradeLedger.objects.get()
    assert change.state == to
    assert (order.limit_price, order.stop_loss) == (Decimal(held["limit_price"]), Decimal(held["stop_loss"]))
    assert reserved() == (Decimal(held["risk"]),) * 2 + (Decimal(held["value"]),) * 2
    assert (order.risk == worse) is (to is DONE)  # the new stop is the further one
    assert len(adjusted()) == (to is DONE)
    assert told() == []


def test_a_cancel_is_given_up_and_its_order_works_on_and_can_be_canceled_again(lose, client, people, paper):
    change = settled(lose("CANCEL"), REFUSED, people)

    order = TradeLedger.objects.get()
    assert (change.state, order.cancel, order.delivery) == (REFUSED, CancelState.REFUSED, "ACKED")
    assert told() == []
    assert act(client, f"/trading/orders/{order.public_id}/cancel").json()["status"] == "CANCELED"


def test_that_an_order_has_ended_is_not_decided_by_its_cancel(lose, people):
    with pytest.raises(Invalid) as refused:
        propose(lose("CANCEL"), DONE, people[0])

    assert [(each.pointer, each.detail) for each in refused.value.errors] == [("/to", "REFUSED")]
    assert not ChangeDecision.objects.exists()


@pytest.mark.parametrize("kind", ["STOPS", "TERMS", "CANCEL"])
def test_what_nobody_settled_because_its_process_died_is_decided_too(lose, people, kind):
    change = lose(kind)
    ChangeRequest.objects.update(state="SENDING")
    TradeLedger.objects.filter(cancel=CancelState.UNKNOWN).update(cancel=CancelState.REQUESTED)

    assert settled(change, REFUSED, people).state == REFUSED
    assert TradeLedger.objects.get().cancel in (CancelState.NONE, CancelState.REFUSED)


@pytest.mark.parametrize("kind", ["STOPS", "TERMS", "CANCEL"])
def test_once_it_is_decided_the_account_is_put_aside_and_the_stop_eased(lose, people, account, settings, kind):
    change = lose(kind)
    stops.reconciled(account)
    stop(reason="Their terminal is gone.")
    settings.MT5_GATEWAY_URL = NOWHERE

    def put_aside() -> ApprovalRequest:
        return PUT_ASIDE.ask(public_id=account.public_id, reason="Its broker is gone.", by=people[0], at=now())

    with pytest.raises(NotChangeable, match="Nobody knows yet"):
        put_aside()
    settled(change, REFUSED, people)
    approvals.decide(public_id=put_aside().public_id, approve=True, by=people[1], reason="Seen.", at=now())
    assert not TradingAccount.objects.get().is_active

    assert releases.approve(releases.propose(people[0]), people[1]) == StopLevel.ACTIVE


def test_a_stop_is_not_eased_over_a_change_that_nobody_has_decided(lose, people, account):
    lose("STOPS")
    stops.reconciled(account)
    stop()

    assert "ORDERS_KNOWN" in releases.failing(releases.propose(people[0]), people[1])


# --- Two people, and which changes ---------------------------------------------------------------------------------
def test_nobody_decides_alone(lose, people):
    change = lose("STOPS")
    decision = propose(change, DONE, people[0])

    with pytest.raises(SecondPersonNeeded):
        decide(decision, people[0])
    with pytest.raises(IntegrityError):
        ChangeDecision.objects.filter(pk=decision.pk).update(decided_by=decision.proposed_by)

    change.refresh_from_db()
    assert (change.state, ChangeDecision.objects.get().state) == ("UNKNOWN", "PROPOSED")


def test_nobody_proposes_or_decides_a_change_on_an_account_of_ones_own(lose, people):
    change = lose("STOPS")
    decision = propose(change, DONE, people[0])
    TradingAccount.objects.update(user=people[1])

    with pytest.raises(SecondPersonNeeded):
        decide(decision, people[1])
    decide(decision, people[2], approve=False)
    with pytest.raises(SecondPersonNeeded):
        propose(change, DONE, people[1])

    change.refresh_from_db()
    assert change.state == "UNKNOWN"
    assert list(ChangeDecision.objects.values_list("state", flat=True)) == ["REFUSED"]


def test_only_operators_propose(lose, trader):
    with pytest.raises(Denied):
        propose(lose("STOPS"), DONE, trader)
    assert not ChangeDecision.objects.exists()


@pytest.mark.parametrize(("to", "evidence", "field"), [
    (ChangeState.UNKNOWN, SAID, "/to"), (ChangeState.SENDING, SAID, "/to"), (DONE, "On phone ", "/evidence"),
    (DONE, " " * 30, "/evidence"), (DONE, "x" * 2001, "/evidence"),
])  # fmt: skip
def test_what_is_not_a_decision_is_refused_by_its_field(lose, people, to, evidence, field):
    with pytest.raises(Invalid) as refused:
        propose(lose("STOPS"), to, people[0], evidence=evidence)

    assert [each.pointer for each in refused.value.errors] == [field]
    assert not ChangeDecision.objects.exists()
    assert not ApprovalRequest.objects.exists()


def test_what_people_have_not_been_told_of_yet_is_not_decided(lose, people):
    change = lose("STOPS")
    ChangeRequest.objects.update(sent_at=now() - lost.TOLD_AFTER + timedelta(seconds=10))

    with pytest.raises(ChangeNotUndecided, match="less than a minute"):
        propose(change, DONE, people[0])


def test_what_is_answered_is_not_decided(lose, people):
    change = lose("STOPS", arrives=True)
    changes.resolve(change_id=change.pk, at=now())

    with pytest.raises(ChangeNotUndecided):
        propose(change, REFUSED, people[0])


def test_a_second_proposal_waits_for_the_first_and_of_two_at_once_one_is_made(lose, people):
    change = lose("STOPS")

    def try_to(number: int) -> str:
        try:
            return propose(change, DONE, people[number]).state
        except ChangeNotUndecided:
            return "refused"

    assert sorted(together(2, try_to)) == ["PROPOSED", "refused"]
    decide(ChangeDecision.objects.get(), people[2], approve=False)
    assert try_to(0) == "PROPOSED"


def test_the_broker_may_be_faster_than_the_second_operator(lose, people):
    change = lose("STOPS", arrives=True)
    decision = propose(change, REFUSED, people[0])
    changes.resolve(change_id=change.pk, at=now())

    with pytest.raises(ChangeNotUndecided, match="faster"):
        decide(decision, people[1])

    change.refresh_from_db()
    assert (change.state, ChangeDecision.objects.get().state) == (DONE, DecisionState.STALE)
    assert BrokerPosition.objects.get().stop_loss == Decimal("1.0790")


def test_an_order_that_ends_answers_its_cancel_and_voids_the_proposal(lose, people, paper):
    change = lose("CANCEL")
    decision = propose(change, REFUSED, people[0])
    (ticket,) = (each["ticket"] for each in paper.truth()["working"])
    paper.control.manual_cancel(paper.login, ticket)
    resolution.resolve(order_id=TradeLedger.objects.get().pk, at=now())

    with pytest.raises(ChangeNotUndecided):
        decide(decision, people[1])

    order = TradeLedger.objects.get()
    assert (order.status, order.cancel) == ("CANCELED", CancelState.DONE)
    assert ChangeDecision.objects.get().state == DecisionState.STALE


def test_a_proposal_ends_after_a_day_and_makes_room_for_another(lose, people):
    change = lose("STOPS")
    asked = now() - timedelta(hours=25)
    change_decisions.propose(change_id=change.pk, to=DONE, evidence=SAID, by=people[0], at=asked)

    propose(change, REFUSED, people[1])

    states = ChangeDecision.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == [DecisionState.STALE, DecisionState.PROPOSED]
