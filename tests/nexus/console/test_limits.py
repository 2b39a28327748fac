"""Limits at the console: shown with their versions, lowered by one, raised by two, and never on what was not seen."""

import re
from decimal import Decimal

import pytest
from django.utils.timezone import now

from accounts.models import User
from nexus.audit.types import Actor
from risk.models import LimitChange, RiskLimit
from risk.services import changes
from risk.states import LimitKind, LimitScope
from tests.factories.accounts import UserFactory
from tests.nexus.console.people import confirm, seen, text
from tests.threads import together

LOSS = "/admin/limits/USER/DAILY_LOSS/"


@pytest.fixture
def someone(floor) -> User:
    return UserFactory.create(email="someone@nexus.example")


@pytest.fixture
def limit(someone) -> RiskLimit:
    """A daily loss of 500 USD."""
    return changes.lower(
        scope=LimitScope.USER, key=str(someone.pk), kind=LimitKind.DAILY_LOSS, value=Decimal(500),
        reason="He is new here.", actor=Actor.system("tests"), at=now(),
    )  # fmt: skip


def change(user, value: str) -> str:
    return f"{LOSS}change/?key={user.pk}&value={value}"


def lower_to(value: str, user) -> None:
    changes.lower(
        scope=LimitScope.USER, key=str(user.pk), kind=LimitKind.DAILY_LOSS, value=Decimal(value), reason="Another.",
        actor=Actor.system("tests"), at=now(),
    )  # fmt: skip


def in_force(user) -> Decimal:
    return RiskLimit.objects.get(scope="USER", key=str(user.pk), kind="DAILY_LOSS", ended_at=None).value


def test_limits_are_found_by_whose_they_are_and_shown_beside_the_platforms(console, officer, limit, someone, account):
    for client in (console, officer):
        page = text(client.get("/admin/limits/"))
        assert "USER someone@nexus.example" in page
        assert "He is new here." in page
        page = text(client.get("/admin/limits/", {"scope": "USER", "whose": someone.email}))
        assert re.search(r'DAILY_LOSS</a></td><td data-label="Its own" class="num">500</td>', page)
        assert f"{LOSS}?key={someone.pk}" in page
        for scope, whose in (("ACCOUNT", account.venue_account), ("INSTRUMENT", "EURUSD"), ("PLATFORM", "")):
            page = client.get("/admin/limits/", {"scope": scope, "whose": whose})
            assert len(page.context["lines"]) == len(LimitKind), scope
        page = text(client.get("/admin/limits/", {"scope": "USER", "whose": "nobody@nexus.example"}))
        assert "There is nobody and nothing of this name" in page


def test_a_limit_shows_its_versions_and_who_set_each(console, officer, operator, limit, someone):
    confirm(console, change(someone, "400"))

    page = text(officer.get(f"{LOSS}?key={someone.pk}"))

    assert page.count('mark-ok">in force') == 1
    assert "He is new here." in page
    assert operator.email in page
    assert "See what it would do…" not in page  # an officer only looks
    assert officer.get(change(someone, "300")).status_code == 403
    assert "See what it would do…" in text(console.get(f"{LOSS}?key={someone.pk}"))


def test_less_room_is_at_once_and_by_one(console, limit, someone, new_events):
    page = text(console.get(change(someone, "250")))
    assert "Change at once" in page
    assert "500 USD" in page
    assert "250 USD, from the next order on." in page

    answer = confirm(console, change(someone, "250"))

    assert (answer.status_code, answer.url) == (302, f"{LOSS}?key={someone.pk}")
    assert in_force(someone) == 250
    assert "risk.limit_lowered" in [each.action for each in new_events()]


def test_more_room_takes_two(console, other_console, limit, someone):
    assert "once another operator agrees" in text(console.get(change(someone, "900")))

    answer = confirm(console, change(someone, "900"))

    assert answer.status_code == 302
    assert in_force(someone) == 500
    assert "USER someone@nexus.example, person-" in text(console.get("/admin/limits/"))  # among what waits
    asked = text(other_console.get(answer.url))  # whose limit it is about
    assert f"{LOSS}?key={someone.pk}" in asked
    assert "Whose limit</dt><dd>someone@nexus.example" in asked
    assert confirm(console, f"{answer.url}approve/", version="x").status_code in (403, 409)
    assert confirm(other_console, f"{answer.url}approve/").status_code == 302
    assert in_force(someone) == 900
    assert LimitChange.objects.get().state == "APPLIED"


