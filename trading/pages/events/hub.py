"""Who listens, and what each of them has not been sent yet. Lives in one event loop; nothing here waits or does I/O.

A page that reads slowly holds up nobody and fills no memory: of each kind of message it is owed the newest one only.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

LOOK_S = 5.0  # between two looks of a page that shows everybody's orders
PAGES_EACH = 50  # of one user
STILL_S = 4.0  # a page that heard nothing for so long is told that nothing has happened


def frame(event: str, data: bytes) -> bytes:
    """Write one message as a browser reads it."""
    return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"


STILL = frame("still", b"{}")


@dataclass(eq=False, slots=True)
class Listener:
    """One open page: whose it is, which accounts it shows, and what it is owed."""

    user_id: int
    sees_all: bool
    accounts: frozenset[int]
    sent_at: float
    told_at: float = 0.0
    news: set[str] = field(default_factory=set)
    frames: dict[str, bytes] = field(default_factory=dict)
    flag: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: bool = False

    def owe(self, kind: str, data: bytes) -> None:
        """Owe a message; an older one of its kind is forgotten."""
        self.frames[kind] = data
        self.flag.set()

    def tell(self, name: str) -> None:
        """Owe a piece of news."""
        self.news.add(name)
        self.flag.set()

    def end(self) -> None:
        """Let the page go."""
        self.is_over = True
        self.flag.set()

    def take(self, *, at: float) -> bytes:
        """Return everything that is owed, and owe it no more."""
        parts = [frame("news", orjson.dumps(sorted(self.news)))] if self.news else []
        parts += self.frames.values()
        self.news.clear()
        self.frames.clear()
        self.flag.clear()
        self.sent_at = at
        return b"".join(parts)


class Hub:
    """All open pages."""

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.hears = False  # the database, now
        self._last: dict[int, tuple[bytes, bytes]] = {}  # of each account: what it is compared by, and its message

    def join(self, listener: Listener) -> None:
        """Let a page listen; it is sent at once what is known of its accounts."""
        self.listeners.add(listener)
        for account_id in listener.accounts:
            if account_id in self._last:
                listener.owe(f"pulse {account_id}", self._last[account_id][1])

    def leave(self, listener: Listener) -> None:
        """Forget a page, and what was known of accounts that nobody looks at any more."""
        self.listeners.discard(listener)
        watched = set(self.watched())
        self._last = {key: each for key, each in self._last.items() if key in watched}

    def watched(self) -> list[int]:
        """Return the accounts that somebody looks at."""
        return sorted({account_id for each in self.listeners for account_id in each.accounts})

    def shows(self, account_id: int) -> bool:
        """Tell whether an account's pages have been sent what it looks like."""
        return account_id in self._last

    def tell(self, name: str, *, user_id: int | None) -> None:
        """Tell a user's pages; everybody's without a user."""
        for each in self.listeners:
            if user_id is None or each.user_id == user_id:
                each.tell(name)

    def has_room(self, user_id: int) -> bool:
        """Tell whether a user may open one page more: one person's pages are not everybody's."""
        return sum(each.user_id == user_id for each in self.listeners) < PAGES_EACH

    def beat(self, account_id: int, message: dict[str, object]) -> None:
        """Tell the pages of an account what it looks like now; nothing when it looks as before."""
        if not any(account_id in each.accounts for each in self.listeners):
            return  # its last page left while it was read: whoever comes next must not be shown this as now
        compared = orjson.dumps({name: value for name, value in message.items() if name != "at"})
        if self._last.get(account_id, (b"",))[0] == compared:
            return
        data = frame("pulse", orjson.dumps(message))
        self._last[account_id] = (compared, data)
        for each in self.listeners:
            if account_id in each.accounts:
                each.owe(f"pulse {account_id}", data)

    def nudge(self, *, at: float) -> None:
        """Tell those who have heard nothing for a while that nothing has happened; while it is known."""
        if not self.hears:
            return  # something may have happened: a page that hears nothing shows by itself that it is out of touch
        for each in self.listeners:
            if each.sees_all and at - each.told_at >= LOOK_S:  # whoever sees all would make every commit tell
                each.told_at = at
                each.tell("orders")
            elif at - each.sent_at >= STILL_S:
                each.owe("still", STILL)

    def users(self) -> set[int]:
        """Return whose orders and positions are to be told: those who see everybody's look by themselves."""
        return {each.user_id for each in self.listeners if not each.sees_all}

    def of_users(self) -> Iterable[Listener]:
        """Return a copy of who listens, for somebody who waits in between."""
        return list(self.listeners)
