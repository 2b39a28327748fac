"""One's own audit events over the API: one's own alone, in pages, without personal data."""

import pytest

from accounts.states import Role
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from tests.accounts.test_keys import bot, make
from tests.client import ApiClient
from tests.factories.accounts import UserFactory

pytestmark = pytest.mark.django_db


def act(client: ApiClient, name: str) -> None:
    assert client.user is not None
    me = Actor.user(client.user.public_id)
    trail.record(action=f"test.{name}", actor=me, target=Target("thing", name), pii={"ip": "203.0.113.77"})


def test_each_sees_the_own_events_in_pages_and_nobody_elses():
    mine, other = (ApiClient().login(UserFactory.create(role=role)) for role in (Role.TRADER, Role.OPERATOR))
    for name in ("one", "two", "three"):
        act(mine, name)
        act(other, f"not_{name}")

    first = mine.get("/auth/events?limit=2").json()
    second = mine.get(f"/auth/events?limit=200&before={first['next']}").json()

    assert [row["object_id"] for row in first["results"]] == ["three", "two"]
    assert second["results"][0]["object_id"] == "one"
    assert second["next"] is None
    seen = first["results"] + second["results"]
    assert not [row for row in seen if row["object_id"].startswith("not_")]
    assert "203.0.113.77" not in mine.get("/auth/events").content.decode()


def test_what_ones_bot_did_names_its_key():
    mine, other = (ApiClient().login(UserFactory.create()) for _ in range(2))
    made = [make(client, scopes=["orders:read"]).json() for client in (mine, other)]
    for each in made:
        assert bot(each["secret"]).post("/trading/execute", {}).status_code == 403

    rows = mine.get("/auth/events").json()["results"]

    assert [row["api_key"] for row in rows if row["action"] == "order.refused"] == [made[0]["id"]]
    assert {row["api_key"] for row in rows if row["action"] != "order.refused"} == {None}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "before=0", "before=x", "before=99999999999999999999", "a=1"]
)
def test_what_is_no_page_is_refused(query):
    assert ApiClient().login(UserFactory.create()).get(f"/auth/events?{query}").status_code == 400


def test_bots_and_strangers_see_none():
    assert ApiClient().login(UserFactory.create(role=Role.BOT)).get("/auth/events").status_code == 403
    assert ApiClient().http.get("/api/v1/auth/events").status_code == 401
