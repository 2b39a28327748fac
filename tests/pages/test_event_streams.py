"""Open pages and the process that serves them: how many there may be, what is left of them, and how they end."""

import asyncio
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from tests.factories.accounts import UserFactory
from tests.pages.conftest import Browser
from tests.pages.test_events import WAIT_S, opened, pool
from trading.pages.events import door, reading
from trading.pages.events.hub import PAGES_EACH, Hub, Listener

__all__ = ["pool"]


def test_one_person_has_so_many_pages_and_takes_no_place_of_others(pool, trader, account):
    other = UserFactory.create()
    keys = [Browser().login(user).http.session.session_key or "" for user in (trader, other)]
    app = door.Door()
    pages = [Listener(trader.pk, False, frozenset(), sent_at=0.0) for _ in range(PAGES_EACH)]

    async def asked(key: str) -> int:
        answer: asyncio.Queue[Any] = asyncio.Queue()
        left: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        headers = [(b"host", b"nexus.example"), (b"cookie", f"sessionid={key}".encode())]
        scope = {"type": "http", "path": "/events", "method": "GET", "headers": headers}
        serving = asyncio.create_task(app(scope, left.get, answer.put))
        start = await asyncio.wait_for(answer.get(), WAIT_S)
        await left.put({"type": "http.disconnect"})
        await asyncio.wait_for(serving, WAIT_S)
        return int(start["status"])

    async def scene() -> list[int]:
        for page in pages[1:]:
            app.hub.join(page)
        statuses = [await asked(keys[0])]
        app.hub.join(pages[0])
        return [*statuses, await asked(keys[0]), await asked(keys[1])]

    assert asyncio.run(scene()) == [200, 503, 200]
    assert 200 < PAGES_EACH < door.PAGES_MAX


def test_a_page_that_cannot_be_watched_for_is_forgotten(pool, trader, account, monkeypatch):
    """It would be counted, and its brokers asked, for as long as the process lives."""
    key = Browser().login(trader).http.session.session_key

    def fail(_: set[int]) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(reading, "watch_all", fail)

    async def scene() -> Hub:
        app, answer, left = door.Door(), asyncio.Queue[Any](), asyncio.Queue[Any]()
        headers = [(b"host", b"nexus.example"), (b"cookie", f"sessionid={key}".encode())]
        scope = {"type": "http", "path": "/events", "method": "GET", "headers": headers}
        with pytest.raises(OperationalError):
            await app(scope, left.get, answer.put)
        assert app.sessions == {}
        return app.hub

    assert asyncio.run(scene()).listeners == set()


def test_after_a_crash_of_the_database_open_pages_are_watched_for_again(pool, trader, account):
    """The table of who is watched is empty then: commits would tell nobody until the next asking."""
    key = Browser().login(trader).http.session.session_key

    def crash() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM news_watch")
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'nexus-events' AND datname = current_database()"
            )
        connections.close_all()

    def watched() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM news_watch WHERE user_id = %s)", [trader.pk])
            found = bool(cursor.fetchone()[0])
        connections.close_all()
        return found

    async def scene() -> None:
        async with opened(key or "") as mine:
            await mine.head()
            for _ in door.AGAIN_S:
                await mine.until("news", "again")
            await asyncio.to_thread(crash)
            await mine.until("news", "again")
            assert await asyncio.to_thread(watched)

    asyncio.run(scene())


def test_the_process_lets_its_pages_go_when_it_ends(pool, trader, account):
    key = Browser().login(trader).http.session.session_key

    async def scene() -> dict[str, Any]:
        app, answer, left = door.Door(), asyncio.Queue[Any](), asyncio.Queue[Any]()
        headers = [(b"host", b"nexus.example"), (b"cookie", f"sessionid={key}".encode())]
        scope = {"type": "http", "path": "/events", "method": "GET", "headers": headers}
        serving = asyncio.create_task(app(scope, left.get, answer.put))
        while b"hello" not in (await asyncio.wait_for(answer.get(), WAIT_S)).get("body", b""):
            pass
        life, done = asyncio.Queue[Any](), asyncio.Queue[Any]()
        await life.put({"type": "lifespan.shutdown"})
        await app({"type": "lifespan"}, life.get, done.put)
        await asyncio.wait_for(serving, WAIT_S)
        last: dict[str, Any] = {}
        while not answer.empty():
            last = answer.get_nowait()
        return last

    assert asyncio.run(scene()) == {"type": "http.response.body", "body": b""}


def test_a_session_is_found_among_cookies_that_come_one_by_one(pool, trader, account):
    """So a browser sends them that speaks HTTP/2; told `over`, it would go to the login, and be sent back for ever."""
    key = Browser().login(trader).http.session.session_key

    async def scene() -> bytes:
        app, answer, left = door.Door(), asyncio.Queue[Any](), asyncio.Queue[Any]()
        cookies = [(b"cookie", each) for each in (b"one=1", f"sessionid={key}".encode(), b"csrftoken=last")]
        headers = [(b"host", b"nexus.example"), *cookies]
        scope = {"type": "http", "path": "/events", "method": "GET", "headers": headers}
        serving = asyncio.create_task(app(scope, left.get, answer.put))
        await asyncio.wait_for(answer.get(), WAIT_S)
        first = await asyncio.wait_for(answer.get(), WAIT_S)
        await left.put({"type": "http.disconnect"})
        await asyncio.wait_for(serving, WAIT_S)
        return bytes(first["body"])

    assert b"event: hello" in asyncio.run(scene())
