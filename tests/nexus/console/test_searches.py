"""Saved searches: each person's own, named, followed and forgotten; nothing else can be kept."""

import contextlib

import pytest
from django.utils.timezone import now

from accounts.models import SavedSearch
from accounts.services import searches
from accounts.states import Role
from tests.factories.accounts import UserFactory
from tests.nexus.console.people import enter, seen, text
from tests.threads import together

pytestmark = pytest.mark.usefixtures("transactional_db")
PAGE = "/admin/searches/audit/"


def save(client, query="", *, page=PAGE, **words):
    address = f"{page}?{query}"
    return client.post(address, {"version": seen(client, address), **words})


@pytest.fixture
def anna():
    return UserFactory.create(role=Role.OPERATOR)


@pytest.fixture
def desk(anna):
    return enter(anna)


def test_a_search_is_kept_found_again_and_forgotten(desk):
    answer = save(desk, "act=order.sent&outcome=&before=77", label="Sends")

    assert (answer.status_code, answer["Location"]) == (302, "/admin/audit/?act=order.sent")
    shown = desk.get("/admin/audit/").content.decode()
    assert '<a href="/admin/audit/?act=order.sent">Sends</a>' in shown
    save(desk, "act=order.filled", label="Sends")
    assert [row.query for row in SavedSearch.objects.all()] == ["act=order.filled"]

    save(desk, forgotten=[SavedSearch.objects.get().pk])

    assert not SavedSearch.objects.exists()
    assert "Sends" not in desk.get("/admin/audit/").content.decode()


def test_nobody_sees_or_forgets_what_another_has_kept(desk):
    save(desk, "act=order.sent", label="Mine")
    other = enter(UserFactory.create(role=Role.COMPLIANCE))

    assert "Mine" not in text(other.get("/admin/audit/")) + text(other.get(PAGE))
    save(other, label="Theirs")
    answer = save(other, forgotten=[SavedSearch.objects.get(label="Mine").pk])

    assert answer.status_code == 422
    assert {row.label for row in SavedSearch.objects.all()} == {"Mine", "Theirs"}


@pytest.mark.parametrize(
    ("query", "words", "status"),
    [("", {}, 422), ("", {"label": "x" * 41}, 422), ("act=" + "x" * 1001, {"label": "Long"}, 422)],
)
def test_what_cannot_be_kept_is_refused(desk, query, words, status):
    assert save(desk, query, **words).status_code == status
    assert not SavedSearch.objects.exists()


def test_a_page_without_a_search_keeps_none(desk):
    assert desk.get("/admin/searches/stops/").status_code == 404


def test_of_many_at_once_no_more_than_the_most_are_kept(anna):
    def keep(number):
        with contextlib.suppress(searches.TooMany):
            return searches.put(by=anna, page="audit", label=f"n{number}", query="", at=now())

    for number in range(100, 100 + searches.KEPT_MAX - 2):
        keep(number)

    kept = together(6, keep)

    assert SavedSearch.objects.count() == searches.KEPT_MAX
    assert sum(each is not None for each in kept) == 2
