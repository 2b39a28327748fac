"""The door of news: `GET /events` with a session's cookie answers with a stream that lasts as long as the page."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

import structlog
from django.conf import settings

from trading.pages.events import reading
from trading.pages.events.hub import Hub, Listener, frame
from trading.pages.events.reading import Seer, in_thread, seer_of

ACTION = "ACCOUNT_READ"  # what listening is, in the words of `accounts.services.pages`
WATCH_S = 20.0  # between two askings for news; a watch lasts several of them
CHECK_S = 20.0  # between two looks at whether a page's session still holds
AGAIN_S = (0.5, 3.0)  # a transaction waits 2 s at most for a lock
PAGES_MAX = 2000

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = structlog.get_logger(__name__)


class Door:
    """An ASGI application: the stream, and `/health` for whoever watches the process."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.sessions: dict[Listener, str] = {}
        self.is_ending = False
        self._coming = 0  # pages that are being let in
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, or begin and end with the process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                feeds = (
                    reading.listen(self.hub),
                    reading.beat(self.hub),
                    reading.nudge(self.hub),
                    reading.keep_watch(self.hub, every_s=WATCH_S),
                    reading.check(self.hub, self.sessions, every_s=CHECK_S),
                )
                self._tasks = [asyncio.create_task(feed) for feed in feeds]
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                for task in self._tasks:
                    task.cancel()
                self.is_ending = True
                for listener in self.hub.of_users():
                    listener.flag.set()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        allowed = _allowed(head)
        if scope["path"] == "/health":
            is_well = self.hub.hears and not any(task.done() for task in self._tasks)
            return await _short(
                send, 200 if is_well else 503, b'{"status": "ok"}' if is_well else b'{"status": "down"}'
            )
        if scope["path"] != "/events" or scope["method"] != "GET":
            return await _short(send, 404, b"{}")
        if allowed is None:
            return await _short(send, 403, b"{}")
        if len(self.hub.listeners) + self._coming >= PAGES_MAX:
            return await _short(send, 503, b"{}")
        self._coming += 1
        try:
            key = _session_of(scope)
            seer = await in_thread(seer_of, key) if key else None
        finally:
            self._coming -= 1
        if seer is not None and not self.hub.has_room(seer.user_id):
            return await _short(send, 503, b"{}")
        return await self._stream(key, seer, allowed, receive, send)

    async def _stream(
        self, key: str, seer: Seer | None, allowed: list[tuple[bytes, bytes]], receive: Receive, send: Send
    ) -> None:
        """Send news until the page is gone or its session is over."""
        kind = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": kind + allowed})
        if seer is None:
            await send({"type": "http.response.body", "body": frame("over", b"{}")})
            return
        loop = asyncio.get_running_loop()
        listener = Listener(seer.user_id, seer.sees_all, seer.accounts, sent_at=loop.time())
        listener.owe("hello", frame("hello", b"{}"))
        gone = asyncio.create_task(_wait_for_end(receive, listener))
        try:  # from here on: whatever fails, the page is forgotten
            self.sessions[listener] = key
            self.hub.join(listener)
            if not seer.sees_all:
                await in_thread(reading.watch_all, {seer.user_id})
            # What was committed since the page was made, and by commits that were under way before they knew of it.
            for later_s in AGAIN_S:
                loop.call_later(later_s, listener.tell, "again")
            while not gone.done() and not self.is_ending:
                await listener.flag.wait()
                if listener.is_over and not gone.done():
                    await send({"type": "http.response.body", "body": frame("over", b"{}")})
                    return
                if not gone.done():
                    body = listener.take(at=loop.time())
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            if self.is_ending and not gone.done():
                await send({"type": "http.response.body", "body": b""})  # the page comes back to the next process
        except (OSError, RuntimeError) as exc:  # the page left while it was written to
            log.debug("events.page.left", error=str(exc))
        finally:
            gone.cancel()
            self.hub.leave(listener)
            self.sessions.pop(listener, None)


async def _wait_for_end(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.flag.set()


async def _short(send: Send, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


def _allowed(head: dict[str, str]) -> list[tuple[bytes, bytes]] | None:
    """Return the headers that let the page read, or None for a page that is not ours."""
    origin = head.get("origin", "")
    if not origin or origin.partition("://")[2] == head.get("host"):
        return []
    if origin not in settings.EVENTS_ORIGINS:
        return None
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"Origin"),
    ]


def _session_of(scope: Scope) -> str:
    """Return the session's key. A browser that speaks HTTP/2 sends each cookie in a header of its own."""
    said = "; ".join(value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"cookie")
    try:
        morsel = SimpleCookie(said).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
