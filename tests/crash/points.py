"""Where a process can die: each boundary of the protocol, and what must have become of the order in the end.

A point is reached by patching the child that will die, never in the product's own code.
"""

import http.client
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from nexus.core import prepared, statements
from trading.brokers.mt5.client import GatewayClient
from trading.brokers.mt5.gateway.journal import Journal
from trading.models import TradeLedger
from trading.services import admission, fills, orders, storing, transitions

Step = Callable[[], None]


class Victim(StrEnum):
    """Which process dies."""

    WEB = "web"
    GATEWAY = "gateway"
    DISPATCHER = "dispatcher"
    RESOLVER = "resolver"


class Ends(StrEnum):
    """What has become of the order when everybody is back."""

    RETRIED = "RETRIED"  # nothing was stored: the client's retry is the first that counts
    FILLED = "FILLED"
    NOT_AT_BROKER = "NOT_AT_BROKER"  # proven at once: the gateway's journal promises that it was never sent
    UNKNOWN = "UNKNOWN"  # nobody can know yet: two searches, 60 s and 180 s after sending, prove that it is absent
    IF_STORED = "IF_STORED"  # the commit was on its way: as NOT_AT_BROKER where it arrived, as RETRIED where it did not
    EITHER = "EITHER"  # the gateway lives on and the resolver comes at once: whoever is first decides


@dataclass(frozen=True, slots=True)
class Point:
    """One boundary: who dies there, how it is reached, and what must follow.

    `is_queued` orders are accepted and left to the dispatcher; `before` is where the web process dies first, so that
    there is something to resolve.
    """

    victim: Victim
    arm: Step
    ends: Ends
    is_queued: bool = False
    before: str = ""


def die(*_: Any, **__: Any) -> Any:
    """End like a process that lost its power."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(name: str) -> None:
    """Make this process die at a point; no name is no point."""
    if name:
        POINTS[name].arm()


def on(owner: Any, name: str, *, before: Step | None = None, after: Step | None = None) -> Step:
    """Return what makes a function of the product run `before` and `after` around itself."""

    def patch() -> None:
        original = getattr(owner, name)

        def around(*args: Any, **kwargs: Any) -> Any:
            if before:
                before()
            result = original(*args, **kwargs)
            if after:
                after()
            return result

        setattr(owner, name, around)

    return patch


# Only the commit of the transaction in hand: the calls before it commit in peace.
_AT_COMMIT = on(BaseDatabaseWrapper, "commit", before=die)
_AT_ANSWER = on(http.client.HTTPConnection, "getresponse", before=die)
_AT_BOOKING = on(transitions, "move", after=_AT_COMMIT)


def in_steps(step: Step) -> Step:
    """Let an answer be settled as an unusual one is, in a transaction of several statements, and patch that."""

    def patch() -> None:
        fills._is_plain = lambda *_, **__: False
        step()

    return patch


def _without_its_commit() -> None:
    """Let the mark arrive at the database and its commit not, which go out together: the wire is cut between them."""
    original = statements.fetch
    statements.fetch = lambda query, given=(), **_: original(query, given)


_WEB = {
    "web: before transaction A": Point(Victim.WEB, on(orders, "_admit", before=die), Ends.RETRIED),
    "web: key claimed, day locked": Point(Victim.WEB, on(storing, "begin", after=die), Ends.RETRIED),
    "web: judged": Point(Victim.WEB, on(admission, "judge", after=die), Ends.RETRIED),
    "web: order row inserted, no commit": Point(
        Victim.WEB, on(storing, "store", before=_without_its_commit, after=die), Ends.RETRIED
    ),
    "web: A and its commit on their way": Point(
        Victim.WEB, on(storing, "store", before=on(prepared, "_until_sync", before=die)), Ends.IF_STORED
    ),
    "web: A committed, not sent": Point(Victim.WEB, on(orders, "send", before=die), Ends.NOT_AT_BROKER),
    "web: adapter, before bytes leave": Point(Victim.WEB, on(GatewayClient, "send", before=die), Ends.NOT_AT_BROKER),
    "web: bytes left, no answer yet": Point(Victim.WEB, on(GatewayClient, "send", before=_AT_ANSWER), Ends.EITHER),
    "web: answered, before C": Point(Victim.WEB, on(fills, "settle", before=die), Ends.FILLED),
    "web: in C, fill inserted": Point(Victim.WEB, in_steps(on(fills, "_book", after=die)), Ends.FILLED),
    "web: before C commits": Point(Victim.WEB, in_steps(_AT_BOOKING), Ends.FILLED),
    "web: C committed": Point(Victim.WEB, on(fills, "settle", after=die), Ends.FILLED),
    "web: accepted, before its message": Point(
        Victim.WEB, on(orders, "enqueue", before=die), Ends.FILLED, is_queued=True
    ),
}
_GATEWAY = {
    "gateway: request read": Point(Victim.GATEWAY, on(Journal, "receive", before=die), Ends.NOT_AT_BROKER),
    "gateway: received": Point(Victim.GATEWAY, on(Journal, "receive", after=die), Ends.NOT_AT_BROKER),
    "gateway: calling": Point(Victim.GATEWAY, on(Journal, "claim", after=die), Ends.UNKNOWN),
    "gateway: executed, not journaled": Point(Victim.GATEWAY, on(Journal, "finish", before=die), Ends.FILLED),
    "gateway: journaled, not answered": Point(Victim.GATEWAY, on(Journal, "finish", after=die), Ends.FILLED),
    "gateway: settled as never sent": Point(
        Victim.GATEWAY,
        on(Journal, "settle", after=die),
        Ends.NOT_AT_BROKER,
        before="web: adapter, before bytes leave",
    ),
}
_WORKERS = {
    "dispatcher: before its claim commits": Point(
        Victim.DISPATCHER, on(TradeLedger, "move", after=_AT_COMMIT), Ends.FILLED, is_queued=True
    ),
    "dispatcher: claimed, not sent": Point(
        Victim.DISPATCHER, on(orders, "send", before=die), Ends.NOT_AT_BROKER, is_queued=True
    ),
    "dispatcher: answered, not booked": Point(
        Victim.DISPATCHER, on(fills, "settle", before=die), Ends.FILLED, is_queued=True
    ),
    "resolver: called it unknown": Point(
        Victim.RESOLVER, on(fills, "lose", after=die), Ends.FILLED, before="web: answered, before C"
    ),
    "resolver: answered, not booked": Point(
        Victim.RESOLVER, on(fills, "record", before=die), Ends.FILLED, before="web: answered, before C"
    ),
    "resolver: before its booking commits": Point(
        Victim.RESOLVER, on(fills, "record", before=_AT_BOOKING), Ends.FILLED, before="web: answered, before C"
    ),
}
POINTS: dict[str, Point] = {**_WEB, **_GATEWAY, **_WORKERS}
