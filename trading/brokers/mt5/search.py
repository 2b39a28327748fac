"""Looking for an order of ours in everything the venue lists."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from nexus.core.errors import Unreachable
from trading.brokers.base import OrderReport, VenueState
from trading.brokers.mt5 import answers, evidence, readings, wire
from trading.brokers.mt5.session import Session

CLOCKS_MAY_DIFFER_S = 60  # a server's clock beside its zone: what `server_clock` takes for latency
NEAR_S = 120  # a server's clock may be a minute off beside its zone, and a deal listed a moment late


def confirm(session: Session, document: wire.Plain, trail: evidence.Trail, since_s: float) -> OrderReport:
    """Find the deals of an order that was accepted; one that shows none yet is working.

    A pipe that broke behind the order costs one call: the gateway connects anew for the next, so a look that fails is
    taken once more. Raises: Unreachable when the search was not complete.
    """
    with readings.reading():
        trail, until_s = _by_ticket(trail, document), float(document["gateway_utc"])
        report = _filled(session, trail, since_s=since_s, until_s=until_s)
        if report is None:
            try:
                report = search(session, trail, since_s=since_s, until_s=until_s)
            except Unreachable:
                report = search(session, trail, since_s=since_s, until_s=until_s)
    return report or answers.accepted(trail.client_order_id, document)


def _filled(session: Session, trail: evidence.Trail, *, since_s: float, until_s: float) -> OrderReport | None:
    """Look at the deals of these moments only: where they are the whole order, no days of history have to be listed.

    The moments are the server's, as far as its clock is known; whatever is not found there is searched for in full.
    """
    offset_s = session.clock.offset_s
    if offset_s is None or not trail.tickets:
        return None
    moments = int(since_s) + offset_s - NEAR_S, int(until_s) + offset_s + NEAR_S
    calls = [readings.call("history_deals_get", *moments, where=_marks(trail) | {"order": list[object](trail.tickets)})]
    calls += [readings.call("positions_get", where={"symbol": [trail.symbol]})] if trail.wants_stops else []
    try:
        batch = session.batch(calls, urgency="SEND")
        deals, *positions = [batch.result(index) for index, _ in enumerate(calls)]
    except Unreachable:
        return None  # the whole search will say what is the matter
    listed = positions[0] if positions else []
    report = evidence.judge(trail, working=[], closed=[], deals=deals, positions=listed, zone=session.clock)
    return report if report and report.state is VenueState.FILLED else None


def trace(
    session: Session, document: wire.Plain, trail: evidence.Trail, since_s: float, *, symbol: str, sent_at: datetime
) -> OrderReport:
    """Find an order of which nobody knows whether it arrived, or report that there is no trace of it.

    What the terminal lists is as old as what its server last told it: only a price newer than the sending shows that
    an empty search could have found the order. As soon as there was time for one, it must be newer by what the two
    clocks may differ. Raises: Unreachable when the search proves nothing.
    """
    with readings.reading():
        sent_s = max(sent_at.timestamp(), float(document["called_utc"] or 0))
        asked_s = float(document["gateway_utc"])
        newer_s = max(sent_s, min(sent_s + CLOCKS_MAY_DIFFER_S, asked_s - CLOCKS_MAY_DIFFER_S))
        has_ticked = _has_ticked(session, symbol, since=datetime.fromtimestamp(newer_s, UTC))
        if document["reply"]:
            trail = _by_ticket(trail, document)
        found = search(session, trail, since_s=since_s, until_s=float(document["gateway_utc"]))
    if found is None and not has_ticked:
        raise Unreachable(f"no price of {symbol} newer than the order has been seen: an empty search proves nothing")
    return found or OrderReport(trail.client_order_id, VenueState.NO_TRACE)


def _by_ticket(trail: evidence.Trail, document: wire.Plain) -> evidence.Trail:
    ticket = answers.order_ticket(document)
    return replace(trail, tickets=frozenset({ticket} if ticket else ()))


def _has_ticked(session: Session, symbol: str, *, since: datetime) -> bool:
    """Tell whether the server has sent a price of the symbol since then; a price of unknown time is no such sign."""
    session.learn_clock([symbol])
    tick = session.batch(readings.quote_calls([symbol])).answers[1]["result"]
    return bool(tick) and session.clock.utc_of_quote(wire.integer(tick["time_msc"])) > since


def _marks(trail: evidence.Trail) -> dict[str, list[object]]:
    return {"magic": [trail.magic], "comment": [trail.client_order_id]}


def search(session: Session, trail: evidence.Trail, *, since_s: float, until_s: float) -> OrderReport | None:
    """Look through everything the venue lists, orders first, since an order moves to the history as we read."""
    window = readings.window(since_s, until_s)
    marks = _marks(trail)
    by_ticket = marks | {"ticket": list[object](trail.tickets)}
    of_symbol = marks | ({"symbol": [trail.symbol]} if trail.wants_stops else {})
    first = [
        readings.call("terminal_info"), readings.call("orders_get", where=by_ticket),
        readings.call("history_orders_get", *window, where=by_ticket),
    ]  # fmt: skip

    def second(tickets: Sequence[int]) -> list[dict[str, Any]]:
        deals = readings.call("history_deals_get", *window, where=marks | {"order": list[object](tickets)})
        return [deals, readings.call("positions_get", where=of_symbol), readings.call("terminal_info")]

    if trail.tickets:
        # Its fills are waited for as its order was.
        batch = session.batch([*first, *second(sorted(trail.tickets))], urgency="SEND")
        results = [batch.result(index) for index in range(6)]
    else:
        batch = session.batch(first)
        results = [batch.result(index) for index in range(3)]
        with wire.understanding():
            tickets = [wire.integer(entry["ticket"]) for entry in (*results[1], *results[2])]
        batch = session.batch(second(tickets))
        results += [batch.result(index) for index in range(3)]
    readings.require_connected(results[0])
    readings.require_connected(results[5])
    return evidence.judge(
        trail, working=results[1], closed=results[2], deals=results[3], positions=results[4], zone=session.clock
    )
