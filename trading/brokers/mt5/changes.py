"""Requests about what stands at the venue already: cancel, change, new stops, one position closed by another."""

from nexus.core.errors import Refused
from trading.brokers import ids
from trading.brokers.base import OrderChange, StopsChange, VenueOrder
from trading.brokers.mt5 import terms as rules
from trading.brokers.mt5.orders import TIMES, Action, Held, TerminalRequest, resting_prices
from trading.brokers.mt5.terms import Terms


def remove(venue_order_id: str) -> TerminalRequest:
    """Build the request that cancels a working order. Raises: Refused when this is no ticket."""
    return TerminalRequest(action=Action.REMOVE, order=ticket(venue_order_id))


def modify(change: OrderChange, working: VenueOrder, *, terms: Terms, expiration: int) -> TerminalRequest:
    """Build the request that gives a working order its new terms, all of them. Raises: Refused."""
    rules.check_prices(change.limit_price, change.stop_price, change.stop_loss, change.take_profit)
    price, limit = resting_prices(working.order_type, working.side, change.limit_price, change.stop_price, terms)
    return TerminalRequest(
        action=Action.MODIFY,
        order=ticket(change.venue_order_id),
        symbol=working.symbol,
        price=price,
        stoplimit=limit,
        sl=rules.stop_loss(change.stop_loss, working.side, terms),
        tp=rules.take_profit(change.take_profit, working.side, terms),
        type_time=TIMES[change.time_in_force],
        expiration=expiration,
    )


def stops(change: StopsChange, held: Held, *, terms: Terms) -> TerminalRequest:
    """Build the request that sets both stops of a position; the one left out is taken away. Raises: Refused."""
    rules.check_prices(change.stop_loss, change.take_profit)
    if change.symbol != held.position.symbol:
        raise Refused(f"the position is in {held.position.symbol}", code="POSITION_DOES_NOT_MATCH")
    return TerminalRequest(
        action=Action.CHANGE_STOPS,
        position=held.ticket,
        symbol=change.symbol,
        sl=rules.stop_loss(change.stop_loss, held.position.side, terms),
        tp=rules.take_profit(change.take_profit, held.position.side, terms),
    )


def close_by(client_order_id: str, held: Held, other: Held, *, terms: Terms) -> TerminalRequest:
    """Build the request that closes two opposite positions against each other. Raises: Refused."""
    first, second = held.position, other.position
    if first.symbol != second.symbol or first.side is second.side:
        raise Refused("only opposite positions of one instrument close each other", code="POSITION_DOES_NOT_MATCH")
    if not terms.offers_close_by:
        raise Refused("the symbol's positions cannot close each other", code="CLOSE_BY_NOT_OFFERED")
    return TerminalRequest(
        action=Action.CLOSE_BY,
        symbol=first.symbol,
        position=held.ticket,
        position_by=other.ticket,
        magic=ids.magic(client_order_id),
        comment=client_order_id,
    )


def ticket(venue_id: str) -> int:
    """Return the number that the venue gave. Raises: Refused for a text that is none."""
    if not (venue_id.isascii() and venue_id.isdecimal() and 0 < int(venue_id) < 2**64):
        raise Refused(f"{venue_id!r} is no order or position of this venue", code="VENUE_ID_NOT_VALID")
    return int(venue_id)
