"""Approvals, alerts and locks at the console: who may, once, and whoever is late is told."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils.timezone import now

from accounts.models import ApprovalRequest, LoginGate, User
from accounts.services import staffing
from accounts.states import Role
from nexus.alerts.models import Alert, Delivery
from risk.models import SuspicionClearance
from tests.factories.accounts import UserFactory
from tests.nexus.console.people import confirm, enter, seen, text
from tests.threads import together


@pytest.fixture
def third(floor) -> Client:
    """A third operator's console."""
    return enter(UserFactory.create(role=Role.OPERATOR))


@pytest.fixture
def asked(operators) -> ApprovalRequest:
    """The first operator asks for a new trader."""
    return staffing.ask_to_create(
        email="new@nexus.example", full_name="New", role=Role.TRADER, reason="She starts on Monday.", by=operators[0],
        at=now(),
    )  # fmt: skip


def at(asked, verb):
    return f"/admin/approvals/{asked.public_id}/{verb}/"


def created() -> bool:
    return User.objects.filter(email="new@nexus.example").exists()


def test_another_operator_approves_and_what_is_shown_once_is_in_no_message(asked, other_console):
    page = confirm(other_console, at(asked, "approve"))

    assert page.status_code == 200
    assert "This is shown once" in text(page)
    assert created()
    assert not other_console.cookies.get("messages")
    assert not text(page).count("messagelist")


def test_approve_is_hidden_from_who_asked_and_refused_all_the_same(asked, console):
    shown = text(console.get(f"/admin/approvals/{asked.public_id}/"))
    version = seen(enter(UserFactory.create(role=Role.OPERATOR)), at(asked, "approve"))

    assert "Approve…" not in shown
    assert "Take back…" in shown
    assert "<textarea" not in text(console.get(at(asked, "approve")))
    assert confirm(console, at(asked, "approve"), version=version).status_code == 403
    assert not created()


def test_who_asked_takes_it_back_and_nobody_else(asked, console, other_console):
    version = seen(console, at(asked, "take-back"))
    assert confirm(other_console, at(asked, "take-back"), version=version).status_code == 403

    assert confirm(console, at(asked, "take-back")).status_code == 302
    asked.refresh_from_db()
    assert (asked.state, created()) == ("CANCELED", False)


def test_a_rejected_request_does_nothing(asked, other_console):
    assert confirm(other_console, at(asked, "reject")).status_code == 302

    asked.refresh_from_db()
    assert (asked.state, created()) == ("REJECTED", False)


def test_of_two_who_approve_at_once_one_wins_and_the_other_is_told(asked, other_console, third, new_events):
    version = seen(third, at(asked, "approve"))
    people = (other_console, third)

    answers = together(2, lambda n: confirm(people[n], at(asked, "approve"), version=version))

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert "Nothing was done" in text(next(each for each in answers if each.status_code == 409))
    assert [event.action for event in new_events()].count("approval.executed") == 1


def test_what_was_decided_meanwhile_is_a_409(asked, other_console, third):
    version = seen(third, at(asked, "approve"))
    confirm(other_console, at(asked, "reject"))

    assert confirm(third, at(asked, "approve"), version=version).status_code == 409
    assert not created()


@pytest.fixture
def alert(floor) -> Alert:
    """A critical alert, one message of which nobody could be given."""
    row = Alert.objects.create(
        severity="CRITICAL", kind="WATCH_BLIND", dedupe_key="x", text="It cannot be read.", last_seen_at=now(),
        opened_at=now() - timedelta(minutes=9),
    )  # fmt: skip
    Delivery.objects.create(alert=row, channel="mail", word="OPENED", state="FAILED", next_at=now(), fault="535 no")
    return row


def test_an_alert_is_taken_once_and_its_dead_message_leaves_the_queue(alert, console, other_console, operator):
    assert "535 no" in text(console.get("/admin/alerts/"))
    path = f"/admin/alerts/{alert.pk}/take/"
    version = seen(other_console, path)

    assert confirm(console, path).status_code == 302
    late = confirm(other_console, path, version=version)

    assert late.status_code == 409
    assert operator.email in text(late)  # who was faster
    alert.refresh_from_db()
    assert alert.acknowledged_by == str(operator.public_id)
    page = text(console.get("/admin/alerts/"))
    assert "535 no" not in page
    assert "Every message got through" in page