def test_a_first_value_is_shown_beside_the_platforms(console, someone, settings):
    settings.DAILY_LOSS_LIMIT = Decimal(600)
    assert "no value of its own here: the platform&#x27;s 600 USD hold" in text(console.get(change(someone, "250")))


def test_the_tightest_of_an_owners_the_platforms_and_the_settings_is_told(console, limit, someone, settings):
    settings.DAILY_LOSS_LIMIT, settings.TRADE_VALUE_MIN = Decimal(600), Decimal(5)
    for kind, value in (("DAILY_LOSS", 450), ("TRADE_VALUE_MIN", 20)):
        changes.lower(
            scope=LimitScope.PLATFORM, key="", kind=LimitKind(kind), value=Decimal(value), reason="All of them.",
            actor=Actor.system("tests"), at=now(),
        )  # fmt: skip
    lines = {line.kind: line for line in console.get(f"/admin/limits/?scope=USER&key={someone.pk}").context["lines"]}

    assert (lines["DAILY_LOSS"].own.value, lines["DAILY_LOSS"].ceiling, lines["DAILY_LOSS"].in_force) == (500, 450, 450)
    assert (lines["TRADE_VALUE_MIN"].ceiling, lines["TRADE_VALUE_MIN"].in_force) == (
        20,
        20,
    )


def test_a_ceiling_of_the_platform_that_is_tighter_is_said_beforehand(console, limit, someone, settings):
    settings.DAILY_LOSS_LIMIT = Decimal(600)
    assert "The platform's 600 is tighter" in text(console.get(change(someone, "900"))).replace("&#x27;", "'")


@pytest.mark.parametrize("value", ["", "0", "-5", "1e3", "NaN", "five", "1,5", "٣", "0.123456789", "500"])
def test_what_is_no_other_value_is_said_and_cannot_be_confirmed(console, limit, someone, value):
    page = console.get(change(someone, value))

    assert page.status_code == 200
    assert "<textarea" not in text(page)
    version = page.context["plan"].version
    assert confirm(console, change(someone, value), version=version).status_code == 422
    assert in_force(someone) == 500


def test_what_is_counted_is_a_whole_number(console, someone):
    path = f"/admin/limits/USER/ORDERS_PER_DAY/change/?key={someone.pk}&value=2.5"
    assert "write a whole number" in text(console.get(path))


def test_an_unknown_limit_or_owner_is_a_404(console):
    for path in ("USER/DAILY_LOSS/?key=999999", "USER/DAILY_LOSS/?key=x", "USER/NOTHING/?key=1", "KING/DAILY_LOSS/"):
        assert console.get(f"/admin/limits/{path}").status_code == 404, path


def test_a_form_that_was_seen_for_another_value_does_nothing(console, limit, someone):
    version = seen(console, change(someone, "400"))

    assert confirm(console, change(someone, "100"), version=version).status_code == 409
    assert in_force(someone) == 500


def test_a_limit_that_has_changed_is_a_409_and_shows_how_it_stands(console, limit, someone):
    version = seen(console, change(someone, "400"))
    lower_to("450", someone)

    answer = confirm(console, change(someone, "400"), version=version)

    assert answer.status_code == 409
    assert "450 USD" in text(answer)
    assert in_force(someone) == 450


@pytest.mark.parametrize("value", ["400", "900"])
def test_what_changes_at_the_last_moment_is_not_acted_upon(console, limit, someone, value, monkeypatch):
    """Between the comparison of the versions and the lock of the limit."""

    def meanwhile(*_args, **_given) -> None:
        lower_to("450", someone)

    monkeypatch.setattr("accounts.services.step_up.require_typed", meanwhile)

    assert confirm(console, change(someone, value)).status_code == 409
    assert in_force(someone) == 450
    assert not LimitChange.objects.exists()


@pytest.mark.parametrize("value", ["400", "900"])
def test_of_two_who_change_a_limit_at_once_one_wins_and_the_other_is_told(
    console, other_console, limit, someone, value
):
    version = seen(console, change(someone, value))
    people = (console, other_console)

    answers = together(2, lambda n: confirm(people[n], change(someone, value), version=version).status_code)

    assert sorted(answers) == [302, 409]
    assert RiskLimit.objects.filter(key=str(someone.pk)).count() == (2 if value == "400" else 1)
    assert LimitChange.objects.count() == (0 if value == "400" else 1)
