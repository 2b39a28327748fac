"""The doors of reviews: the queue, both sides with every effect, one owner at a time, one decision on what is shown."""

import uuid
from typing import Any

import pytest

from accounts.states import Role
from reconciliation.models import Review
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.reconciliation.test_reviews import REASON, review  # noqa: F401  # the fixture
from trading.models import BookCorrection

QUEUE = "/trading/reconciliation/reviews"


def client(role: Role = Role.OPERATOR) -> ApiClient:
    return ApiClient().login(UserFactory.create(role=role))


def decision(of: Review, word: str, **changes: Any) -> dict[str, Any]:
    return {"decision": word, "version": of.version, "reason": REASON} | changes


def test_the_queue_and_both_sides_are_shown_with_what_each_decision_would_do(review):  # noqa: F811
    operator = client()

    (item,) = operator.get(QUEUE).json()["items"]
    shown = operator.get(f"{QUEUE}/{item['id']}").json()

    assert (item["id"], item["value_usd"], item["state"]) == (str(review.public_id), "200", "OPEN")
    assert (shown["evidence"]["price"], shown["evidence"]["venue_price"]) == ("1.105", "1.085")
    effects = {each["decision"]: each for each in shown["effects"]}
    assert effects["RUN_AGAIN"]["lines"] == ["The account is reconciled now. Nothing else changes."]
    assert all(each["lines"] and not each["refused"] for each in shown["effects"])
    assert client(Role.COMPLIANCE).get(QUEUE).status_code == 200


@pytest.mark.parametrize("role", [Role.TRADER, Role.BOT])
def test_nobody_else_reads_or_decides(review, role):  # noqa: F811
    other = client(role)

    assert other.get(QUEUE).status_code == 403
    assert other.get(f"{QUEUE}/{review.public_id}").status_code == 403
    assert other.post(f"{QUEUE}/{review.public_id}/claim").status_code == 403
    assert other.post(f"{QUEUE}/{review.public_id}/decide", decision(review, "ACCEPT_BROKER")).status_code == 403
    assert Review.objects.get().state == "OPEN"


def test_compliance_reads_and_decides_nothing(review):  # noqa: F811
    answer = client(Role.COMPLIANCE).post(f"{QUEUE}/{review.public_id}/decide", decision(review, "KEEP_OURS"))

    assert answer.status_code == 403
    assert Review.objects.get().state == "OPEN"


def test_one_looks_at_a_time(review):  # noqa: F811
    first, second = client(), client()
    taken = first.post(f"{QUEUE}/{review.public_id}/claim").json()
    assert taken["owner"]

    refused = second.post(f"{QUEUE}/{review.public_id}/claim")

    assert (refused.status_code, refused.json()["code"]) == (409, "review_taken")
    assert second.post(f"{QUEUE}/{review.public_id}/decide", decision(review, "ACCEPT_BROKER")).status_code == 409


def test_a_decision_is_applied_once_and_on_what_was_shown(review):  # noqa: F811
    operator, path = client(), f"{QUEUE}/{review.public_id}/decide"
    old = operator.post(path, decision(review, "ACCEPT_BROKER", version=review.version + 1))
    assert (old.status_code, old.json()["code"]) == (409, "evidence_is_old")
    assert operator.post(path, decision(review, "ACCEPT_BROKER", reason="")).status_code == 400
    assert operator.post(path, decision(review, "SOMETHING")).status_code == 400

    done = operator.post(path, decision(review, "ACCEPT_BROKER"))

    assert done.status_code == 200
    assert (done.json()["review"]["decision"], done.json()["review"]["reason"]) == ("ACCEPT_BROKER", REASON)
    made = BookCorrection.objects.count()
    assert made
    assert operator.post(path, decision(review, "ACCEPT_BROKER")).json()["code"] == "review_not_open"
    assert BookCorrection.objects.count() == made


def test_a_fresh_run_answers_how_it_ended(review):  # noqa: F811
    done = client().post(f"{QUEUE}/{review.public_id}/decide", decision(review, "RUN_AGAIN")).json()

    assert (done["review"]["state"], done["run_status"]) == ("OPEN", "DIFFERENT")


def test_what_does_not_exist_is_not_found(db):
    assert client().get(f"{QUEUE}/{uuid.uuid4()}").status_code == 404
