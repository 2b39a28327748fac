"""One's own events: each of them, page by page, and never another person's."""

import re
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from accounts.models import ApiKey, User
from accounts.pages import own_events
from accounts.services import keys
from accounts.states import KeyMode, Scope
from accounts.types import NewKey
from nexus.audit.types import Actor, ActorType, Outcome, Target
from nexus.idempotency.services.records import RequestKey
from tests.factories.accounts import UserFactory
from tests.nexus.audit.sealed import record
from tests.pages.conftest import Browser

AT = "/security/events"


def api_key(user: User, name: str) -> Actor:
    """Make a key, and return it as it acts."""
    new = NewKey(name=name, mode=KeyMode.PAPER, scopes=(Scope.ORDERS_READ,), networks=(), expires_at=None)
    key = RequestKey(str(user.public_id), "", uuid.uuid4().hex, b"x" * 32)
    return Actor(ActorType.API_KEY, str(keys.create(new=new, request=key, by=user, at=now()).key.public_id))


def actions(page) -> list[str]:
    return re.findall(r"<td><code>([^<]+)</code>", page.content.decode())


def ids(page) -> list[int]:
    return [int(each) for each in re.findall(r"<td>(\d+)</td></tr>", page.content.decode())]


def test_what_one_did_is_shown_and_nothing_else(browser, trader):
    me, other = Actor.user(trader.public_id), UserFactory.create()
    record(1, action="tests.own.done", actor=me, outcome=Outcome.DENIED, pii={"ip": "203.0.113.99"},
           target=Target("thing", "4711"), detail={"note": "a detail"})  # fmt: skip
    record(1, action="tests.own.others", actor=Actor.user(other.public_id), target=Target("user", me.id))
    record(1, action="tests.own.system", actor=Actor.system("tests"), target=Target("user", me.id))
    record(1, action="tests.own.alias", actor=Actor(ActorType.API_KEY, me.id))

    page = browser.get(AT)

    assert page.status_code == 200
    assert [each for each in actions(page) if each.startswith("tests.own")] == ["tests.own.done"]
    assert "auth.login.succeeded" in actions(page)
    body = " ".join(page.content.decode().split())
    assert '<td>refused</td><td class="wrap">thing 4711</td>' in body
    for kept in ("203.0.113.99", "a detail", str(other.public_id)):
        assert kept not in body
    assert page["Cache-Control"] == "no-store"
    assert f'href="{AT}"' in browser.get("/security").content.decode()


def test_what_ones_bots_did_is_ones_own_and_says_by_which_key(browser, trader):
    mine, ended = (api_key(trader, name) for name in ("Night <b>bot", "Old bot"))
    ApiKey.objects.filter(public_id=ended.id).update(revoked_at=now(), revoke_reason="x")
    others = api_key(UserFactory.create(), "Stranger")
    for name, actor in (
        ("mine", mine),
        ("ended", ended),
        ("others", others),
        ("session", Actor.user(trader.public_id)),
    ):
        record(1, action=f"tests.own.{name}", actor=actor)

    page = browser.get(AT)

    seen = [each.rpartition(".")[2] for each in actions(page) if each.startswith("tests.own")]
    assert seen == ["session", "ended", "mine"]
    body = page.content.decode()
    assert "your API key Night &lt;b&gt;bot" in body
    assert "Stranger" not in body


def test_thirty_at_a_time_and_each_once_the_newest_first(browser, trader):
    mine = record(65, action="tests.own.many", actor=Actor.user(trader.public_id))
    record(5, action="tests.own.others", actor=Actor.user(UserFactory.create().public_id))
    shown, sizes, path = [], [], AT
    while path:
        with CaptureQueriesContext(connection) as asked:
            page = browser.get(path)
        about = [each["sql"] for each in asked if '"audit"."event"' in each["sql"]]
        assert len(about) == 1
        assert "OFFSET" not in about[0]
        shown += ids(page)
        sizes.append(len(ids(page)))
        older = re.search(r'rel="next" href="([^"]+)"', page.content.decode())
        path = older[1] if older else ""

    assert sizes[:2] == [own_events.PAGE_SIZE, own_events.PAGE_SIZE] == [30, 30]
    assert shown == sorted(set(shown), reverse=True)
    assert shown[:65] == mine[::-1]
    assert "There is nothing older." in browser.get(f"{AT}?before=1").content.decode()


@pytest.mark.parametrize("before", ["x", "-1", "1" * 19, "²"])
def test_what_is_no_page_is_said(browser, before):
    assert browser.get(f"{AT}?before={before}").status_code == 422


def test_it_speaks_french(trader: User):
    page = Browser(language="fr").login(trader).get(AT).content.decode()

    assert "Ce que vous avez fait" in page
    assert "What you have done" not in page


def test_a_bot_has_none_and_nobody_writes(floor, browser):
    bot = Browser().login(UserFactory.create(role="BOT"))

    assert bot.get(AT).status_code == 403
    assert AT not in bot.get("/security").content.decode()
    assert browser.send(AT, {}).status_code == 405
