"""What risk and trading have two people decide, through the one door of approvals: the rules of each hold there too."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from accounts import tasks
from accounts.models import ApprovalDecision, ApprovalRequest, User
from accounts.states import ApprovalState, Role
from nexus.audit.types import Actor
from risk.models import ControlRelease, LimitChange, TradingControl
from risk.services import changes, limits
from risk.services.changes import ChangeDecided
from risk.states import ChangeState, ControlScope, LimitKind, LimitScope, StopLevel
from tests import stops
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.stops import stop
from tests.threads import together
from tests.trading.conftest import TESTER
from trading.models import AccountFigures, OrderDecision, TradeLedger, TradingAccount
from trading.services import decisions, resuming
from trading.services.decisions import NotUndecided
from trading.services.resuming import NotReleasable
from trading.states import DecisionState, Delivery, OrderStatus

USER: dict[str, Any] = {"scope": LimitScope.USER, "key": "7", "kind": LimitKind.DAILY_LOSS}


@pytest.fixture
def people(floor: None) -> list[User]:
    """Three operators."""
    return [UserFactory.create(role=Role.OPERATOR) for _ in range(3)]


def lower(value: str) -> None:
    changes.lower(**USER, value=Decimal(value), reason="A test.", actor=TESTER, at=now())


def raise_to(value: str, *, by: User) -> LimitChange:
    return changes.propose(**USER, value=Decimal(value), reason="More room.", by=by, at=now())


def in_force() -> Decimal:
    return limits.in_force(user_id=7, account_id=1, symbol="EURUSD")[LimitKind.DAILY_LOSS].value


def decide(by: User, *, yes: bool = True) -> Any:
    """Decide the one request that waits, through the API."""
    client = ApiClient().login(by)
    (waiting,) = client.get("/approvals?state=PENDING").json()["results"]
    return client.post(f"/approvals/{waiting['id']}/{'approve' if yes else 'reject'}", {"reason": "Seen."})


def test_a_limit_is_raised_through_the_one_door(people):
    lower("500")
    change = raise_to("800", by=people[0])

    assert decide(people[0]).json()["code"] == "second_person_needed"
    answer = decide(people[1])

    assert (answer.status_code, answer.json()["state"]) == (200, "EXECUTED")
    assert answer.json()["payload"] == {
        "scope": "USER", "key": "7", "kind": "DAILY_LOSS", "before": "500", "value": "800",
    }  # fmt: skip
    assert in_force() == 800
    change.refresh_from_db()
    assert change.state == ChangeState.APPLIED.value


@pytest.mark.threat(18)
def test_a_limit_that_was_tightened_since_is_not_raised(people):
    lower("500")
    change = raise_to("800", by=people[0])
    lower("100")

    answer = decide(people[1])

    assert (answer.status_code, answer.json()["code"], in_force()) == (409, "approval_stale", Decimal(100))
    change.refresh_from_db()
    assert change.state == ChangeState.STALE.value
    second = raise_to("900", by=people[0])  # nothing stands in its way
    lower("90")
    with pytest.raises(ChangeDecided):
        changes.approve(change_id=second.pk, by=people[1], reason="Agreed.", at=now())
    assert in_force() == 90


def test_what_is_rejected_or_taken_back_leaves_room_for_another(people):
    lower("500")
    rejected = raise_to("800", by=people[0])
    assert decide(people[1], yes=False).json()["state"] == "REJECTED"
    taken_back = raise_to("800", by=people[0])
    number = ApprovalRequest.objects.get(state=ApprovalState.PENDING).public_id
    answer = ApiClient().login(people[0]).post(f"/approvals/{number}/cancel", {"reason": "A mistake."})

    assert answer.json()["state"] == "CANCELED"
    states = dict(LimitChange.objects.values_list("pk", "state"))
    assert states == {rejected.pk: ChangeState.REFUSED.value, taken_back.pk: ChangeState.STALE.value}
    assert in_force() == 500


@pytest.mark.parametrize("scope", ["USER", "ACCOUNT"])
def test_nobody_agrees_to_more_room_for_himself(people, account, trader, scope):
    User.objects.filter(pk=trader.pk).update(role=Role.OPERATOR)  # the accounts of the time before stay
    mine = {"scope": LimitScope(scope), "key": str(trader.pk if scope == "USER" else account.pk)}
    changes.lower(**USER | mine, value=Decimal(500), reason="A test.", actor=TESTER, at=now())
    change = changes.propose(**USER | mine, value=Decimal(800), reason="More room.", by=people[0], at=now())

    refused = decide(User.objects.get(pk=trader.pk))

    assert (refused.status_code, refused.json()["code"]) == (403, "second_person_needed")
    assert not ApprovalDecision.objects.exists()
    assert decide(people[1]).json()["state"] == "EXECUTED"
    change.refresh_from_db()
    assert (change.state, change.decided_by_id) == (ChangeState.APPLIED.value, people[1].pk)


def release(by: User) -> ControlRelease:
    row, _ = resuming.propose(
        scope=ControlScope.SYSTEM, key="", level=StopLevel.ACTIVE, reason="Mended.", by=by, at=now()
    )
    return row


def level() -> StopLevel:
    return StopLevel(TradingControl.objects.get(scope="SYSTEM").level)


@pytest.mark.threat(26)
def test_who_set_the_stop_does_not_ease_it_by_the_one_door_either(people, account):
    stop(actor=Actor.user(people[0].public_id))
    stops.reconciled(account)
    release(people[1])

    for person in people[:2]:
        refused = decide(person)
        assert (refused.status_code, refused.json()["code"]) == (403, "second_person_needed")
    assert level() == StopLevel.HALTED
    assert not ApprovalDecision.objects.exists()

    assert decide(people[2]).status_code == 200
    assert level() == StopLevel.ACTIVE


def test_what_must_hold_before_a_stop_is_eased_holds_by_the_one_door(people, account):
    stop()
    stops.reconciled(account)
    AccountFigures.objects.update(loss_today=Decimal(5000))
    row = release(people[0])

    refused = decide(people[1])

    assert (refused.status_code, refused.json()["code"]) == (409, NotReleasable.code)
    assert [each["name"] for each in refused.json()["checks"]] == ["LOSS_BELOW_LIMIT"]
    row.refresh_from_db()
    assert (row.state, level()) == (ChangeState.PROPOSED.value, StopLevel.HALTED)
    assert [each["passed"] for each in row.checks].count(False) == 1
    AccountFigures.objects.update(loss_today=Decimal(0))
    assert decide(people[1]).status_code == 200  # the same person, once it holds


@pytest.mark.threat(18)
def test_a_stop_that_was_set_anew_is_not_eased_by_the_one_door(people, account):
    stop()
    stops.reconciled(account)
    row = release(people[0])
    stop(reason="Again.")
    stops.reconciled(account)

    answer = decide(people[1])

    assert (answer.status_code, answer.json()["code"], level()) == (409, "approval_stale", StopLevel.HALTED)
    row.refresh_from_db()
    assert row.state == ChangeState.STALE.value


def test_two_doors_at_the_same_instant_ease_once(people, account, new_events):
    stop()
    stops.reconciled(account)
    row = release(people[0])
    number = ApprovalRequest.objects.get().public_id
    clients = [ApiClient().login(person) for person in people[1:]]

    def act(which: int) -> int:
        if which:
            answer = clients[1].post("/system/resume", {"proposal": row.pk, "reason": "Agreed."})
        else:
            answer = clients[0].post(f"/approvals/{number}/approve", {"reason": "Agreed."})
        return int(answer.status_code)

    assert sorted(together(2, act)) == [200, 409]
    assert level() == StopLevel.ACTIVE
    assert [event.action for event in new_events()].count("control.released") == 1


@pytest.fixture
def unknown(execute, paper) -> TradeLedger:
    paper.control.inject("timeout_before_accept")
    order: TradeLedger = execute()
    assert order.delivery == Delivery.UNKNOWN
    return order


def test_an_unknown_order_is_closed_through_the_one_door(people, unknown):
    decisions.propose(
        order_id=unknown.pk, to=OrderStatus.REJECTED, evidence="The broker has no trace of it.", by=people[0], at=now()
    )

    assert decide(people[1]).status_code == 200

    unknown.refresh_from_db()
    assert (unknown.status, unknown.delivery) == (OrderStatus.REJECTED, Delivery.DONE)


def test_nobody_ends_an_order_of_ones_own_account(people, unknown):
    """Its end gives back what was reserved: who was a trader before is no second person for it."""
    TradingAccount.objects.filter(pk=unknown.account_id).update(user=people[1])
    decisions.propose(
        order_id=unknown.pk, to=OrderStatus.REJECTED, evidence="The broker has no trace of it.", by=people[0], at=now()
    )

    refused = decide(people[1])

    assert (refused.status_code, refused.json()["code"]) == (403, "second_person_needed")
    unknown.refresh_from_db()
    assert unknown.delivery == Delivery.UNKNOWN
    assert decide(people[2]).status_code == 200


def test_a_proposal_about_an_order_ends_after_a_day(people, unknown):
    asked = now() - timedelta(hours=24)
    decision = decisions.propose(
        order_id=unknown.pk, to=OrderStatus.REJECTED, evidence="The broker has no trace.", by=people[0], at=asked
    )

    with pytest.raises(NotUndecided, match="expired"):
        decisions.decide(decision_id=decision.pk, approve=True, by=people[1], at=now())

    assert OrderDecision.objects.get().state == DecisionState.STALE.value
    unknown.refresh_from_db()
    assert unknown.delivery == Delivery.UNKNOWN


def test_a_proposal_that_nobody_decided_does_not_stand_in_the_way(people, unknown):
    asked = now() - timedelta(hours=25)
    words: dict[str, Any] = {"order_id": unknown.pk, "to": OrderStatus.REJECTED, "evidence": "The broker has no trace."}
    decisions.propose(**words, by=people[0], at=asked)
    with pytest.raises(NotUndecided):
        decisions.propose(**words, by=people[1], at=asked + timedelta(hours=23))

    decisions.propose(**words, by=people[1], at=now())

    states = OrderDecision.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == [DecisionState.STALE.value, DecisionState.PROPOSED.value]


def test_the_clock_closes_what_nobody_decided_with_what_it_is_about(people):
    lower("500")
    change = changes.propose(
        **USER, value=Decimal(800), reason="More room.", by=people[0], at=now() - timedelta(hours=25)
    )

    tasks.expire_approvals()

    change.refresh_from_db()
    assert (change.state, ApprovalRequest.objects.get().state) == (ChangeState.EXPIRED.value, ApprovalState.EXPIRED)
