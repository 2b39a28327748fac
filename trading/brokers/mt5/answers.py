"""The journal's word on one intent, in our words."""

from decimal import Decimal

from nexus.core.errors import Refused
from trading.brokers.base import OrderReport, VenueState
from trading.brokers.mt5 import outcomes, wire
from trading.brokers.mt5.outcomes import Outcome, Purpose


def classify(reply: wire.Plain) -> tuple[Outcome, Refused]:
    """Say what the terminal's answer to an opening order proves, and the refusal it would be."""
    result = reply["result"]
    if result is None:
        code, message = reply["last_error"]
        exception = wire.text(reply.get("exception", ""))
        outcome = outcomes.of_silence(wire.integer(code), exception=exception)
        return outcome, Refused(wire.text(message), code=exception or str(code))
    retcode = wire.integer(result["retcode"])
    outcome = outcomes.of_retcode(retcode, Purpose.OPEN)
    return outcome, Refused(wire.text(result["comment"]) or str(retcode), code=str(retcode))


def refusal(reply: wire.Plain) -> Refused:
    """Return the gateway's own refusal, made before any call."""
    return Refused(wire.text(reply["reason"]), code=wire.text(reply["code"]))


def rejected(client_order_id: str, refused: Refused) -> OrderReport:
    """Report a refusal."""
    return OrderReport(client_order_id, VenueState.REJECTED, reason=str(refused), code=refused.code)


def accepted(client_order_id: str, document: wire.Plain) -> OrderReport:
    """Report an order that was accepted and shows nothing in the lists yet."""
    ticket = order_ticket(document)
    return OrderReport(client_order_id, VenueState.WORKING, venue_order_id=str(ticket) if ticket else "")


def order_ticket(document: wire.Plain) -> int:
    """Return the order's ticket by the terminal's answer, 0 when it gave none."""
    result = document["reply"]["result"]
    return wire.integer(result["order"]) if result else 0


def requested_quantity(document: wire.Plain) -> Decimal | None:
    """Return the lots that were asked for, when the journal holds the request."""
    request = document["request"]
    return None if request is None else wire.number(request["volume"])
