"""Differences that wait for a person: shown, decided once, and never on old evidence."""

from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils.timezone import now

from accounts.models import User
from accounts.states import Role
from nexus.audit.types import Actor
from nexus.core.errors import Denied, Invalid, NotFound
from reconciliation.models import ReconciliationLog, Review
from reconciliation.services import concluding, decisions, reviews
from reconciliation.services.decisions import OldEvidence
from reconciliation.services.reviews import NotOpen, Taken
from reconciliation.states import Decision
from tests.factories.accounts import UserFactory
from tests.fakes.paper import LOGIN
from tests.reconciliation.test_acting import shift_average
from tests.terminal import Terminal
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import BookCorrection, BrokerPosition, CashMovement
from trading.services import comparison, corrections, watch
from trading.services.corrections import BooksMoved, Origin
from trading.states import CorrectionKind

REASON = "Compared with the broker's statement."


@pytest.fixture
def operator(db: None) -> User:
    """Somebody who decides."""
    return UserFactory.create(role=Role.OPERATOR)


@pytest.fixture
def review(execute: Any, reconcile: Any, quiet: None) -> Review:
    """Our average is off by 200 USD: seen by a complete run, and waiting."""
    execute()
    reconcile()
    shift_average("200")
    reconcile()
    return Review.objects.get()


def decide(review: Review, decision: Decision, by: User, **words: Any) -> Review:
    """Decide a review on its present version, unless the words say otherwise."""
    usual: dict[str, Any] = {"version": review.version, "reason": REASON, "at": now()}
    return decisions.decide(review_id=review.public_id, decision=decision, by=by, **(usual | words)).review


def test_a_review_shows_both_sides_and_ages(review, account):
    assert (review.state, review.version, review.risk_impact, review.value_usd) == ("OPEN", 1, "MEDIUM", 200)
    assert (review.evidence["price"], review.evidence["venue_price"]) == ("1.105", "1.085")
    assert (review.evidence["quantity"], review.evidence["venue_quantity"]) == ("0.1", "0.1")
    assert (review.owner, review.account_id) == ("", account.pk)


def test_accepting_the_broker_does_what_was_previewed_once_and_is_audited(review, operator, reconcile, new_events):
    effect = decisions.preview(review_id=review.public_id, decision=Decision.ACCEPT_BROKER, at=now())

    row = decide(review, Decision.ACCEPT_BROKER, operator)

    name = review.key
    assert effect.lines == (
        f"Position {name}: 0 lots of EURUSD at 1.085.",
        "No order is sent, and no result is booked.",
    )
    assert (row.state, row.decided_by) == ("SYNCED", str(operator.public_id))
    entry = BookCorrection.objects.get(kind="DECIDED")
    assert (entry.price, entry.made_by) == (Decimal("1.085"), str(operator.public_id))
    assert BrokerPosition.objects.get().price_open == Decimal("1.085")
    logged = ReconciliationLog.objects.get(entry="DECISION")
    assert (logged.action, logged.reason, logged.made_by) == ("BROKER_SYNCED", REASON, str(operator.public_id))
    actions = [event.action for event in new_events()]
    assert (actions.count("books.corrected"), actions.count("review.synced")) == (1, 1)
    with pytest.raises(NotOpen):
        decide(review, Decision.ACCEPT_BROKER, operator)
    assert reconcile().status == "CLEAN"


def test_keeping_ours_changes_no_book_and_is_silent_until_the_figures_change(review, operator, reconcile, paper):
    before = BrokerPosition.objects.values().get()

    decide(review, Decision.KEEP_OURS, operator)
    kept = reconcile()

    assert BrokerPosition.objects.values().get() == before
    assert not BookCorrection.objects.exclude(kind="OPENING").exists()
    assert [(action, kept.discrepancy_usd) for _, action in kept.findings] == [("KEPT", 0)]
    assert not Review.objects.filter(state="OPEN").exists()

    shift_average("1")
    changed = reconcile()

    assert [action for _, action in changed.findings] == ["REVIEW"]
    assert changed.discrepancy_usd == 201


def hide(patch: pytest.MonkeyPatch, amount: int) -> None:
    """Let a run's list of movements lack one that is in the balance: it is listed late."""
    real = Mt5Broker.cash_since
    patch.setattr(Mt5Broker, "cash_since", lambda *asked: [each for each in real(*asked) if each.amount != amount])


