"""News for open pages: who hears what, with which commit, and until when."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.db import connection, connections

from accounts.services import sessions
from accounts.types import ClientInfo
from nexus.audit.types import Actor
from risk.models import TradingControl
from tests.pages.conftest import Browser
from trading.pages.events import door, reading
from trading.pages.events.hub import STILL_S, Hub, Listener
from trading.services import watching

WAIT_S = 10.0
THREADS = 2


def page(user_id: int = 1, *, accounts: tuple[int, ...] = (), sees_all: bool = False) -> Listener:
    return Listener(user_id, sees_all, frozenset(accounts), sent_at=0.0)


def said(listener: Listener) -> list[str]:
    """Return the names of what a page is owed, in order, and owe it no more."""
    lines = listener.take(at=0.0).decode().splitlines()
    return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]


# who hears what


def test_news_goes_to_its_user_and_to_nobody_else():
    hub, mine, other = Hub(), page(1), page(2)
    hub.join(mine)
    hub.join(other)

    hub.tell("orders", user_id=1)
    hub.tell("orders", user_id=1)
    hub.tell("positions", user_id=1)

    assert mine.take(at=0.0) == b'event: news\ndata: ["orders","positions"]\n\n'
    assert said(other) == []
    hub.tell("stops", user_id=None)
    assert (said(mine), said(other)) == (["news"], ["news"])


def test_a_slow_page_is_owed_the_newest_beat_only():
    hub, slow = Hub(), page(accounts=(5,))
    hub.join(slow)
    for equity in range(1000):
        hub.beat(5, {"equity": str(equity), "at": "now"})

    assert slow.take(at=0.0).count(b"event: pulse") == 1
    assert b'"999"' not in slow.take(at=0.0)


def test_a_beat_like_the_last_one_is_not_sent_and_a_new_page_gets_it():
    hub, early, late, stranger = Hub(), page(accounts=(5,)), page(accounts=(5,)), page(accounts=(6,))
    hub.join(early)
    hub.join(stranger)
    hub.beat(5, {"equity": "1", "at": "first"})
    assert said(early) == ["pulse"]

    hub.beat(5, {"equity": "1", "at": "second"})
    hub.join(late)

    assert (said(early), said(late), said(stranger)) == ([], ["pulse"], [])


def test_a_page_that_hears_nothing_is_told_so():
    hub, listener = Hub(), page()
    hub.join(listener)

    hub.nudge(at=STILL_S)
    assert said(listener) == []  # nobody hears the database: something may have happened
    hub.hears = True
    hub.nudge(at=STILL_S / 2)
    assert said(listener) == []
    hub.nudge(at=STILL_S)

    assert said(listener) == ["still"]


def test_nobody_is_read_for_nobody():
    hub, listener = Hub(), page(accounts=(5,))
    assert hub.watched() == []
    hub.join(listener)
    assert hub.watched() == [5]
    hub.leave(listener)
    assert hub.watched() == []


def test_what_was_read_of_an_account_that_nobody_looks_at_any_more_is_shown_to_nobody():
    """Its page left while its broker was asked: whoever comes hours later is shown nothing of then."""
    hub, left, later = Hub(), page(accounts=(5,)), page(accounts=(5,))
    hub.join(left)
    hub.leave(left)

    hub.beat(5, {"equity": "1", "at": "then"})
    hub.join(later)

    assert (said(later), hub.shows(5)) == ([], False)


def test_one_user_s_pages_are_not_everybody_s(monkeypatch):
    monkeypatch.setattr("trading.pages.events.hub.PAGES_EACH", 2)
    hub = Hub()
    hub.join(page(1))
    assert hub.has_room(1)
    hub.join(page(1))

    assert (hub.has_room(1), hub.has_room(2)) == (False, True)


def test_quiet_pages_are_told_so_while_a_broker_does_not_answer(monkeypatch):
    async def scene() -> None:
        hub, listener, hangs = Hub(), page(accounts=(5,)), asyncio.Event()
        hub.hears = True
        hub.join(listener)
        monkeypatch.setattr(reading, "in_thread", lambda *_: hangs.wait())
        async with asyncio.TaskGroup() as feeds:
            tasks = [feeds.create_task(feed(hub)) for feed in (reading.beat, reading.nudge)]
            listener.sent_at = asyncio.get_running_loop().time() - STILL_S
            async with asyncio.timeout(WAIT_S):
                for _ in range(2):
                    await listener.flag.wait()
                    assert said(listener) == ["still"]
                    listener.sent_at -= STILL_S
            for task in tasks:
                task.cancel()

    asyncio.run(scene())


# with which commit


def _notes_of(user_id: int, act: Callable[[], Any]) -> list[str]:
    """Return what is notified while `act` runs, on a connection of its own."""
    import psycopg  # noqa: PLC0415

    with psycopg.connect(**reading._connection(), autocommit=True) as heard:
        heard.execute(f"LISTEN {reading.CHANNEL}")
        act()
        return [note.payload for note in heard.notifies(timeout=1.0, stop_after=2)]


def test_an_order_of_a_watched_user_tells_and_of_nobody_elses_does_not(trader, execute):
    assert _notes_of(trader.pk, execute) == []

    watching.watch([trader.pk], listener="tests")

    notes = _notes_of(trader.pk, lambda: execute(key="k" * 20))
    assert f"orders {trader.pk}" in notes


def test_a_watch_ends_by_itself(trader, execute):
    watching.watch([trader.pk], listener="tests")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE news_watch SET until = clock_timestamp() - interval '1 second'")

    assert _notes_of(trader.pk, execute) == []


def test_a_stop_tells_everybody(floor):
    def touch() -> None:
        TradingControl.objects.filter(scope="SYSTEM").update(reason="Installed.")

    assert _notes_of(0, touch) == ["stops"]


# the door


class Page:
    """A stream as a browser reads it."""

    def __init__(self, answer: asyncio.Queue[dict[str, Any]]) -> None:
        self._answer = answer
        self._text = ""

    async def head(self) -> tuple[int, dict[str, str]]:
        """Return how the door has answered."""
        start = await asyncio.wait_for(self._answer.get(), WAIT_S)
        return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}

    async def until(self, event: str, word: str = "") -> dict[str, Any] | list[str]:
        """Return the next message of a kind that holds a word."""
        async with asyncio.timeout(WAIT_S):
            while True:
                whole, _, rest = self._text.partition("\n\n")
                if not rest and "\n\n" not in self._text:
                    self._text += (await self._answer.get())["body"].decode()
                    continue
                self._text = rest
                kind, data = whole.split("\n", 1)
                if kind == f"event: {event}" and word in data:
                    return json.loads(data.removeprefix("data: "))  # type: ignore[no-any-return]


@asynccontextmanager
async def opened(key: str, *, origin: str = "", **times: float) -> AsyncIterator[Page]:
    """Open the door and a page at it."""
    app = door.Door()
    life: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    begun: asyncio.Queue[Any] = asyncio.Queue()
    living = asyncio.create_task(app({"type": "lifespan"}, life.get, begun.put))
    await life.put({"type": "lifespan.startup"})
    await begun.get()
    answer: asyncio.Queue[Any] = asyncio.Queue()
    left: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    headers = [(b"host", b"nexus.example"), (b"cookie", f"sessionid={key}".encode())]
    headers += [(b"origin", origin.encode())] if origin else []
    scope = {"type": "http", "path": "/events", "method": "GET", "headers": headers}
    serving = asyncio.create_task(app(scope, left.get, answer.put))
    try:
        yield Page(answer)
    finally:
        await left.put({"type": "http.disconnect"})
        await asyncio.wait_for(serving, WAIT_S)
        assert app.hub.listeners == set()
        await life.put({"type": "lifespan.shutdown"})
        await asyncio.wait_for(living, WAIT_S)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads whose connections are closed at the end, or the test's database could not be removed."""
    threads, meet = ThreadPoolExecutor(THREADS), threading.Barrier(THREADS)
    monkeypatch.setattr(reading, "threads", threads)
    yield

    def close() -> None:
        meet.wait(WAIT_S)
        connections.close_all()

    for done in [threads.submit(close) for _ in range(THREADS)]:
        done.result(WAIT_S)
    threads.shutdown()


