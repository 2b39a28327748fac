"""Sending one intent: at most once, to the right account, within this machine's limits, and never forgotten."""

import time
from decimal import Decimal, InvalidOperation
from typing import Any

from trading.brokers.mt5.gateway import logs
from trading.brokers.mt5.gateway.config import Limits
from trading.brokers.mt5.gateway.desk import Answer, Desk, TerminalDown
from trading.brokers.mt5.gateway.journal import Journal, Record, State

ACTION_DEAL, ACTION_CHANGE_STOPS, ACTION_REMOVE, ACTION_CLOSE_BY = 1, 6, 8, 10
CHECK_PASSED = 0
NOT_SENT = frozenset({-2, -8})  # errors of a check that will stay


class Sender:
    """The journal, the limits and the terminal, in the order in which an intent meets them."""

    def __init__(self, desk: Desk, journal: Journal, limits: Limits) -> None:
        self._desk = desk
        self._journal = journal
        self._limits = limits

    def send(self, *, intent_id: str, correlation_id: str) -> dict[str, Any]:
        """Call the terminal for a received intent, once in its life; later callers get what was recorded.

        Raises: TerminalDown when nothing was called; the intent may then be sent again.
        """
        record = self._journal.find(intent_id)
        if record is None or record.state is not State.RECEIVED or record.request is None:
            return as_dict(record, self._journal, now=self._desk.now())
        self._desk.verify()
        refusal = self._over_limit(record.request) or self._failed_check(record.request)
        if refusal:
            logs.write("gateway.intent.refused", correlation_id=correlation_id, intent_id=intent_id, **refusal)
            self._refuse(intent_id, refusal)
        else:
            self._call(intent_id, record.request, correlation_id)
        outcome = self._journal.find(intent_id)
        if outcome is not None and outcome.state is State.RECEIVED:
            raise TerminalDown("the request was exchanged while it was checked; nothing was sent")
        return as_dict(outcome, self._journal, now=self._desk.now())

    def _refuse(self, intent_id: str, refusal: dict[str, str]) -> None:
        try:
            self._journal.refuse(intent_id, refusal)
        except LookupError:
            logs.write("gateway.intent.settled_meanwhile", intent_id=intent_id)

    def _call(self, intent_id: str, request: dict[str, Any], correlation_id: str) -> None:
        if not self._journal.claim(intent_id, request, called_utc=self._desk.now()):
            return  # settled meanwhile and promised never to be sent, or another request has taken the place
        logs.write("gateway.intent.calling", correlation_id=correlation_id, intent_id=intent_id)
        started = time.perf_counter()
        answer = self._desk.call("order_send", request)
        self._journal.finish(intent_id, answer.as_dict() | self._desk.stamp(started))
        logs.write(
            "gateway.intent.answered", correlation_id=correlation_id, intent_id=intent_id, last_error=answer.code,
            retcode=answer.result and answer.result["retcode"], order=answer.result and answer.result["order"],
            call_ms=round(1000 * (time.perf_counter() - started), 3),
        )  # fmt: skip

    def _over_limit(self, request: dict[str, Any]) -> dict[str, str] | None:
        """Return why this machine does not send the request. What only reduces risk is not held back."""
        limits = self._limits
        if request.get("action") in {ACTION_CHANGE_STOPS, ACTION_REMOVE, ACTION_CLOSE_BY}:
            return None
        if limits.symbols is not None and request.get("symbol") not in limits.symbols:
            return _refusal("limits", "SYMBOL_NOT_ALLOWED", f"the gateway does not trade {request.get('symbol')!r}")
        try:
            lots = Decimal(str(request.get("volume", 0)))
        except InvalidOperation:
            lots = Decimal("NaN")
        if not (lots.is_finite() and lots <= limits.lots_max):
            return _refusal("limits", "LOTS_EXCEED_LIMIT", f"the gateway sends {limits.lots_max} lots at most")
        if request.get("action") == ACTION_DEAL and request.get("position"):
            return None
        if limits.kill_file is not None and limits.kill_file.exists():
            return _refusal("limits", "KILL_FILE_PRESENT", "the gateway's kill file stands; nothing new is sent")
        if self._journal.called_since(time.time() - 60) >= limits.orders_per_minute:
            return _refusal("limits", "RATE_EXCEEDS_LIMIT", f"{limits.orders_per_minute} orders a minute at most")
        return None

    def _failed_check(self, request: dict[str, Any]) -> dict[str, str] | None:
        """Ask the terminal whether the order would pass. Raises: TerminalDown when it cannot tell."""
        check: Answer = self._desk.call("order_check", request)
        if check.exception:
            return _refusal("check", check.exception, check.message)
        if check.result is None:
            if check.code in NOT_SENT:
                return _refusal("check", str(check.code), check.message)
            raise TerminalDown(f"the order cannot be checked: {check.code} {check.message}")
        if check.result["retcode"] != CHECK_PASSED:
            return _refusal("check", str(check.result["retcode"]), check.result["comment"])
        return None


def as_dict(record: Record | None, journal: Journal, *, now: float) -> dict[str, Any]:
    """Return how an intent stands, as it crosses the wire. `journal_created_at` bounds what the journal can know."""
    if record is None:
        raise LookupError("the intent is not in the journal")
    return {
        "state": record.state, "request": record.request, "reply": record.reply, "called_utc": record.called_utc,
        "journal_created_at": journal.created_at, "gateway_utc": round(now, 6),
    }  # fmt: skip


def _refusal(stage: str, code: str, reason: str) -> dict[str, str]:
    return {"stage": stage, "code": code, "reason": reason}
