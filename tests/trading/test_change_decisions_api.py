"""The doors of lost changes: which there are, what one operator proposes, and what another agrees to."""

import uuid
from typing import Any

import pytest

from accounts.states import Role
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.trading.test_change_decisions import SAID
from trading.models import ChangeDecision, ChangeRequest

QUEUE = "/trading/changes/lost"


def client_of(role: Role = Role.OPERATOR) -> ApiClient:
    return ApiClient().login(UserFactory.create(role=role))


def decide(of: ChangeRequest) -> str:
    return f"/trading/changes/{of.public_id}/decide"


@pytest.mark.parametrize("kind", ["STOPS", "TERMS", "CANCEL"])
def test_one_sees_it_and_proposes_another_agrees_and_it_is_over(lose, account, kind):
    change, first, second = lose(kind), client_of(), client_of()

    (item,) = first.get(QUEUE).json()["items"]
    assert (item["id"], item["kind"], item["account"]) == (str(change.public_id), kind, str(account.public_id))
    assert [item["order"] is None, item["position"] is None, item["proposal"]] == [
        kind == "STOPS", kind != "STOPS", None,
    ]  # fmt: skip
    answer = first.post(decide(change), {"to": "REFUSED", "evidence": SAID})

    assert (answer.status_code, answer.json()["state"]) == (202, "PROPOSED")
    (item,) = second.get(QUEUE).json()["items"]
    assert item["proposal"] == answer.json()
    asked = second.get("/approvals?state=PENDING").json()["results"][0]
    assert (asked["id"], asked["kind"]) == (answer.json()["approval"], "CHANGE_DECISION")
    assert asked["payload"]["change"] == str(change.public_id)
    agreed = second.post(f"/approvals/{asked['id']}/approve", {"reason": "I have called them too."})
    assert (agreed.status_code, agreed.json()["state"]) == (200, "EXECUTED")
    assert first.get(QUEUE).json()["items"] == []
    change.refresh_from_db()
    assert change.state == "REFUSED"


def test_who_proposes_does_not_agree(lose):
    change, first = lose("STOPS"), client_of()
    asked = first.post(decide(change), {"to": "DONE", "evidence": SAID}).json()["approval"]

    refused = first.post(f"/approvals/{asked}/approve", {"reason": "Agreed."})

    assert (refused.status_code, refused.json()["code"]) == (403, "second_person_needed")
    assert ChangeDecision.objects.get().state == "PROPOSED"


@pytest.mark.parametrize(("body", "pointers"), [
    ({}, ["/evidence", "/to"]), ({"to": "UNKNOWN", "evidence": SAID}, ["/to"]), ({"to": "DONE"}, ["/evidence"]),
    ({"to": "DONE", "evidence": "short"}, ["/evidence"]), ({"to": "DONE", "evidence": " " * 20}, ["/evidence"]),
    ({"to": "DONE", "evidence": "x" * 2001}, ["/evidence"]), ({"to": "DONE", "evidence": 10**12}, ["/evidence"]),
    ({"to": "DONE", "evidence": "The desk\u0000says so."}, ["/evidence"]), ({"to": None, "evidence": SAID}, ["/to"]),
    ({"to": "DONE", "evidence": SAID, "by": "me"}, ["/by"]),
])  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_changes(lose, body, pointers):
    answer = client_of().post(decide(lose("STOPS")), body)

    assert answer.status_code == 400, answer.json()
    assert sorted(each["pointer"] for each in answer.json()["errors"]) == pointers
    assert not ChangeDecision.objects.exists()


def test_a_cancel_is_never_decided_to_be_done(lose):
    answer = client_of().post(decide(lose("CANCEL")), {"to": "DONE", "evidence": SAID})

    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/to"]


def test_a_second_proposal_and_one_about_what_is_known_are_refused_by_their_code(lose):
    change, operator = lose("STOPS"), client_of()
    body = {"to": "DONE", "evidence": SAID}
    assert operator.post(decide(change), body).status_code == 202

    again = operator.post(decide(change), body)
    unknown = operator.post(f"/trading/changes/{uuid.uuid4()}/decide", body)

    assert (again.status_code, again.json()["code"]) == (409, "change_not_undecided")
    assert unknown.status_code == 404


@pytest.mark.parametrize("role", [Role.TRADER, Role.BOT, Role.COMPLIANCE])
def test_nobody_else_proposes_and_only_compliance_reads(lose, client, role):
    change, other = lose("STOPS"), client if role is Role.TRADER else client_of(role)

    said: Any = other.post(decide(change), {"to": "DONE", "evidence": SAID})

    assert said.status_code == 403
    assert other.get(QUEUE).status_code == (200 if role is Role.COMPLIANCE else 403)
    assert not ChangeDecision.objects.exists()