def test_money_that_explains_itself_after_the_run_is_not_booked_once_more(
    reconcile, paper, account, operator, quiet, monkeypatch
):
    """A deposit is in the balance, and its deal is told only after the run has seen the difference."""
    paper.control.balance(LOGIN, "200", comment="mobile money")
    with monkeypatch.context() as patch:
        hide(patch, 200)
        reconcile()
    review = Review.objects.get(key="CASH")
    assert review.evidence["amount"] == "200"
    watch.look(account_id=account.pk, at=now())
    assert CashMovement.objects.filter(amount=200).exists()

    with pytest.raises(OldEvidence):
        decisions.preview(review_id=review.public_id, decision=Decision.ACCEPT_BROKER, at=now())
    with pytest.raises(OldEvidence):
        decide(review, Decision.ACCEPT_BROKER, operator)

    assert not BookCorrection.objects.filter(kind="DECIDED").exists()
    assert reconcile().status == "CLEAN"


def test_a_deal_that_explains_the_money_after_the_run_is_not_booked_once_more(
    execute, reconcile, paper, account, operator, quiet, monkeypatch
):
    """A position was closed at the terminal: its result is in the balance, and its deal is listed late."""
    execute()
    reconcile()
    (held,) = paper.truth()["positions"]
    paper.quote("EURUSD", "1.10500", "1.10510")
    paper.control.manual_close(LOGIN, held["ticket"])
    with monkeypatch.context() as patch:
        real = Mt5Broker.fills_since
        patch.setattr(Mt5Broker, "fills_since", lambda *asked: [each for each in real(*asked) if not each.profit])
        reconcile()
    review = Review.objects.get(key="CASH")
    assert (review.evidence["amount"], review.value_usd) == ("200", 200)
    watch.look(account_id=account.pk, at=now())

    with pytest.raises(OldEvidence):
        decide(review, Decision.ACCEPT_BROKER, operator)

    assert not BookCorrection.objects.filter(kind="DECIDED").exists()
    assert reconcile().status == "CLEAN"


def test_money_that_is_told_while_a_run_concludes_is_not_corrected_as_well(
    reconcile, paper, account, quiet, monkeypatch
):
    paper.control.balance(LOGIN, "50")
    conclude = concluding.conclude

    def told_first(*given: Any, **named: Any) -> Any:
        watch.look(account_id=account.pk, at=now())
        return conclude(*given, **named)

    with monkeypatch.context() as patch:
        hide(patch, 50)
        assert [action for _, action in reconcile().findings] == ["OBSERVED"]
        patch.setattr(concluding, "conclude", told_first)
        assert [action for _, action in reconcile().findings] == ["EXCLUDED"]

    assert CashMovement.objects.filter(amount=50).exists()
    assert not BookCorrection.objects.filter(kind="AUTOMATIC").exists()
    assert reconcile().status == "CLEAN"


def test_money_that_moves_after_the_run_explains_nothing_of_it(reconcile, paper, account, operator, quiet, monkeypatch):
    monkeypatch.setattr(comparison, "CLOCKS_MAY_DIFFER", timedelta(0))
    with transaction.atomic():
        origin = Origin(CorrectionKind.AUTOMATIC, "A test.", Actor.system("tests"), "a test")
        corrections.restate_cash(account, Decimal(-200), balance=Decimal(0), origin=origin, at=now())
    reconcile()
    review = Review.objects.get(key="CASH")
    paper.control.balance(LOGIN, "50")
    watch.look(account_id=account.pk, at=now())
    assert CashMovement.objects.filter(amount=50).exists()

    decide(review, Decision.ACCEPT_BROKER, operator)

    assert BookCorrection.objects.get(kind="DECIDED").amount == 200
    assert reconcile().status == "CLEAN"


def test_a_trade_of_ours_after_the_run_explains_nothing_of_it(execute, reconcile, account, operator, quiet):
    with transaction.atomic():
        origin = Origin(CorrectionKind.AUTOMATIC, "A test.", Actor.system("tests"), "a test")
        corrections.restate_cash(account, Decimal(-200), balance=Decimal(0), origin=origin, at=now())
    reconcile()
    execute()

    decide(Review.objects.get(key="CASH"), Decision.ACCEPT_BROKER, operator)

    assert BookCorrection.objects.get(kind="DECIDED").amount == 200


def test_asking_for_a_fresh_run_runs_at_once_and_decides_nothing(review, operator):
    decided = decisions.decide(
        review_id=review.public_id, decision=Decision.RUN_AGAIN, version=0, reason=REASON, by=operator, at=now()
    )

    row, outcome = decided.review, decided.outcome
    assert outcome is not None
    assert (outcome.status, row.state, row.version, row.seen_run) == ("DIFFERENT", "OPEN", 1, outcome.run_id)
    assert ReconciliationLog.objects.get(entry="DECISION").action == "RUN_AGAIN"


def test_a_decision_on_figures_that_changed_is_refused(review, operator, reconcile):
    shift_average("50")
    reconcile()

    with pytest.raises(OldEvidence):
        decide(review, Decision.ACCEPT_BROKER, operator)

    review.refresh_from_db()
    assert (review.state, review.version, review.value_usd) == ("OPEN", 2, 250)
    assert decide(review, Decision.ACCEPT_BROKER, operator).state == "SYNCED"


