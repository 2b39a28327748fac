"""Four eyes: nothing dangerous happens before another person agrees to exactly that, and then it happens once."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.utils.timezone import now

from accounts.models import ApprovalDecision, ApprovalRequest, User
from accounts.services import approvals, staffing
from accounts.services.approvals import (
    AlreadyDecided,
    ApprovalClosed,
    ApprovalPending,
    SecondPersonNeeded,
)
from accounts.states import ApprovalState, Role
from nexus.audit.models import Pii
from nexus.core.errors import Denied, Invalid, NexusError, NotFound
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.links import token_of
from tests.factories.second_factor import enrolled
from tests.threads import together

AT = datetime.fromisoformat("2026-01-05T12:00:00+00:00")


@pytest.fixture
def people(transactional_db: None) -> list[User]:
    """Four operators."""
    return [UserFactory.create(role=Role.OPERATOR) for _ in range(4)]


@pytest.fixture
def trader(people: list[User]) -> User:
    return UserFactory.create()


def ask(trader: User, by: User, role: Role = Role.COMPLIANCE, *, at: datetime | None = None) -> ApprovalRequest:
    return staffing.ask_for_role(public_id=trader.public_id, role=role, reason="He moved.", by=by, at=at or now())


def approve(request: ApprovalRequest, by: User, *, at: datetime | None = None) -> Any:
    return approvals.decide(public_id=request.public_id, approve=True, by=by, reason="Agreed.", at=at or now())


def role_of(user: User) -> str:
    return User.objects.values_list("role", flat=True).get(pk=user.pk)


def state_of(request: ApprovalRequest) -> str:
    return ApprovalRequest.objects.values_list("state", flat=True).get(pk=request.pk)


def test_a_second_person_executes_and_both_stand_in_the_audit(people, trader, new_events):
    request = ask(trader, people[0])
    assert role_of(trader) == Role.TRADER

    approve(request, people[1])

    assert (role_of(trader), state_of(request)) == (Role.COMPLIANCE, ApprovalState.EXECUTED)
    told = {event.action: event for event in new_events()}
    assert told["approval.requested"].actor_id == str(people[0].public_id)
    assert told["approval.executed"].actor_id == str(people[1].public_id)
    detail = json.loads(told["accounts.user.role_changed"].canonical)["detail"]
    assert (detail["before"], detail["after"]) == ({"role": "TRADER"}, {"role": "COMPLIANCE"})


@pytest.mark.threat(17)
def test_nobody_agrees_to_his_own_request_through_the_api_or_by_sql(people, trader):
    client = ApiClient().login(people[0])
    answer = client.post(f"/users/{trader.public_id}/role", {"role": "COMPLIANCE", "reason": "He moved."})
    assert answer.status_code == 202, answer.content
    number = answer.json()["id"]

    refused = client.post(f"/approvals/{number}/approve", {"reason": "Myself."})

    assert (refused.status_code, refused.json()["code"]) == (403, "second_person_needed")
    request = ApprovalRequest.objects.get(public_id=UUID(number))
    row = {"request": request, "decision": "APPROVE", "reason": "Myself.", "decided_at": now()}
    own = {"decided_by": people[0], "requested_by": people[0]}
    forged = {"decided_by": people[0], "requested_by": people[1]}  # as if another had asked
    for who in (own, forged):
        with pytest.raises(DatabaseError, match="approval_decision"), transaction.atomic():
            ApprovalDecision.objects.create(**row, **who)
    with pytest.raises(DatabaseError, match="too few have agreed"), transaction.atomic():
        ApprovalRequest.objects.filter(pk=request.pk).update(state="EXECUTED", closed_at=now())
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        ApprovalRequest.objects.filter(pk=request.pk).update(requested_by=people[1])
    assert role_of(trader) == Role.TRADER


@pytest.mark.threat(17)
@pytest.mark.parametrize("change", [{"is_active": False}, {"role": Role.TRADER}], ids=["shut out", "another role"])
def test_what_somebody_asked_for_who_may_no_longer_ask_is_not_done(people, trader, change):
    request = ask(trader, people[0])
    User.objects.filter(pk=people[0].pk).update(**change)

    with pytest.raises(approvals.ApprovalStale):
        approve(request, people[1])

    assert (role_of(trader), state_of(request)) == (Role.TRADER, ApprovalState.STALE)


@pytest.mark.threat(18)
def test_what_changed_since_it_was_asked_for_is_not_done(people, trader):
    request = ask(trader, people[0])
    User.objects.filter(pk=trader.pk).update(role=Role.BOT)

    answer = ApiClient().login(people[1]).post(f"/approvals/{request.public_id}/approve", {"reason": "Agreed."})

    assert (answer.status_code, answer.json()["code"]) == (409, "approval_stale")
    assert (role_of(trader), state_of(request)) == (Role.BOT, ApprovalState.STALE)
    with pytest.raises(ApprovalClosed, match="stale"):
        approve(request, people[2])


@pytest.mark.threat(18)
def test_a_payload_that_was_edited_is_refused_by_the_database(people, trader):
    request = ask(trader, people[0])

    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        ApprovalRequest.objects.filter(pk=request.pk).update(payload={"role": "OPERATOR"})


def test_two_who_agree_at_the_same_instant_execute_once(people, trader, new_events):
    request = ask(trader, people[0])

    def act(number: int) -> str:
        try:
            approve(request, people[1 + number])
        except ApprovalClosed:
            return "closed"
        return "executed"

    assert sorted(together(3, act)) == ["closed", "closed", "executed"]
    actions = [event.action for event in new_events()]
    assert (actions.count("approval.executed"), actions.count("accounts.user.role_changed")) == (1, 1)
    assert ApprovalDecision.objects.filter(request=request).count() == 1


@pytest.mark.threat(17)
def test_three_eyes_pairs_count_distinct_people(people, trader):
    with transaction.atomic():
        request = approvals.ask(
            kind="USER_ROLE", target=staffing._target(trader), payload=staffing._role(trader, Role.COMPLIANCE),
            by=people[0], reason="He moved.", at=now(), required=2,
        )  # fmt: skip

    assert approve(request, people[1]).executed is None
    with pytest.raises(AlreadyDecided):
        approve(request, people[1])
    assert role_of(trader) == Role.TRADER
    approve(request, people[2])
    assert role_of(trader) == Role.COMPLIANCE


def test_a_request_ends_after_a_day(people, trader):
    request = ask(trader, people[0])
    assert request.expires_at - request.requested_at == timedelta(hours=24)

    with pytest.raises(ApprovalClosed, match="expired"):
        approve(request, people[1], at=request.expires_at)

    assert (role_of(trader), state_of(request)) == (Role.TRADER, ApprovalState.EXPIRED)


def test_an_expired_request_does_not_stand_in_the_way_of_another(people, trader):
    request = ask(trader, people[0], at=AT)
    with pytest.raises(ApprovalPending):
        ask(trader, people[1], at=AT + timedelta(hours=23))

    ask(trader, people[1], at=AT + timedelta(hours=24))

    assert state_of(request) == ApprovalState.EXPIRED


def test_it_is_rejected_by_another_and_taken_back_by_who_asked(people, trader):
    rejected = ask(trader, people[0])
    with pytest.raises(SecondPersonNeeded):
        approvals.decide(public_id=rejected.public_id, approve=False, by=people[0], reason="No.", at=now())
    approvals.decide(public_id=rejected.public_id, approve=False, by=people[1], reason="No.", at=now())
    taken_back = ask(trader, people[0])
    with pytest.raises(Denied):
        approvals.cancel(public_id=taken_back.public_id, by=people[1], reason="Not mine.", at=now())
    approvals.cancel(public_id=taken_back.public_id, by=people[0], reason="A mistake.", at=now())

    assert (state_of(rejected), state_of(taken_back)) == (ApprovalState.REJECTED, ApprovalState.CANCELED)
    for request in (rejected, taken_back):
        with pytest.raises(ApprovalClosed):
            approve(request, people[2])
    assert role_of(trader) == Role.TRADER


@pytest.mark.threat(17)
def test_who_it_is_about_neither_asks_nor_agrees(people):
    with pytest.raises(Invalid):
        ask(people[0], people[0])
    request = ask(people[0], people[1], Role.TRADER)

    with pytest.raises(SecondPersonNeeded):
        approve(request, people[0])
    approve(request, people[2])
    assert role_of(people[0]) == Role.TRADER


@pytest.mark.parametrize("role", [Role.TRADER, Role.BOT, Role.COMPLIANCE])
def test_only_operators_ask_and_agree(people, trader, role):
    stranger = UserFactory.create(role=role)
    request = ask(trader, people[0])

    for act in (
        lambda: ask(trader, stranger),
        lambda: approve(request, stranger),
        lambda: approvals.cancel(public_id=request.public_id, by=stranger, reason="x", at=now()),
    ):
        with pytest.raises(Denied):
            act()
    with pytest.raises(Invalid):
        approvals.decide(public_id=request.public_id, approve=True, by=people[1], reason=" ", at=now())
    with pytest.raises(NotFound):
        approvals.decide(public_id=trader.public_id, approve=True, by=people[1], reason="x", at=now())


def test_a_failing_execution_leaves_nothing_behind(people, trader, monkeypatch, new_events):
    request = ask(trader, people[0])

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise NexusError("Broken.")

    monkeypatch.setattr(staffing, "_finish", fail)
    with pytest.raises(NexusError, match="Broken"):
        approve(request, people[1])

    assert (role_of(trader), state_of(request)) == (Role.TRADER, ApprovalState.PENDING)
    assert not ApprovalDecision.objects.exists()
    assert "approval.approved" not in [event.action for event in new_events()]


def test_what_was_said_is_never_changed(people, trader):
    request = ask(trader, people[0])
    approve(request, people[1])

    for act in (
        lambda: ApprovalDecision.objects.update(reason="Another."),
        lambda: ApprovalDecision.objects.all().delete(),
        lambda: ApprovalRequest.objects.update(state="PENDING", closed_at=None),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            act()


@pytest.mark.threat(10)
def test_another_role_ends_what_was_begun_under_the_old_one(people):
    demoted = UserFactory.create(role=Role.OPERATOR)
    client = ApiClient().login(demoted)
    assert client.get("/users").status_code == 200

    approve(ask(demoted, people[0], Role.TRADER), people[1])

    assert client.get("/users").status_code == 401  # the session is over …
    assert ApiClient().login(demoted).get("/users").status_code == 403  # … and a new one has the new role


def test_a_deactivated_user_is_out_at_the_next_request(people, trader):
    client = ApiClient().login(trader)
    request = staffing.ask_to_deactivate(public_id=trader.public_id, reason="Left.", by=people[0], at=now())
    assert client.get("/auth/profile").status_code == 200

    approve(request, people[1])

    assert client.get("/auth/profile").status_code == 401
    assert client.post("/auth/login", {"email": trader.email, "password": PASSWORD}).status_code == 401


def test_a_new_user_comes_in_by_a_link_that_works_once(people):
    first, second = (ApiClient().login(person) for person in people[:2])
    body = {"email": "New@Nexus.example", "role": "TRADER", "reason": "Hired."}
    asked = first.post("/users", body)
    assert asked.status_code == 202
    assert not User.objects.filter(email="new@nexus.example").exists()

    agreed = second.post(f"/approvals/{asked.json()['id']}/approve", {"reason": "Agreed."})

    token = token_of(agreed.json(), first)
    stranger = ApiClient()
    weak = stranger.post("/auth/enrol", {"token": token, "password": "password"})
    assert (weak.status_code, weak.json()["code"]) == (422, "password_refused")
    assert stranger.post("/auth/enrol", {"token": token, "password": PASSWORD}).status_code == 204
    assert stranger.post("/auth/enrol", {"token": token, "password": PASSWORD + "2"}).status_code == 401
    assert ApiClient().login(User.objects.get(email="new@nexus.example")).get("/auth/profile").status_code == 200
    assert token not in second.get(f"/approvals/{asked.json()['id']}").content.decode()
    assert first.post("/users", body).json()["code"] == "email_taken"


def test_who_is_to_come_in_stands_in_the_log_where_it_can_be_erased(people, new_events):
    first, second = (ApiClient().login(person) for person in people[:2])
    body = {"email": "New@Nexus.example", "full_name": "Nora New", "role": "TRADER", "reason": "Hired."}
    asked = first.post("/users", body).json()

    second.post(f"/approvals/{asked['id']}/approve", {"reason": "Agreed."})

    told = {event.action: event for event in new_events() if "approval" in event.action or "user" in event.action}
    assert {"approval.requested", "approval.approved", "approval.executed", "accounts.user.created"} <= set(told)
    for event in told.values():
        assert not [word for word in ("nexus.example", "Nora") if word in event.canonical], event.action
        assert asked["payload_sha256"] not in event.canonical  # a guess at the address would be proven by it
    kept = told["approval.requested"]
    assert (kept.object_type, kept.object_id, '"role": "TRADER"' in kept.canonical) == ("new_user", asked["id"], True)
    assert json.loads(Pii.objects.get(event=kept).data) == {
        "email": "new@nexus.example", "full_name": "Nora New", "payload_sha256": asked["payload_sha256"],
    }  # fmt: skip


def test_operators_and_compliance_see_what_waits(people, trader):
    request = ask(trader, people[0])
    for role, status in ((Role.OPERATOR, 200), (Role.COMPLIANCE, 200), (Role.TRADER, 403), (Role.BOT, 403)):
        client = ApiClient().login(UserFactory.create(role=role))
        answer = client.get("/approvals?state=PENDING&limit=1")
        assert answer.status_code == status
        if status == 200:
            assert [row["id"] for row in answer.json()["results"]] == [str(request.public_id)]


WAITS_FOR_ME = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"


def until_somebody_waits_for_me() -> None:
    """Wait until another connection waits for a lock that this one holds."""
    deadline = time.monotonic() + 30
    with connection.cursor() as cursor:
        cursor.execute(WAITS_FOR_ME)
        while cursor.fetchone() == (0,):
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.01)
            cursor.execute(WAITS_FOR_ME)


@pytest.mark.parametrize("asking", ["role", "deactivate", "reset"])
def test_who_asks_about_a_user_who_changes_at_that_moment_is_told_and_has_asked_for_nothing(people, trader, asking):
    """One changes the user, on one connection; another asks for more on what he has seen, on another."""
    enrolled(trader)
    seen = User.objects.get(pk=trader.pk).token_version
    asks: dict[str, Callable[..., ApprovalRequest]] = {
        "role": partial(staffing.ask_for_role, role=Role.OPERATOR),
        "deactivate": staffing.ask_to_deactivate,
        "reset": staffing.ask_to_reset,
    }

    def other() -> ApprovalRequest:
        try:
            return asks[asking](public_id=trader.public_id, reason="He moved.", by=people[2], at=now(), seen=seen)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=1) as pool:
        with transaction.atomic():
            User.objects.locked().get(pk=trader.pk)
            answer = pool.submit(other)
            until_somebody_waits_for_me()
            User.objects.filter(pk=trader.pk).update(role=Role.COMPLIANCE, token_version=seen + 1)
        with pytest.raises(staffing.ChangedSince):
            answer.result(timeout=60)

    assert not ApprovalRequest.objects.exists()
    assert asks[asking](public_id=trader.public_id, reason="He moved.", by=people[2], at=now(), seen=seen + 1)