def test_of_two_who_take_an_alert_at_once_one_has_it(alert, console, other_console):
    path = f"/admin/alerts/{alert.pk}/take/"
    people = (console, other_console)

    answers = together(2, lambda n: confirm(people[n], path, version="").status_code)

    assert sorted(answers) == [302, 409]


@pytest.fixture
def suspicion(floor, settings) -> Alert:
    """An alert of orders that look suspicious and are refused until somebody has looked."""
    settings.REVIEWED_SUSPICIONS = ["BURST"]
    trader = UserFactory.create()
    return Alert.objects.create(
        severity="WARNING", kind="SUSPICION_BURST", dedupe_key="y", object_type="user",
        object_id=str(trader.public_id), text="Paper (mt5 5001), EURUSD: 20 orders or more within 10 s.",
        last_seen_at=now(), opened_at=now(),
    )  # fmt: skip


def test_what_looks_suspicious_is_let_pass_and_the_trader_s_page_says_so(suspicion, alert, console):
    path, page = f"/admin/alerts/{suspicion.pk}/let-pass/", console.get("/admin/alerts/").content.decode()
    assert path in page
    assert f"/admin/alerts/{alert.pk}/let-pass/" not in page
    assert "pass for 60 minutes" in text(console.get(path))
    assert "20 ordres ou plus en 10 s." in text(console.get(path, headers={"accept-language": "fr"}))

    assert confirm(console, path).status_code == 302

    suspicion.refresh_from_db()
    assert (suspicion.closed_at is None, suspicion.note != "") == (False, True)
    assert '<span class="mark mark-soon">BURST</span> until' in text(
        console.get(f"/admin/users/{suspicion.object_id}/")
    )


def test_of_two_who_let_the_same_pass_at_once_one_does(suspicion, console, other_console):
    path = f"/admin/alerts/{suspicion.pk}/let-pass/"
    people = (console, other_console)

    answers = together(2, lambda n: confirm(people[n], path, version="").status_code)

    assert (sorted(answers), SuspicionClearance.objects.count()) == ([302, 409], 1)


def test_nothing_is_let_pass_where_nothing_is_held_back(suspicion, alert, console, settings):
    assert console.get(f"/admin/alerts/{alert.pk}/let-pass/").status_code == 409
    settings.REVIEWED_SUSPICIONS = []

    assert "/let-pass/" not in console.get("/admin/alerts/").content.decode()
    assert console.get(f"/admin/alerts/{suspicion.pk}/let-pass/").status_code == 409


@pytest.fixture
def locked(floor) -> str:
    """A trader who has guessed too often; returns the page that opens the lock."""
    trader = UserFactory.create()
    for _ in range(6):
        Client().post("/admin/login/", {"username": trader.email, "password": "wrong-wrong-wrong", "code": "000000"})
    gate = LoginGate.objects.get(kind="pair", locked_until__isnull=False)
    return f"/admin/logins/{bytes(gate.bucket).hex()}/unlock/"


def test_a_locked_login_is_listed_by_name_and_opened_with_a_reason(locked, console, new_events):
    trader = User.objects.get(role=Role.TRADER)
    assert trader.email in text(console.get("/admin/logins/"))

    assert confirm(console, locked, reason="short").status_code == 422
    assert confirm(console, locked).status_code == 302

    assert not LoginGate.objects.filter(locked_until__gt=now()).exists()
    assert "auth.login.unlocked" in [event.action for event in new_events()]
    assert "Nobody is locked out" in text(console.get("/admin/logins/"))


def test_of_two_who_unlock_at_once_one_wins_and_the_other_is_told(locked, console, other_console, new_events):
    version = seen(console, locked)
    people = (console, other_console)

    answers = together(2, lambda n: confirm(people[n], locked, version=version).status_code)

    assert sorted(answers) == [302, 409]
    assert [event.action for event in new_events()].count("auth.login.unlocked") == 1


def test_compliance_sees_every_queue_and_acts_in_none(asked, alert, locked, officer, new_events):
    for path in ("approvals/", f"approvals/{asked.public_id}/", "alerts/", "logins/", "reviews/", "orders/unknown/"):
        page = officer.get(f"/admin/{path}")
        assert page.status_code == 200, path
        assert "…</a>" not in text(page), path  # nothing is offered
    for path in (at(asked, "approve"), f"/admin/alerts/{alert.pk}/take/", locked):
        assert officer.get(path).status_code == 403, path
        assert confirm(officer, path, version="x").status_code == 403, path
    assert [event.action for event in new_events()].count("access.denied") == 6
    assert "access.denied" in text(officer.get("/admin/"))
