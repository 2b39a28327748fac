"""A stop is eased at the console by two operators, who see every precondition; a changed stop is not eased."""

import re

import pytest

from risk.models import ControlRelease, TradingControl
from risk.states import StopLevel
from tests import stops
from tests.factories.accounts import UserFactory
from tests.nexus.console.people import code_of, enter
from tests.stops import stop
from tests.threads import together
from trading.services import resuming

REASON = "The prices are right again."


@pytest.fixture
def halted(operators, account):
    """An account under a stop of the system, looked at since."""
    stop()
    stops.reconciled(account)
    return TradingControl.objects.get(scope="SYSTEM")


def propose(client, control, **changes):
    form = {"level": "ACTIVE", "reason": REASON, "version": str(control.version), "otp": code_of(client)} | changes
    return client.post(f"/admin/stops/{control.pk}/propose/", form)


def seen(client, path):
    """Return the version that a page's form carries."""
    found = re.search(r'name="version" value="([^"]*)"', client.get(path).content.decode())
    assert found
    return found[1]


def decide(client, release, verb="approve", version=None):
    path = f"/admin/releases/{release.pk}/{verb}/"
    shown = seen(client, path) if version is None else version
    return client.post(path, {"reason": REASON, "version": shown, "otp": code_of(client)})


def level():
    return StopLevel(TradingControl.objects.get(scope="SYSTEM").level).name


def test_two_operators_ease_a_stop(console, other_console, halted, new_events):
    assert propose(console, halted).status_code == 302
    assert level() == "HALTED"

    answer = decide(other_console, ControlRelease.objects.get())

    assert (answer.status_code, level()) == (302, "ACTIVE")
    actions = [event.action for event in new_events()]
    assert {"control.release_proposed", "control.released"} <= set(actions)


def test_every_precondition_is_shown_and_each_that_fails_says_why(console, operators, account):
    stop()

    page = console.get(f"/admin/stops/{TradingControl.objects.get(scope='SYSTEM').pk}/").content.decode()

    for check in resuming.CHECKS:
        assert check.__name__.upper() in page
    assert "DOES NOT HOLD" in page
    assert "No fresh look has succeeded at" in page


def test_who_proposed_is_not_offered_to_approve_and_is_refused(console, halted):
    propose(console, halted)
    release = ControlRelease.objects.get()

    page = console.get(f"/admin/stops/{halted.pk}/").content.decode()
    assert "Approve…" not in page
    assert "You proposed this" in page
    assert "<textarea" not in console.get(f"/admin/releases/{release.pk}/approve/").content.decode()
    answer = decide(console, release, version=f"{release.pk}.PROPOSED.{halted.version}")
    assert (answer.status_code, level()) == (403, "HALTED")


def test_a_stop_that_was_set_anew_is_not_proposed_about(console, halted):
    before = halted.version
    stop(reason="Again.")

    answer = propose(console, halted, version=str(before))

    assert answer.status_code == 409
    assert REASON in answer.content.decode()  # kept: whoever still wants it says so on what stands now
    assert not ControlRelease.objects.exists()


def test_a_stop_that_was_set_anew_is_not_eased_by_whoever_saw_the_old_one(console, other_console, halted):
    propose(console, halted)
    release = ControlRelease.objects.get()
    version = seen(other_console, f"/admin/releases/{release.pk}/approve/")
    stop(reason="Again.")

    answer = decide(other_console, release, version=version)

    assert (answer.status_code, level()) == (409, "HALTED")


def test_while_a_precondition_does_not_hold_nothing_is_eased(console, other_console, operators, account):
    stop()
    propose(console, TradingControl.objects.get(scope="SYSTEM"))

    answer = decide(other_console, ControlRelease.objects.get())

    assert (answer.status_code, level()) == (409, "HALTED")
    assert "RECONCILED" in answer.content.decode()
    assert ControlRelease.objects.get().state == "PROPOSED"


def test_a_refusal_lets_the_stop_stay(console, other_console, halted):
    propose(console, halted)

    assert decide(other_console, ControlRelease.objects.get(), "refuse").status_code == 302
    assert (ControlRelease.objects.get().state, level()) == ("REFUSED", "HALTED")


def test_two_who_decide_at_once_one_wins_and_the_other_is_told(console, other_console, halted):
    from accounts.states import Role  # noqa: PLC0415 - only here

    third = enter(UserFactory.create(role=Role.OPERATOR))
    propose(console, halted)
    release = ControlRelease.objects.get()
    version = seen(third, f"/admin/releases/{release.pk}/approve/")
    people = (other_console, third)

    answers = together(2, lambda n: decide(people[n], release, version=version))

    assert sorted(answer.status_code for answer in answers) == [302, 409]
    loser = next(answer for answer in answers if answer.status_code == 409)
    assert "Nothing was done" in loser.content.decode()
    assert level() == "ACTIVE"


def test_compliance_sees_a_stop_and_cannot_ease_it(officer, halted):
    page = officer.get(f"/admin/stops/{halted.pk}/").content.decode()

    assert "Propose to ease it" not in page
    assert propose(officer, halted).status_code == 403
    assert not ControlRelease.objects.exists()


def test_a_stop_that_is_gone_is_said_to_be(console, halted):
    assert console.get("/admin/stops/999999/").status_code == 404
    assert console.get("/admin/releases/999999/approve/").status_code == 404
