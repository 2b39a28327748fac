"""Differences at the console: both sides, the effect of each decision, a claim, one decision, the next item."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from accounts.models import ApprovalRequest
from reconciliation.models import Review
from tests.nexus.console.people import confirm, seen, text
from tests.reconciliation.conftest import a_week_later, paper, quiet, reconcile
from tests.reconciliation.test_acting import shift_average
from tests.threads import together

__all__ = ["a_week_later", "paper", "quiet", "reconcile"]


def _off_by(usd, execute, reconcile) -> Review:
    execute()
    reconcile()
    shift_average(usd)
    reconcile()
    return Review.objects.get()


@pytest.fixture
def review(operators, execute, reconcile, quiet) -> Review:
    """Our average is off by 200 USD."""
    return _off_by("200", execute, reconcile)


def at(review, rest=""):
    return f"/admin/reviews/{review.public_id}/{rest}"


def state():
    return Review.objects.get().state


def test_both_sides_stand_beside_each_other_and_every_effect_is_previewed(review, console):
    assert review.key in text(console.get("/admin/reviews/"))

    page = text(console.get(at(review)))

    assert "1.105" in page
    assert "1.085" in page
    assert page.count('class="mark mark-soon">differs') == 1  # the average alone: lots and position are the same
    for line in ("0 lots of EURUSD at 1.085.", "Our books stay as they are.", "The account is reconciled now."):
        assert line in page


def test_a_claim_holds_for_one_operator_and_others_are_told(review, console, other_console, operator):
    assert confirm(console, at(review, "claim/")).status_code == 302

    page = text(other_console.get(at(review)))
    assert operator.email in page
    assert confirm(other_console, at(review, "claim/")).status_code == 409
    assert confirm(other_console, at(review, "decide/KEEP_OURS/")).status_code == 409
    assert state() == "OPEN"
    assert confirm(console, at(review, "decide/KEEP_OURS/")).status_code == 302
    assert state() == "KEPT"


def test_of_two_who_claim_at_once_one_has_it(review, console, other_console):
    version = seen(console, at(review, "claim/"))
    people = (console, other_console)

    answers = together(2, lambda n: confirm(people[n], at(review, "claim/"), version=version).status_code)

    assert sorted(answers) == [302, 409]


def test_of_two_who_decide_at_once_one_wins(review, console, other_console, new_events):
    path = at(review, "decide/ACCEPT_BROKER/")
    version = seen(console, path)
    people = (console, other_console)

    answers = together(2, lambda n: confirm(people[n], path, version=version))

    assert sorted(answer.status_code for answer in answers) == [302, 409]
    assert "Nothing was done" in text(next(each for each in answers if each.status_code == 409))
    assert [event.action for event in new_events()].count("review.synced") == 1


def test_figures_that_have_changed_since_are_not_decided(review, console, reconcile):
    path = at(review, "decide/ACCEPT_BROKER/")
    version = seen(console, path)
    shift_average("50")
    reconcile()

    answer = confirm(console, path, version=version)

    assert (answer.status_code, state()) == (409, "OPEN")


def test_a_large_difference_waits_for_a_second_operator(operators, execute, reconcile, quiet, console, other_console):
    review = _off_by("501", execute, reconcile)
    assert "two operators" in text(console.get("/admin/reviews/"))

    assert confirm(console, at(review, "decide/ACCEPT_BROKER/")).status_code == 302
    asked = ApprovalRequest.objects.get()
    assert state() == "OPEN"
    assert f"/admin/approvals/{asked.public_id}/" in text(other_console.get(at(review)))
    assert confirm(other_console, f"/admin/approvals/{asked.public_id}/approve/").status_code == 302

    assert state() == "SYNCED"


def test_after_a_decision_the_next_item_comes(review, console, account):
    other = Review.objects.create(
        account=account, key="CASH", signature="9", evidence={"key": "CASH", "amount": "9"}, value_usd=9,
        risk_impact="LOW", opened_at=now() - timedelta(hours=1), seen_run=review.seen_run, seen_at=now(),
    )  # fmt: skip

    assert at(other) in text(console.get(at(review)))
    answer = confirm(console, at(review, "decide/KEEP_OURS/"))

    assert answer.url == at(other)


def test_a_decision_that_nobody_knows_is_not_found(review, console):
    assert console.get(at(review, "decide/ANYTHING/")).status_code == 404


def test_compliance_sees_a_difference_and_decides_none(review, officer):
    assert "1.105" in text(officer.get(at(review)))
    assert confirm(officer, at(review, "decide/KEEP_OURS/"), version="1").status_code == 403
    assert state() == "OPEN"


def test_the_page_of_putting_an_account_aside_shows_what_differs_and_offers_nothing_before_it_is_decided(
    review, console, account
):
    path = f"/admin/venues/accounts/{account.public_id}/put-aside/"

    page = text(console.get(path))

    for words in (">200<", at(review), "200 USD", review.key, "Decide their reviews first."):
        assert words in page, words
    assert "Ask for it" not in page
    assert not ApprovalRequest.objects.exists()

    assert confirm(console, at(review, "decide/KEEP_OURS/")).status_code == 302
    page = text(console.get(path))
    assert "No difference waits." in page
    assert "Ask for it" in page
    assert confirm(console, path).status_code == 302