@pytest.mark.parametrize("decision", [Decision.ACCEPT_BROKER, Decision.KEEP_OURS])
def test_a_decision_on_old_data_is_refused(decision, review, operator):
    with pytest.raises(OldEvidence):
        decide(review, decision, operator, at=now() + timedelta(seconds=181))
    with pytest.raises(OldEvidence):
        decisions.preview(review_id=review.public_id, decision=decision, at=now() + timedelta(seconds=181))

    assert not ReconciliationLog.objects.filter(entry="DECISION").exists()


def test_a_decision_that_the_newest_run_does_not_confirm_is_refused(review, operator, reconcile, monkeypatch, paper):
    monkeypatch.setattr("reconciliation.services.cycles.QUIET", timedelta(hours=1))  # the newest run left it out
    assert reconcile().findings[0][1] == "EXCLUDED"

    with pytest.raises(OldEvidence):
        decide(review, Decision.ACCEPT_BROKER, operator)


def test_books_that_moved_since_are_not_corrected_to_what_was_then(review, operator):
    shift_average("1")

    with pytest.raises(BooksMoved):
        decide(review, Decision.ACCEPT_BROKER, operator)

    review.refresh_from_db()
    assert (review.state, review.owner) == ("OPEN", "")
    assert not BookCorrection.objects.exclude(kind="OPENING").exists()


def test_one_operator_at_a_time_and_only_for_half_an_hour(review, operator):
    other = UserFactory.create(role=Role.OPERATOR)
    at = now()
    reviews.claim(review_id=review.public_id, by=operator, at=at)

    with pytest.raises(Taken):
        reviews.claim(review_id=review.public_id, by=other, at=at + timedelta(minutes=29))
    with pytest.raises(Taken):
        decide(review, Decision.ACCEPT_BROKER, other)
    row = reviews.claim(review_id=review.public_id, by=other, at=at + timedelta(minutes=31))

    assert row.owner == str(other.public_id)


def test_only_operators_decide_and_they_say_why(review, trader, operator):
    for who in (trader, UserFactory.create(role=Role.COMPLIANCE)):
        with pytest.raises(Denied):
            decide(review, Decision.KEEP_OURS, who)
    with pytest.raises(Invalid):
        decide(review, Decision.KEEP_OURS, operator, reason="because")
    with pytest.raises(NotFound):
        reviews.claim(review_id=trader.public_id, by=operator, at=now())

    assert Review.objects.get().state == "OPEN"


def test_a_difference_that_passes_closes_its_review(review, reconcile):
    BrokerPosition.objects.update(price_open=Decimal("1.085"))

    reconcile()

    assert Review.objects.get().state == "GONE"


def test_the_commands_show_and_decide(review, operator, monkeypatch):
    monkeypatch.setattr("getpass.getpass", Terminal())

    def command(*words: str) -> str:
        out = StringIO()
        call_command("reviews", *words, stdout=out)
        return out.getvalue()

    name = str(review.public_id)
    assert "MEDIUM  200 USD" in command("list")
    shown = command("show", name)
    assert "version 1" in shown
    assert "1.105            1.085" in shown
    assert "ACCEPT_BROKER: Position" in shown
    assert "It is yours until" in command("take", name, "--as", operator.email)
    with pytest.raises(CommandError, match="have changed, or are too old"):
        command("decide", name, "ACCEPT_BROKER", "--version", "7", "--reason", REASON, "--as", operator.email)
    said = command("decide", name, "ACCEPT_BROKER", "--version", "1", "--reason", REASON, "--as", operator.email)
    assert said == "The review is SYNCED.\n"
    assert command("list") == "Nothing waits for a person.\n"


def test_money_is_decided_like_positions(account, reconcile, quiet, operator, paper, monkeypatch):
    from django.db import transaction  # noqa: PLC0415

    from nexus.audit.types import Actor  # noqa: PLC0415
    from trading.services import corrections  # noqa: PLC0415
    from trading.services.corrections import Origin  # noqa: PLC0415
    from trading.states import CorrectionKind  # noqa: PLC0415

    with transaction.atomic():
        origin = Origin(CorrectionKind.DECIDED, "A test.", Actor.system("tests"), "a test")
        corrections.restate_cash(account, Decimal(150), balance=Decimal(0), origin=origin, at=now())
    reconcile()
    row = Review.objects.get()
    effect = decisions.preview(review_id=row.public_id, decision=Decision.ACCEPT_BROKER, at=now())

    decide(row, Decision.ACCEPT_BROKER, operator)

    assert effect.lines == ("The expected balance moves by -150 USD.",)
    assert reconcile().status == "CLEAN"
    paper.control.balance(LOGIN, "5")
    assert reconcile().status == "CLEAN"
