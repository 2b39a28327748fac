"""What the venue's lists say about one order of ours: working orders, closed orders, deals and positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from trading.brokers.base import FillKind, FillReport, OrderReport, VenueState
from trading.brokers.mt5 import wire


class OrderState(IntEnum):
    """The states of a closed order from which something follows; all others mean that news is on its way."""

    CANCELED = 2
    PARTIAL = 3
    FILLED = 4
    REJECTED = 5
    EXPIRED = 6


_CLOSED = {
    OrderState.CANCELED: VenueState.CANCELED,
    OrderState.PARTIAL: VenueState.CANCELED,
    OrderState.REJECTED: VenueState.REJECTED,
    OrderState.EXPIRED: VenueState.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class Trail:
    """By what an order of ours is known: its number, its text, and the tickets it has been given so far."""

    client_order_id: str
    magic: int
    quantity: Decimal | None = None  # as requested, when we still know it
    tickets: frozenset[int] = frozenset()
    symbol: str = ""
    wants_stop_loss: bool = False
    wants_take_profit: bool = False

    @property
    def wants_stops(self) -> bool:
        """Tell whether the position must carry a stop or a target."""
        return self.wants_stop_loss or self.wants_take_profit

    def marks(self, entry: wire.Plain) -> bool:
        """Tell whether an order or position carries our number or text, and is no stop that copied them."""
        with wire.understanding():
            if wire.integer(entry.get("reason", 0)) not in wire.REASONS_OF_ORDERS:
                return False
            return (
                wire.integer(entry["magic"]) == self.magic
                or entry["comment"] == self.client_order_id
                or wire.integer(entry["ticket"]) in self.tickets
            )


def judge(
    trail: Trail,
    *,
    working: Sequence[wire.Plain],
    closed: Sequence[wire.Plain],
    deals: Sequence[wire.Plain],
    positions: Sequence[wire.Plain],
    zone: wire.Zone,
) -> OrderReport | None:
    """Weigh one complete search, or return None when nothing was found. Deals outweigh orders, orders positions."""
    ours = [entry for entry in (*closed, *working) if trail.marks(entry)]
    with wire.understanding():
        tickets = trail.tickets | {wire.integer(entry["ticket"]) for entry in ours}
        found = {wire.integer(deal["ticket"]): deal for deal in deals if _is_ours(deal, trail, tickets)}
    fills = tuple(
        fill
        for _, deal in sorted(found.items())
        for fill in wire.fills(deal, zone=zone, client_order_id=trail.client_order_id)
    )
    if not ours and not fills and not any(trail.marks(position) for position in positions):
        return None
    state = _state(trail, fills, working=[entry for entry in ours if entry in working], ours=ours)
    ticket = fills[0].venue_order_id if fills else str(wire.integer(ours[0]["ticket"])) if ours else ""
    lacks_stops, is_unlisted = _stops(trail, fills, positions)
    return OrderReport(
        trail.client_order_id,
        state,
        venue_order_id=ticket,
        fills=fills,
        stops_missing=lacks_stops,
        stops_unseen=is_unlisted,
        is_shown=bool(ours) or not fills or state is VenueState.FILLED,  # what has filled says nothing of the rest
    )


def _stops(trail: Trail, fills: Sequence[FillReport], positions: Sequence[wire.Plain]) -> tuple[bool, bool]:
    """Tell whether a position that our fills made, those that stand, lacks a stop that we asked for, or is unlisted.

    One on the other side was netted with them and is only reduced: it keeps its own, and ours would be none to it.
    """
    gone = {fill.reverses for fill in fills}
    standing = [fill for fill in fills if not fill.reverses and fill.venue_fill_id not in gone]
    filled = {(fill.venue_position_id, fill.side) for fill in standing}
    with wire.understanding():
        listed = {(str(wire.integer(each["identifier"])), wire.side(each["type"])): each for each in positions}
        lacks = any(
            (trail.wants_stop_loss and wire.level(position["sl"]) is None)
            or (trail.wants_take_profit and wire.level(position["tp"]) is None)
            for name, position in listed.items()
            if name in filled
        )
    return lacks, not filled <= listed.keys()


def _is_ours(deal: wire.Plain, trail: Trail, tickets: frozenset[int]) -> bool:
    if not wire.is_trade(deal) or wire.integer(deal["reason"]) not in wire.REASONS_OF_ORDERS:
        return False
    return (
        wire.integer(deal["order"]) in tickets
        or wire.integer(deal["magic"]) == trail.magic
        or deal["comment"] == trail.client_order_id
    )


def _state(
    trail: Trail, fills: Sequence[FillReport], *, working: Sequence[wire.Plain], ours: Sequence[wire.Plain]
) -> VenueState:
    taken_back = sum((fill.quantity for fill in fills if fill.kind is FillKind.BUST), Decimal(0))
    filled = sum((fill.quantity for fill in fills), Decimal(0)) - taken_back
    with wire.understanding():
        requested = trail.quantity or next((wire.number(entry["volume_initial"]) for entry in ours), None)
        if requested and filled >= requested:  # what was taken back of it is not traded again
            return VenueState.FILLED if filled - taken_back >= requested else VenueState.CANCELED
        if working or not ours:
            return VenueState.WORKING
        order = ours[0]
        executed = wire.number(order["volume_initial"]) - wire.number(order["volume_current"])
        state = wire.integer(order["state"])
    closed_as = _CLOSED.get(OrderState(state)) if state in OrderState.__members__.values() else None
    if closed_as is None or filled < executed or (state == OrderState.PARTIAL and not filled):
        return VenueState.WORKING  # its deals, or its end, are still on their way to us
    return VenueState.CANCELED if filled and closed_as is VenueState.REJECTED else closed_as
