"""What the hub is fed with: the database's news, and each second what brokers show of the accounts that are looked at.

Whatever blocks (Django's database, brokers) runs in a few threads of its own.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import psycopg
import structlog
from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.db import SessionStore
from django.db import Error, close_old_connections
from django.http import HttpRequest
from django.utils.timezone import now

from trading import selectors
from trading.pages.events.hub import Hub
from trading.services import desk, watching

CHANNEL = "nexus_news"
LISTENER = f"{socket.gethostname()}:{os.getpid()}"
BEAT_S = 1.0
READS_A_BEAT = 20  # accounts read in one beat; more are read in turn, each less often
THREADS = 4
RETRY_S = (0.2, 1.0, 5.0)

log = structlog.get_logger(__name__)
T = TypeVar("T")
threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="events")


class Seer(NamedTuple):
    """Whom a page belongs to, and what it may see."""

    user_id: int
    sees_all: bool
    accounts: frozenset[int]


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """Run something that blocks, on a connection that is alive."""

    def run() -> T:
        close_old_connections()
        return call(*args)

    return await asyncio.get_running_loop().run_in_executor(threads, run)


def seer_of(session_key: str) -> Seer | None:
    """Return whose session this is and what that person sees, or None when it is nobody's any more. Blocks."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    user = auth.get_user(request)
    if not user.is_authenticated or not user.is_active:
        return None
    owned = selectors.accounts_of(user).filter(is_active=True)
    sees_all = getattr(user, "role", "") in selectors.READS_ALL
    keys = owned.values_list("pk", flat=True)
    return Seer(user.pk, sees_all, frozenset(keys[:READS_A_BEAT] if sees_all else keys))


async def listen(hub: Hub) -> None:
    """Hear the database's news for ever. After a gap everybody is told to look again: what was said in it is lost."""
    failures = 0
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(**_connection(), autocommit=True) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                # A database that crashed has forgotten who is watched: asked for anew before anybody is told to look.
                await in_thread(watch_all, hub.users())
                hub.tell("again", user_id=None)
                hub.hears, failures = True, 0
                async for note in connection.notifies():
                    name, _, user = note.payload.partition(" ")
                    hub.tell(name, user_id=int(user) if user else None)
        except (psycopg.Error, Error, OSError) as exc:
            log.warning("events.listening.lost", error=str(exc))
        hub.hears = False
        await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
        failures += 1


def _connection() -> dict[str, Any]:
    """Return how to reach the database with a connection that may wait for ever."""
    known = settings.DATABASES["default"]
    given: dict[str, Any] = dict(known["OPTIONS"])  # type: ignore[call-overload]
    options = {name: value for name, value in given.items() if name not in ("options", "prepare_threshold")}
    named = {
        "dbname": known["NAME"], "user": known["USER"], "password": known["PASSWORD"], "host": known["HOST"],
        "port": known["PORT"],
    }  # fmt: skip
    kept = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
    return {name: value for name, value in {**options, **named, **kept}.items() if value} | {
        "application_name": "nexus-events"
    }


async def beat(hub: Hub) -> None:
    """Show each second what brokers say of the accounts that are looked at."""
    loop = asyncio.get_running_loop()
    turn = 0
    while True:
        began = loop.time()
        watched = hub.watched()
        due = (watched[turn:] + watched[:turn])[:READS_A_BEAT]
        turn = (turn + len(due)) % len(watched) if watched else 0
        await asyncio.gather(*(_beat_of(hub, account_id) for account_id in due))
        await asyncio.sleep(max(0.0, BEAT_S - (loop.time() - began)))


async def nudge(hub: Hub) -> None:
    """Tell quiet pages each second that nothing has happened, also while a broker does not answer."""
    while True:
        hub.nudge(at=asyncio.get_running_loop().time())
        await asyncio.sleep(BEAT_S)


async def _beat_of(hub: Hub, account_id: int) -> None:
    try:
        message = await in_thread(_pulse, account_id, hub.shows(account_id))
    except Exception as exc:  # noqa: BLE001 — one account's trouble is not another's
        log.warning("events.account.not_read", account_id=account_id, error=str(exc))
        return
    if message is not None:
        hub.beat(account_id, message)


def _pulse(account_id: int, is_shown: bool) -> dict[str, Any] | None:  # noqa: FBT001 - called through an executor
    """Return what an account looks like now, or None when that is what its pages show already."""
    account = selectors.active_accounts().filter(pk=account_id).first()
    if account is None:
        return None
    at = now()
    holding = desk.glance(account, at=at)
    if holding is None and not is_shown:
        (holding,) = desk.look([account])
    return None if holding is None else desk.pulse(holding, at=at)


async def check(hub: Hub, seers: "dict[Any, str]", *, every_s: float) -> None:
    """Ask again and again whether each page's session still holds, and let those go whose does not."""
    while True:
        await asyncio.sleep(every_s)
        for listener in hub.of_users():
            key = seers.get(listener)
            with contextlib.suppress(Exception):  # a database that is away ends nobody's session
                seer = await in_thread(seer_of, key or "")
                if seer is None:
                    listener.end()
                else:
                    listener.accounts, listener.sees_all = seer.accounts, seer.sees_all


async def keep_watch(hub: Hub, *, every_s: float) -> None:
    """Go on asking for the news of everybody who listens, however long anything else takes: a watch ends by itself."""
    while True:
        await asyncio.sleep(every_s)
        with contextlib.suppress(Exception):  # a database that is away tells nobody anything; `listen` says so
            await in_thread(watch_all, hub.users())


def watch_all(user_ids: set[int]) -> None:
    """Ask for the news of these users. Blocks."""
    watching.watch(user_ids, listener=LISTENER)
