"""The journal's word on one intent, in our words."""

from decimal import Decimal

from nexus.core.errors import Refused
from trading.brokers.base import OrderReport, VenueState
from trading.brokers.mt5 import evidence, outcomes, wire
from trading.brokers.mt5.orders import Action, TerminalRequest
from trading.brokers.mt5.outcomes import Outcome, Purpose

# Which of a request's fields name what it is about.
_TARGETS: dict[int, tuple[str, ...]] = {
    Action.DEAL: ("symbol", "magic"),
    Action.PENDING: ("symbol", "magic"),
    Action.CHANGE_STOPS: ("symbol",),  # the ticket may have changed meanwhile
    Action.MODIFY: ("order",),
    Action.REMOVE: ("order",),
    Action.CLOSE_BY: ("magic",),
}
_PURPOSES: dict[int, Purpose] = {
    Action.DEAL: Purpose.OPEN,
    Action.PENDING: Purpose.PENDING,
    Action.CHANGE_STOPS: Purpose.CHANGE,
    Action.MODIFY: Purpose.CHANGE,
    Action.REMOVE: Purpose.CANCEL,
    Action.CLOSE_BY: Purpose.CLOSE,
}

# Where the gateway refuses by its own judgement; at the others it passes on what the terminal says.
OWN_STAGES = frozenset({"limits", "pause", "tick", "freeze", "position"})


def purpose(request: wire.Plain | TerminalRequest) -> Purpose:
    """Say what a request was for."""
    with wire.understanding():
        purpose = _PURPOSES[request["action"]]
        return Purpose.CLOSE if purpose is Purpose.OPEN and request.get("position") else purpose


def is_answer_to(request: TerminalRequest, document: wire.Plain) -> bool:
    """Tell whether the journal speaks of such a request, and not of another that had the same id.

    Prices may differ: an order that is submitted again is built anew, and the journal keeps what was sent.
    """
    with wire.understanding():
        recorded = document["request"]
        if wire.integer(recorded["action"]) != request["action"]:
            return False
        names = _TARGETS[request["action"]]
        is_same = all(str(recorded.get(name)) == str(request.get(name)) for name in names)
        if "volume" not in request:
            return is_same
        # A number may be given twice after all, by a database that was put back to an earlier moment.
        size = Decimal(str(request["volume"]))
        return is_same and recorded["type"] == request["type"] and wire.number(recorded["volume"]) == size


def classify(document: wire.Plain) -> tuple[Outcome, Refused]:
    """Say what the terminal's answer proves about the request, and the refusal it would be."""
    with wire.understanding():
        reply = document["reply"]
        result = reply["result"]
        if result is None:
            code, message = reply["last_error"]
            exception = wire.text(reply.get("exception", ""))
            outcome = outcomes.of_silence(wire.integer(code), exception=exception)
            return outcome, _refused(outcome, wire.text(message), exception or str(code), reply)
        retcode = wire.integer(result["retcode"])
        outcome = outcomes.of_retcode(retcode, purpose(document["request"]))
        return outcome, _refused(outcome, wire.text(result["comment"]) or str(retcode), str(retcode), reply)


def _refused(outcome: Outcome, message: str, code: str, reply: wire.Plain) -> Refused:
    retry_s = _pause_s(reply) if outcome is Outcome.RETRY else None
    halts, is_defect = outcome is Outcome.HALT, outcomes.is_defect(code)
    return Refused(message, code=code, halts=halts, is_defect=is_defect, retry_s=retry_s)


def _pause_s(reply: wire.Plain) -> float:
    """Return how long the gateway leaves the account alone; it says so in text beside a refusal of its own."""
    return float(reply.get("pause_s", 0))


def refusal(reply: wire.Plain) -> Refused:
    """Return the gateway's own refusal, made before any call; it may repeat a code of the venue."""
    code = wire.text(reply["code"])
    retry_s = _pause_s(reply) if outcomes.passes(code) else None
    halts, is_defect = outcomes.halts(code), outcomes.is_defect(code)
    is_local = reply.get("stage") in OWN_STAGES
    return Refused(
        wire.text(reply["reason"]), code=code, halts=halts, is_defect=is_defect, retry_s=retry_s, is_local=is_local
    )


def rejected(client_order_id: str, refused: Refused) -> OrderReport:
    """Report a refusal."""
    return OrderReport(
        client_order_id,
        VenueState.REJECTED,
        reason=str(refused),
        code=refused.code,
        halts=refused.halts,
        is_defect=refused.is_defect,
        is_local=refused.is_local,
    )


def accepted(client_order_id: str, document: wire.Plain) -> OrderReport:
    """Report an order that was accepted and shows nothing in the lists yet."""
    ticket = order_ticket(document)
    name = str(ticket) if ticket else ""
    return OrderReport(client_order_id, VenueState.WORKING, venue_order_id=name, is_shown=False)


def order_ticket(document: wire.Plain) -> int:
    """Return the order's ticket by the terminal's answer, 0 when it gave none."""
    result = document["reply"]["result"]
    return wire.integer(result["order"]) if result else 0


def trail(client_order_id: str, magic: int, document: wire.Plain) -> evidence.Trail:
    """Say by what the order is known, and what was asked for when the journal holds the request."""
    with wire.understanding():
        request = document["request"] or {}
        return evidence.Trail(
            client_order_id,
            magic,
            quantity=wire.number(request["volume"]) if "volume" in request else None,
            symbol=wire.text(request.get("symbol", "")),
            wants_stop_loss=bool(wire.level(request.get("sl", 0))),
            wants_take_profit=bool(wire.level(request.get("tp", 0))),
        )
