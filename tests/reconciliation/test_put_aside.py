"""Nobody puts a difference aside; and what people were told of an account ends with it: nobody compares it any more."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models import F
from django.utils.timezone import now

from accounts.services import approvals
from accounts.services.approvals import ApprovalStale
from accounts.states import Role
from nexus.alerts.models import Alert
from nexus.audit.types import Actor
from reconciliation.models import Cycle, Review, Sighting
from reconciliation.services import cycles, decisions, schedule
from reconciliation.services.decisions import OldEvidence
from reconciliation.services.putting_aside import PUT_ASIDE, AccountDiffers
from reconciliation.states import Decision
from tests.factories.accounts import UserFactory
from tests.fakes.paper import LOGIN
from tests.reconciliation.test_acting import shift_average
from trading.models import TradingAccount
from trading.services import corrections, watch
from trading.services.corrections import Origin
from trading.states import CorrectionKind


@pytest.fixture
def failed(account, reconcile, settings):
    url, settings.MT5_GATEWAY_URL = settings.MT5_GATEWAY_URL, "http://127.0.0.1:9"
    for _ in range(3):
        assert reconcile().status == "FAILED"
    settings.MT5_GATEWAY_URL = url
    return {"RECONCILIATION_FAILED", "RECONCILIATION_STOPPED"}


@pytest.fixture
def stale(account, reconcile):
    TradingAccount.objects.update(created_at=now() - timedelta(hours=1))
    Cycle.objects.update(due_at=now() + timedelta(hours=1), succeeded_at=now() - timedelta(hours=1))
    schedule.hand_out(at=now())
    return {"RECONCILIATION_STALE"}


@pytest.fixture
def review(execute, account, reconcile, quiet):
    return _differing("200", execute, reconcile)


@pytest.fixture
def stopped(execute, account, reconcile, quiet):
    return _differing("600", execute, reconcile)


def _differing(usd, execute, reconcile):
    execute()
    reconcile()
    shift_average(usd)
    reconcile()
    return {"DISCREPANCY_STOPPED" if Decimal(usd) > 500 else "DISCREPANCY_REVIEW"}


def standing() -> set[str]:
    rows = Alert.objects.filter(closed_at__isnull=True).exclude(kind="TRADING_STOPPED")
    return set(rows.values_list("kind", flat=True))


@pytest.mark.parametrize("trouble", ["failed", "stale", "review", "stopped"])
def test_what_was_told_of_it_ends_and_not_before(trouble, request, account):
    kinds = request.getfixturevalue(trouble)
    Cycle.objects.update(due_at=now() + timedelta(hours=1))
    schedule.hand_out(at=now())
    assert standing() == kinds

    TradingAccount.objects.update(is_active=False)
    schedule.hand_out(at=now())

    assert standing() == set()


def test_what_was_told_of_another_stands(failed, account):
    other = TradingAccount.objects.get()
    other.pk, other.venue_account, other.is_active = None, "9", False
    other.public_id = "00000000-0000-4000-8000-000000000009"
    other.save()
    Cycle.objects.update(due_at=F("due_at") + timedelta(hours=1))

    schedule.hand_out(at=now())

    assert standing() == failed


@pytest.fixture
def operators(db):
    return UserFactory.create(role=Role.OPERATOR), UserFactory.create(role=Role.OPERATOR)


def ask(account, by):
    return PUT_ASIDE.ask(public_id=account.public_id, reason="Its broker is left.", by=by, at=now())


def agree(request, by, *, at=None):
    approvals.decide(public_id=request.public_id, approve=True, by=by, reason="Seen.", at=at or now())


def decide(decision, by, *, at):
    row = Review.objects.get()
    return decisions.decide(
        review_id=row.public_id, decision=decision, version=row.version, reason="Nobody will compare it again.",
        by=by, at=at,
    )  # fmt: skip


def is_active():
    return TradingAccount.objects.get().is_active


@pytest.mark.parametrize("trouble", ["review", "stopped"])
def test_no_account_is_put_aside_with_a_difference_that_nobody_has_decided(trouble, request, account, operators):
    request.getfixturevalue(trouble)

    with pytest.raises(AccountDiffers, match=Review.objects.get().key):
        ask(account, operators[0])

    assert is_active()


def test_a_difference_that_is_found_after_it_was_asked_for_makes_it_void(execute, account, operators, reconcile, quiet):
    execute()
    reconcile()
    asked = ask(account, operators[0])
    assert asked.payload["discrepancy_usd"] == "0"
    shift_average("200")
    reconcile()

    with pytest.raises(ApprovalStale):
        agree(asked, operators[1])

    assert is_active()


def test_so_does_a_small_one_that_the_second_has_not_seen(execute, account, operators, reconcile, quiet):
    execute()
    reconcile()
    asked = ask(account, operators[0])
    shift_average("40")
    reconcile()

    with pytest.raises(ApprovalStale):
        agree(asked, operators[1])
    again = ask(account, operators[0])
    assert again.payload["discrepancy_usd"] == "40"  # the next run would correct it: two may agree to leave it
    agree(again, operators[1])

    assert not is_active()


def test_once_it_is_decided_the_account_may_go(review, account, operators):
    decide(Decision.KEEP_OURS, operators[0], at=now())

    agree(ask(account, operators[0]), operators[1])

    assert not is_active()


def test_where_the_broker_is_gone_two_keep_ours_first(review, account, operators):
    """No run will ever confirm the figures: one cannot decide on them, and nobody moves our books by them."""
    later = now() + timedelta(hours=24, seconds=1)
    with pytest.raises(OldEvidence):
        decide(Decision.KEEP_OURS, operators[0], at=now() + timedelta(hours=23))
    with pytest.raises(OldEvidence):
        decide(Decision.ACCEPT_BROKER, operators[0], at=later)

    decided = decide(Decision.KEEP_OURS, operators[0], at=later)
    assert (decided.review.state, decided.approval is None) == ("OPEN", False)
    with pytest.raises(AccountDiffers):
        ask(account, operators[0])
    decisions.agree(review_id=decided.review.public_id, reason="It is bankrupt.", by=operators[1], at=later)
    assert Review.objects.get().state == "KEPT"
    assert Sighting.objects.get().kept  # back again, it raises what any other figure does

    agree(ask(account, operators[0]), operators[1])
    assert not is_active()


def keep_ours(operators):
    later = now() + timedelta(hours=24, seconds=1)
    decided = decide(Decision.KEEP_OURS, operators[0], at=later)
    decisions.agree(review_id=decided.review.public_id, reason="It is bankrupt.", by=operators[1], at=later)
    return Review.objects.get().state


def test_what_the_last_run_of_a_broker_that_is_gone_has_left_out_is_kept_too(
    review, execute, operators, reconcile, monkeypatch
):
    """It was busy then, so that run has not seen it: no other will."""
    monkeypatch.setattr(cycles, "QUIET", timedelta(minutes=1))
    assert [action for _, action in reconcile().findings] == ["EXCLUDED"]
    assert Review.objects.get().state == "OPEN"

    assert keep_ours(operators) == "KEPT"


def test_so_is_money_of_which_more_was_told_before_it_went(account, operators, reconcile, quiet, paper):
    with transaction.atomic():
        origin = Origin(CorrectionKind.AUTOMATIC, "A test.", Actor.system("tests"), "a test")
        corrections.restate_cash(account, Decimal(-200), balance=Decimal(0), origin=origin, at=now())
    reconcile()
    paper.control.balance(LOGIN, "50")
    watch.look(account_id=account.pk, at=now())

    assert keep_ours(operators) == "KEPT"
