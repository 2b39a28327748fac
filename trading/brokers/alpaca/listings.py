"""Whole listings, page by page. One that was cut off is no listing: it raises."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nexus.core.errors import Unreachable
from trading.brokers.alpaca import wire

if TYPE_CHECKING:
    from trading.brokers.alpaca.client import Client

ORDERS_A_PAGE = 500  # the API's own most
ACTIVITIES_A_PAGE = 100
PAGES_MAX = 50
OVERLAP = timedelta(milliseconds=1)  # several orders may share a moment


def orders(client: "Client", *, status: str, since: datetime | None = None, **narrowed: str) -> Iterator[wire.Plain]:
    """Yield every order of a status (`open` or `all`) submitted after `since`, the oldest first, each once.

    Raises: Unreachable when the listing was not complete.
    """
    seen: set[str] = set()
    after = since
    for _ in range(PAGES_MAX):
        params: dict[str, Any] = {
            "status": status,
            "limit": ORDERS_A_PAGE,
            "direction": "asc",
            "nested": "false",
        } | narrowed
        with wire.reading():
            page = wire.listing(client.orders(**params if after is None else params | {"after": after.isoformat()}))
            new = [entry for entry in page if wire.text(entry["id"]) not in seen]
            seen |= {entry["id"] for entry in new}
            after = wire.moment(page[-1]["submitted_at"]) - OVERLAP if page else after
        yield from new
        if len(page) < ORDERS_A_PAGE:
            return
        if not new:
            break
    raise Unreachable("Alpaca: the listing of orders is cut off")


def activities(client: "Client", *, direction: str = "asc", **params: Any) -> Iterator[wire.Plain]:
    """Yield every activity, each once. Raises: Unreachable when the listing was not complete."""
    seen: set[str] = set()
    token: dict[str, str] = {}
    for _ in range(PAGES_MAX):
        asked = params | {"direction": direction, "page_size": ACTIVITIES_A_PAGE} | token
        with wire.reading():
            page = wire.listing(client.activities(**asked))
            new = [entry for entry in page if wire.text(entry["id"]) not in seen]
            unique = {entry["id"]: entry for entry in new}  # a page may tell one thing twice
            seen |= unique.keys()
            token = {"page_token": page[-1]["id"]} if page else token
        yield from unique.values()
        if len(page) < ACTIVITIES_A_PAGE:
            return
    raise Unreachable("Alpaca: the listing of activities is cut off")