def test_an_open_page_hears_of_its_account_and_of_an_order_as_it_commits(pool, trader, account, execute):
    key = Browser().login(trader).http.session.session_key

    async def scene() -> tuple[Any, Any, Any, Any]:
        async with opened(key or "") as mine:
            status, head = await mine.head()
            assert (status, head["content-type"]) == (200, "text/event-stream")
            await mine.until("hello")
            await mine.until("news", "again")
            before = await mine.until("pulse")
            await asyncio.to_thread(_placed, execute)
            return before, await mine.until("news", "orders"), await mine.until("pulse", "profit"), head

    before, news, after, _ = asyncio.run(scene())

    assert before["account"] == str(account.public_id)
    assert before["positions"] == {}
    assert "orders" in news
    assert next(iter(after["positions"].values()))["price"]


def _placed(execute: Callable[..., Any]) -> None:
    execute()
    connections.close_all()


def test_the_process_is_well_while_it_hears_the_database(pool, floor):
    async def asked(app: door.Door) -> int:
        answer: asyncio.Queue[Any] = asyncio.Queue()
        await app({"type": "http", "path": "/health", "method": "GET", "headers": []}, answer.get, answer.put)
        return int((await answer.get())["status"])

    async def scene() -> tuple[int, int]:
        app = door.Door()
        deaf = await asked(app)
        hearing = asyncio.create_task(reading.listen(app.hub))
        async with asyncio.timeout(WAIT_S):
            while not app.hub.hears:
                await asyncio.sleep(0.01)
        well = await asked(app)
        hearing.cancel()
        return deaf, well

    assert asyncio.run(scene()) == (503, 200)


def test_a_session_that_ends_ends_the_stream(pool, trader, account, monkeypatch):
    monkeypatch.setattr(door, "CHECK_S", 0.1)
    key = Browser().login(trader).http.session.session_key

    def end() -> None:
        from django.utils.timezone import now  # noqa: PLC0415

        sessions.revoke_all(user_id=trader.pk, actor=Actor.system("tests"), client=ClientInfo(), at=now())
        connections.close_all()

    async def scene() -> None:
        async with opened(key or "") as mine:
            await mine.head()
            await mine.until("hello")
            await asyncio.to_thread(end)
            await mine.until("over")

    asyncio.run(scene())


def test_nobody_hears_anything_without_a_session(pool, floor):
    async def scene() -> None:
        async with opened("no-such-session") as mine:
            await mine.head()
            await mine.until("over")

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://elsewhere.example", 403), ("https://nexus.example", 200), ("http://pages.example", 200)],
)
def test_only_our_own_pages_may_read(pool, trader, settings, origin, status):
    settings.EVENTS_ORIGINS = ["http://pages.example"]
    key = Browser().login(trader).http.session.session_key

    async def scene() -> tuple[int, dict[str, str]]:
        async with opened(key or "", origin=origin) as mine:
            return await mine.head()

    found, head = asyncio.run(scene())

    assert found == status
    assert head.get("access-control-allow-origin", "") == ("http://pages.example" if "pages" in origin else "")
