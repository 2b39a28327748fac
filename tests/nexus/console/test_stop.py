"""The button: it stops what was chosen, by whoever may, and nothing stands in its way."""

from typing import Any

import pytest

from risk.models import TradingControl
from risk.states import StopLevel
from tests.factories.accounts import UserFactory
from tests.nexus.console.people import enter
from tests.threads import together

REASON = "The broker quotes nonsense."


def form(**changes):
    return {"scope": "SYSTEM", "level": "HALTED", "sweep": "NONE", "reason": REASON, "version": ""} | changes


def level(scope="SYSTEM"):
    row = TradingControl.objects.filter(scope=scope).first()
    return None if row is None else StopLevel(row.level).name


def test_an_operator_stops_everything_at_once(console, operator, new_events):
    answer = console.post("/admin/stop/", form())

    assert (answer.status_code, answer.url) == (302, "/admin/stops/")
    row = TradingControl.objects.get(scope="SYSTEM")
    assert (row.level, row.reason, row.set_by) == (StopLevel.HALTED, REASON, str(operator.public_id))
    assert "control.level_set" in [event.action for event in new_events()]
    assert "STOPPED: SYSTEM is HALTED." in console.get("/admin/stops/").content.decode()


def test_a_compliance_officer_may(officer):
    assert officer.post("/admin/stop/", form()).status_code == 302
    assert level() == "HALTED"


def test_a_trader_does_not_get_in(floor):
    answer: Any = enter(UserFactory.create()).post("/admin/stop/", form())

    assert answer.status_code == 302
    assert answer.url.startswith("/admin/login/")
    assert level() == "ACTIVE"


@pytest.mark.parametrize(
    ("changes", "scope"),
    [
        ({"scope": "BROKER", "broker": "mt5"}, "BROKER"),
        ({"scope": "INSTRUMENT", "instrument": "EURUSD", "level": "REDUCE_ONLY"}, "INSTRUMENT"),
    ],
)
def test_a_part_is_stopped_and_the_rest_runs(console, changes, scope):
    assert console.post("/admin/stop/", form(**changes)).status_code == 302

    assert level(scope) == changes.get("level", "HALTED")
    assert level() == "ACTIVE"


def test_an_account_is_stopped_and_swept(console, account):
    answer = console.post("/admin/stop/", form(scope="ACCOUNT", account=str(account.public_id), sweep="FLATTEN"))

    assert answer.status_code == 302
    row = TradingControl.objects.get(scope="ACCOUNT")
    assert (row.key, row.sweep) == (str(account.pk), "FLATTEN")


def test_a_user_is_found_by_email(console):
    user = UserFactory.create()

    assert console.post("/admin/stop/", form(scope="USER", user=user.email.upper())).status_code == 302
    assert TradingControl.objects.get(scope="USER").key == str(user.pk)


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "Too short"},
        {"reason": " " * 50},
        {"reason": "x" * 501},
        {"scope": "ACCOUNT"},
        {"scope": "SYSTEM", "instrument": "EURUSD"},  # one of the two is not meant
        {"scope": "BROKER", "broker": "nobody"},
        {"scope": "USER", "user": "nobody@nexus.example"},
        {"level": "ACTIVE"},
        {"level": "REDUCE_ONLY", "sweep": "FLATTEN"},
        {"sweep": "ALL"},
    ],
)
def test_what_makes_no_sense_stops_nothing_and_says_so(console, changes):
    answer = console.post("/admin/stop/", form(**changes))

    assert answer.status_code == 422
    assert "Nothing was done" in answer.content.decode()
    assert [row.level for row in TradingControl.objects.all()] == [StopLevel.ACTIVE]


@pytest.mark.threat(19)
def test_nobody_stops_by_a_link_or_without_the_token_of_the_form(console, operator):
    from django.test import Client  # noqa: PLC0415 - only here

    strict = Client(enforce_csrf_checks=True)
    strict.cookies = console.cookies

    assert console.get("/admin/stop/", form()).status_code == 200
    assert strict.post("/admin/stop/", form()).status_code == 403
    assert level() == "ACTIVE"


def test_two_who_stop_at_once_both_have_stopped(console, other_console):
    answers = together(2, lambda n: (console, other_console)[n].post("/admin/stop/", form()).status_code)

    assert answers == [302, 302]
    assert level() == "HALTED"
