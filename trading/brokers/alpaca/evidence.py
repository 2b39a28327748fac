"""What Alpaca's documents say about one order: its own, those that replaced it, and the executions of them all.

A change makes a new order with a new id. To all above, the order keeps the id that it began with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from nexus.core.errors import Unreachable
from trading.brokers.alpaca import listings, wire
from trading.brokers.base import FillReport, OrderReport, VenueState

if TYPE_CHECKING:
    from trading.brokers.alpaca.client import Client

CHANGES_MAX = 100
PADDING = timedelta(hours=1)  # between our clock and theirs

# Statuses from which something follows; all others mean that it works, or that news is on its way.
_CLOSED = {
    "filled": VenueState.FILLED,
    "canceled": VenueState.CANCELED,
    "expired": VenueState.EXPIRED,
    "rejected": VenueState.REJECTED,
}


@dataclass(frozen=True, slots=True)
class Chain:
    """One order and what replaced it, in order."""

    entries: Sequence[wire.Plain]

    @property
    def first(self) -> wire.Plain:
        """Return the order as it was sent."""
        return self.entries[0]

    @property
    def current(self) -> wire.Plain:
        """Return the order that counts now: the last, or the one before it when the last was refused."""
        last = self.entries[-1]
        is_refused = len(self.entries) > 1 and last["status"] == "rejected"
        return self.entries[-2] if is_refused else last

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing more can come of it."""
        return self.current["status"] in _CLOSED

    @property
    def filled(self) -> Decimal:
        """Return how much was executed, as the orders themselves say.

        A replacement tells either its own executions or those before it too; its quantity shows which of the two.
        """
        told = [wire.shares(wire.number(entry["filled_qty"])) for entry in self.entries]
        is_carried = self.entries[-1]["qty"] == self.first["qty"] and any(told[:-1])
        return told[-1] if is_carried else sum(told, Decimal(0))


def follow(client: "Client", first: wire.Plain) -> Chain:
    """Find everything that replaced an order. Raises: Unreachable when it cannot be read."""
    entries = [first]
    while len(entries) <= CHANGES_MAX:
        with wire.reading():
            following = entries[-1]["replaced_by"]
            if not following:
                return Chain(entries)
            entry = client.order(wire.text(following))
        if entry is None:
            break
        entries.append(entry)
    raise Unreachable(f"Alpaca: what replaced {first.get('id')} cannot be read")


def search(client: "Client", client_order_id: str, *, symbol: str, sent_at: datetime) -> wire.Plain | None:
    """Look for an order by our id: by name, and where it is not known (yet), through all orders around its time.

    Returns None after one complete search without a find. Raises: Unreachable.
    """
    entry: wire.Plain | None = client.order_by_client_id(client_order_id)
    if entry is not None:
        return entry
    around = listings.orders(client, status="all", since=sent_at - PADDING, symbols=symbol)
    # The listing is read to its end: one that fails further on was not complete.
    return next((each for each in list(around) if each.get("client_order_id") == client_order_id), None)


def report(client: "Client", chain: Chain, *, client_order_id: str) -> OrderReport:
    """Say what has become of an order, with every execution of it that is told so far. Raises: Unreachable."""
    with wire.reading():
        expected = chain.filled
        fills = _fills(client, chain, expected, client_order_id=client_order_id) if expected else ()
        return OrderReport(
            client_order_id,
            _state(chain, expected=expected, filled=sum((fill.quantity for fill in fills), Decimal(0))),
            venue_order_id=wire.text(chain.first["id"]),
            fills=fills,
        )


def _fills(client: "Client", chain: Chain, expected: Decimal, *, client_order_id: str) -> tuple[FillReport, ...]:
    """Find the executions, the newest first, until all that are said to be there are found."""
    of_order = {wire.text(entry["id"]) for entry in chain.entries}
    since = (wire.moment(chain.first["submitted_at"]) - PADDING).isoformat()
    found: list[FillReport] = []
    for entry in listings.activities(client, direction="desc", activity_types="FILL", after=since):
        if entry["order_id"] in of_order:
            fill = wire.fill(entry, venue_order_id=chain.first["id"], client_order_id=client_order_id)
            found += [] if fill is None else [fill]
        if sum((fill.quantity for fill in found), Decimal(0)) >= expected:
            break
    return tuple(sorted(found, key=lambda fill: (fill.filled_at, fill.venue_fill_id)))


def _state(chain: Chain, *, expected: Decimal, filled: Decimal) -> VenueState:
    quantity = wire.optional(chain.first["qty"])
    if quantity is not None and filled and filled >= wire.shares(quantity):
        return VenueState.FILLED
    closed_as = _CLOSED.get(chain.current["status"])
    if closed_as is None or filled < expected or (closed_as is VenueState.FILLED and not filled):
        return VenueState.WORKING  # its executions, or its end, are still on their way to us
    is_partial = filled > 0 and closed_as in {VenueState.FILLED, VenueState.REJECTED}
    return VenueState.CANCELED if is_partial else closed_as
