"""Differences above what one person may decide: a second operator agrees to exactly that, or nothing is done."""

from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils.timezone import now

from accounts.models import ApprovalRequest, User
from accounts.services import approvals
from accounts.services.approvals import ApprovalPending, ApprovalStale, SecondPersonNeeded
from accounts.states import ApprovalState, Role
from nexus.core.errors import NotFound
from reconciliation.models import Review
from reconciliation.services import decisions
from reconciliation.services.decisions import Decided, OldEvidence
from reconciliation.states import Decision
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.reconciliation.test_acting import shift_average
from tests.reconciliation.test_reviews import REASON
from tests.terminal import Terminal
from trading.models import BookCorrection, BrokerPosition, TradingAccount


@pytest.fixture
def operators(db: None) -> tuple[User, User]:
    return UserFactory.create(role=Role.OPERATOR), UserFactory.create(role=Role.OPERATOR)


@pytest.fixture
def large(execute: Any, reconcile: Any, quiet: None) -> Review:
    """Our average is off by 501 USD."""
    return _off_by("501", execute, reconcile)


def _off_by(amount: str, execute: Any, reconcile: Any) -> Review:
    execute()
    reconcile()
    shift_average(amount)
    reconcile()
    return Review.objects.get()


def decide(review: Review, by: User, decision: Decision = Decision.ACCEPT_BROKER) -> Decided:
    review.refresh_from_db()
    return decisions.decide(
        review_id=review.public_id, decision=decision, version=review.version, reason=REASON, by=by, at=now()
    )


def agree(review: Review, by: User, **words: Any) -> Review:
    usual: dict[str, Any] = {"reason": "Seen too.", "at": now()}
    return decisions.agree(review_id=review.public_id, by=by, **(usual | words))


def corrected() -> bool:
    return BookCorrection.objects.exclude(kind="OPENING").exists()


def test_five_hundred_is_decided_by_one(execute, reconcile, quiet, operators):
    review = _off_by("500", execute, reconcile)

    decided = decide(review, operators[0])

    assert (decided.approval, decided.review.state) == (None, "SYNCED")


@pytest.mark.threat(15)
def test_more_waits_for_a_second_operator_who_is_not_the_first(large, operators):
    first, second = operators
    decided = decide(large, first)
    assert decided.approval is not None
    assert (decided.review.state, corrected()) == ("OPEN", False)
    with pytest.raises(SecondPersonNeeded):
        agree(large, first)
    with pytest.raises(ApprovalPending):
        decide(large, first, Decision.KEEP_OURS)

    row = agree(large, second)

    assert (row.state, row.decided_by, row.reason) == ("SYNCED", str(second.public_id), REASON)
    assert BrokerPosition.objects.get().price_open == Decimal("1.085")
    assert corrected()
    assert ApprovalRequest.objects.get().state == ApprovalState.EXECUTED


def test_keeping_ours_takes_two_as_well(large, operators, reconcile):
    decide(large, operators[0], Decision.KEEP_OURS)
    assert Review.objects.get().state == "OPEN"

    assert agree(large, operators[1]).state == "KEPT"
    assert reconcile().discrepancy_usd == 0


@pytest.mark.parametrize("amount", ["500", "501"])
@pytest.mark.parametrize("decision", [Decision.ACCEPT_BROKER, Decision.KEEP_OURS])
def test_nobody_decides_what_differs_on_an_account_of_their_own(execute, reconcile, quiet, operators, amount, decision):
    owner, other = operators
    review = _off_by(amount, execute, reconcile)
    TradingAccount.objects.filter(pk=review.account_id).update(user=owner)
    if amount == "501":  # what is asked for is decided by whoever agrees
        decide(review, other, decision)

    with pytest.raises(SecondPersonNeeded):
        agree(review, owner) if amount == "501" else decide(review, owner, decision)

    assert Review.objects.get().state == "OPEN"
    assert not corrected()


def test_whose_account_it_is_may_ask_for_a_run_and_for_a_decision_of_another(large, operators):
    owner, other = operators
    TradingAccount.objects.filter(pk=large.account_id).update(user=owner)

    decide(large, owner, Decision.RUN_AGAIN)
    assert decide(large, owner).approval is not None

    assert agree(large, other).state == "SYNCED"


def test_what_nobody_can_value_takes_two(large):
    large.value_usd = None
    assert decisions.needs_another(large, at=now())


def test_other_figures_make_the_request_stale(large, operators, reconcile):
    decide(large, operators[0])
    shift_average("20")
    reconcile()

    with pytest.raises(ApprovalStale):
        agree(large, operators[1])

    assert (Review.objects.get().state, corrected()) == ("OPEN", False)
    assert ApprovalRequest.objects.get().state == ApprovalState.STALE


def test_a_market_that_moves_makes_no_request_stale(large, operators):
    """Each run writes down the price of its moment: the second operator would never be in time."""
    decide(large, operators[0])
    row = Review.objects.get()
    row.evidence, row.value_usd = {**row.evidence, "mark": "1.20001"}, Decimal("553.77")
    row.save()  # as the next run does, under the same signature

    assert agree(large, operators[1]).state == "SYNCED"


def test_figures_that_no_fresh_run_confirms_are_not_agreed_to(large, operators):
    decide(large, operators[0])

    with pytest.raises(OldEvidence):
        agree(large, operators[1], at=now() + timedelta(seconds=181))

    assert not corrected()
    assert ApprovalRequest.objects.get().state == ApprovalState.PENDING


def test_a_refusal_leaves_the_review_open(large, operators):
    decided = decide(large, operators[0])
    assert decided.approval is not None

    approvals.decide(public_id=decided.approval, approve=False, by=operators[1], reason="Ask the broker.", at=now())

    assert (Review.objects.get().state, corrected()) == ("OPEN", False)
    assert decide(large, operators[0]).approval is not None


def test_the_api_says_that_another_one_is_needed(large, operators):
    path = f"/trading/reconciliation/reviews/{large.public_id}"
    first, second = (ApiClient().login(each) for each in operators)
    assert first.get(path).json()["needs_another"] is True

    asked = first.post(f"{path}/decide", {"decision": "ACCEPT_BROKER", "version": large.version, "reason": REASON})
    done = second.post(f"/approvals/{asked.json()['approval']}/approve", {"reason": "Seen too."})

    assert (asked.status_code, done.status_code) == (202, 200)
    assert first.get(path).json()["state"] == "SYNCED"


def test_the_commands_say_who_has_to_agree(large, operators, monkeypatch):
    monkeypatch.setattr("getpass.getpass", Terminal())
    out = StringIO()
    with pytest.raises(NotFound):
        agree(large, operators[1])

    name = str(large.public_id)
    call_command(
        "reviews", "decide", name, "ACCEPT_BROKER", "--version", "1", "--reason", REASON, "--as", operators[0].email,
        stdout=out,
    )  # fmt: skip
    assert "a second operator has to agree" in out.getvalue()
    call_command("reviews", "agree", name, "--reason", "Seen too.", "--as", operators[1].email, stdout=out)

    assert out.getvalue().endswith("The review is SYNCED.\n")
