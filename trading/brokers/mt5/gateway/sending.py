"""Sending one intent: at most once, to the right account, within this machine's limits, and never forgotten."""

import sqlite3
import time
from decimal import Decimal, InvalidOperation
from typing import Any

from trading.brokers.mt5.gateway import freezing, logs
from trading.brokers.mt5.gateway.calls import Answer, Call
from trading.brokers.mt5.gateway.config import Limits
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.journal import Journal, Record, State
from trading.brokers.mt5.gateway.remote import TerminalDown, TerminalLost
from trading.brokers.mt5.gateway.throttle import TOO_MANY_REQUESTS, Target

ACTION_DEAL, ACTION_PENDING, ACTION_CHANGE_STOPS, ACTION_MODIFY, ACTION_REMOVE, ACTION_CLOSE_BY = 1, 5, 6, 7, 8, 10
ACTIONS = {ACTION_DEAL, ACTION_PENDING, ACTION_CHANGE_STOPS, ACTION_MODIFY, ACTION_REMOVE, ACTION_CLOSE_BY}
TYPE_BUY = 0
CHECK_PASSED = 0
NOTHING_TO_CLOSE = frozenset({10036, 10038})  # POSITION_CLOSED, INVALID_CLOSE_VOLUME
NOT_SENT = frozenset({-2, -8})  # errors of a check that will stay
# What a request is about, and how that is read; of a change, the levels that the market may have come too near to.
# A close and a cancel take risk away: they always leave, and the broker decides.
STANDING: dict[int, tuple[str, str, tuple[str, ...]]] = {
    ACTION_DEAL: ("positions_get", "position", ()),
    ACTION_CHANGE_STOPS: ("positions_get", "position", ("sl", "tp")),
    ACTION_MODIFY: ("orders_get", "order", ("price_open",)),
}


class Sender:
    """The journal, the limits and the terminal, in the order in which an intent meets them."""

    def __init__(self, desk: Desk, journal: Journal, limits: Limits) -> None:
        self._desk = desk
        self._journal = journal
        self._limits = limits
        row, until = journal.pause()
        desk.throttle.resume(row, left_s=until - time.time())

    def send(self, *, intent_id: str, correlation_id: str) -> dict[str, Any]:
        """Call the terminal for a received intent, once in its life; later callers get what was recorded.

        Raises: TerminalDown when nothing was called.
        """
        record = self._journal.find(intent_id)
        if record is None or record.state is not State.RECEIVED or record.request is None:
            return as_dict(record, self._journal, now=self._desk.now())
        if self._desk.must_reconcile and ends(record.request) is None:
            raise TerminalDown("a worker was started: the books must be compared before anything new is sent")
        refusal = self._why_not(record.request)
        if refusal:
            logs.write("gateway.intent.refused", correlation_id=correlation_id, intent_id=intent_id, **refusal)
            self._refuse(intent_id, refusal)
        else:
            self._call(intent_id, record.request, correlation_id)
        outcome = self._journal.find(intent_id)
        self._desk.meter.count("intents_total", action=record.request.get("action"), state=outcome and outcome.state)
        if outcome is not None and outcome.state is State.RECEIVED:
            raise TerminalDown("the request was exchanged while it was checked; nothing was sent")
        return as_dict(outcome, self._journal, now=self._desk.now())

    def _refuse(self, intent_id: str, refusal: dict[str, str]) -> None:
        self._desk.meter.count("refusals_total", stage=refusal["stage"], code=refusal["code"])
        try:
            self._journal.refuse(intent_id, refusal)
        except LookupError:
            logs.write("gateway.intent.settled_meanwhile", intent_id=intent_id)

    def _call(self, intent_id: str, request: dict[str, Any], correlation_id: str) -> None:
        if not self._journal.claim(intent_id, request, called_utc=self._desk.now()):
            return  # settled meanwhile and promised never to be sent, or another request has taken the place
        logs.write("gateway.intent.calling", correlation_id=correlation_id, intent_id=intent_id)
        started = time.perf_counter()
        try:
            answer = self._desk.call("order_send", request)
        except TerminalLost:
            logs.write("gateway.intent.lost", correlation_id=correlation_id, intent_id=intent_id)
            return  # it stays CALLING: nobody knows what the terminal did
        self._desk.meter.time("send_seconds", time.perf_counter() - started)
        self._desk.meter.count("answers_total", code=answer.result["retcode"] if answer.result else answer.code)
        self._note_pause(answer, correlation_id, target=ends(request))
        self._journal.finish(intent_id, answer.as_dict() | self._desk.stamp(started))
        logs.write(
            "gateway.intent.answered", correlation_id=correlation_id, intent_id=intent_id, last_error=answer.code,
            retcode=answer.result and answer.result["retcode"], order=answer.result and answer.result["order"],
            call_ms=round(1000 * (time.perf_counter() - started), 3),
        )  # fmt: skip

    def _note_pause(self, answer: Answer, correlation_id: str, *, target: Target | None = None) -> None:
        """Leave the account alone for a while when its broker asks for that."""
        throttle = self._desk.throttle
        row = throttle.row
        pause_s = throttle.note(answer, target)
        is_too_many = answer.result is not None and int(answer.result["retcode"]) == TOO_MANY_REQUESTS
        if is_too_many or throttle.row != row:
            try:
                self._journal.note_pause(throttle.row, until=time.time() + pause_s)
            except sqlite3.Error as exc:  # it is kept here as well; the answer to the request is what must be noted
                logs.write("gateway.journal.not_written", level="warning", what="pause", problem=repr(exc))
        if is_too_many:
            self._desk.meter.count("pauses_total")
            logs.write("gateway.paused", level="warning", correlation_id=correlation_id, pause_s=pause_s)

    def _why_not(self, request: dict[str, Any]) -> dict[str, str] | None:
        """Return why the request is not sent, or None. Raises: TerminalDown when the terminal cannot tell.

        Orders are checked by the terminal. A close is held back only where the check says that there is nothing to
        close; what it says of a change or a cancel is nowhere documented.
        """
        action = request.get("action")
        if action not in ACTIONS:
            return _refusal("limits", "ACTION_NOT_ALLOWED", f"the gateway does not send action {action}")
        if not self._desk.throttle.may_send(ends(request)):
            pause_s = self._desk.throttle.left_s()
            reason = f"the broker asked for fewer requests; {pause_s} s of the pause are left"
            return _refusal("pause", code="ACCOUNT_PAUSED", reason=reason) | {"pause_s": str(pause_s)}
        wanted: list[Call] = []
        if stands(request):
            function, key, _ = STANDING[action]
            wanted.append(Call(function, kwargs={"ticket": request[key]}))
        is_opening = action in {ACTION_DEAL, ACTION_PENDING} and not is_close(request)
        is_at_market = is_opening and action == ACTION_DEAL
        if is_at_market:
            symbol = request.get("symbol", "")
            known = symbol in self._desk.points
            wanted += [] if known else [Call("symbol_select", (symbol, True)), Call("symbol_info", (symbol,))]
            wanted.append(Call("symbol_info_tick", (symbol,)))
        if is_opening or is_close(request):
            wanted.append(Call("order_check", (request,)))
        account, terminal, answers = self._desk.verify(wanted)
        return (
            _closed(account, terminal)
            or self._over_limit(request)
            or (is_close(request) and _more_than_a_close(request, answers[0]))
            or (stands(request) and self._frozen(request, answers[0]))
            or (is_at_market and self._moved(request, answers[-2]))
            or (is_opening and self._failed_check(answers[-1]))
            or (is_close(request) and _nothing_to_close(answers[-1]))
            or None
        )

    def _moved(self, request: dict[str, Any], answer: Answer) -> dict[str, str] | None:
        """Return why the market is not the one that the order was judged by: a second look, when its turn has come.

        It may have waited behind other calls, and a server that executes at the market holds no price to a deviation.
        Raises: TerminalDown when there is no price.
        """
        point = self._desk.points.get(request.get("symbol", ""))
        if not answer.ok or point is None:
            raise TerminalDown(f"the price cannot be read: {answer.code} {answer.message}")
        bid, ask = (Decimal(str(answer.result[name])) for name in ("bid", "ask"))
        room = Decimal(str(request.get("deviation", 0))) * point
        price = Decimal(str(request.get("price", 0)))
        worse = ask - price if request.get("type") == TYPE_BUY else price - bid
        if 0 < bid <= ask and worse <= room:
            return None
        words = f"the market is at {bid} / {ask}: more than {room} from the price of {price}"
        return _refusal("tick", code="PRICE_OUTSIDE_COLLAR", reason=words)

    def _failed_check(self, check: Answer) -> dict[str, str] | None:
        """Return why the terminal says that the order would not pass. Raises: TerminalDown when it cannot tell."""
        refusal = _failed_check(check)
        if refusal is not None and refusal["code"] == str(TOO_MANY_REQUESTS):
            self._note_pause(check, "")
            return refusal | {"pause_s": str(self._desk.throttle.left_s())}
        return refusal

    def _frozen(self, request: dict[str, Any], answer: Answer) -> dict[str, str] | None:
        """Return why the server would not touch what the request is about: the market is too near to it."""
        _, key, levels = STANDING[request["action"]]
        listed = answer.result if answer.ok else []
        entry = next((each for each in listed if int(each["ticket"]) == request[key]), None)
        if entry is None or not any(entry[name] for name in levels):
            return None
        offset_s = self._desk.clock.offset_s
        server_s = None if offset_s is None else self._desk.now() + offset_s
        words = freezing.near(entry, levels, self._desk.make(freezing.terms(entry["symbol"])), server_s=server_s)
        return _refusal("freeze", code="FREEZE_DISTANCE", reason=words) if words else None

    def _over_limit(self, request: dict[str, Any]) -> dict[str, str] | None:
        """Return which limit of this machine the request exceeds. What only reduces risk is not held back.

        A close is no larger than its position, which may have grown by several orders, or be another's in any symbol.
        """
        limits = self._limits
        if reduces(request):
            return None
        if limits.symbols is not None and request.get("symbol") not in limits.symbols:
            return _refusal("limits", "SYMBOL_NOT_ALLOWED", f"the gateway does not trade {request.get('symbol')!r}")
        if not _lots(request) <= limits.lots_max:
            return _refusal("limits", "LOTS_EXCEED_LIMIT", f"the gateway sends {limits.lots_max} lots at most")
        if limits.kill_file is not None and limits.kill_file.exists():
            return _refusal("limits", "KILL_FILE_PRESENT", "the gateway's kill file stands; nothing new is sent")
        if self._journal.orders_since(time.time() - 60) >= limits.orders_per_minute:
            return _refusal("limits", "RATE_EXCEEDS_LIMIT", f"{limits.orders_per_minute} orders a minute at most")
        return None


def as_dict(record: Record | None, journal: Journal, *, now: float) -> dict[str, Any]:
    """Return how an intent stands, as it crosses the wire, and what bounds what the journal can know."""
    if record is None:
        raise LookupError("the intent is not in the journal")
    return {
        "state": record.state, "request": record.request, "reply": record.reply, "called_utc": record.called_utc,
        "journal_created_at": journal.created_at, "journal_runs": journal.runs(), "gateway_utc": round(now, 6),
    }  # fmt: skip


def _closed(account: dict[str, Any], terminal: dict[str, Any]) -> dict[str, str] | None:
    """Return the code by which the venue would refuse whatever is sent now: somebody has switched trading off."""
    switches = (
        (terminal["tradeapi_disabled"], "-8", "trading through the Python API is switched off in the terminal"),
        (not terminal["trade_allowed"], "10027", "the terminal's AutoTrading is switched off"),
        (not account["trade_allowed"], "10017", "the account may not trade"),
        (not account["trade_expert"], "10026", "the broker has switched off trading by programs"),
    )
    return next((_refusal("guards", code, reason) for is_off, code, reason in switches if is_off), None)


def _more_than_a_close(request: dict[str, Any], answer: Answer) -> dict[str, str] | None:
    """Return why a deal that names a position would do more than reduce it, as that position stands now."""
    if not answer.ok:
        raise TerminalDown(f"the position cannot be read: {answer.code} {answer.message}")
    ticket = request["position"]
    position = next((entry for entry in answer.result if int(entry["ticket"]) == ticket), None)
    if position is None:
        return _refusal("position", "POSITION_NOT_OPEN", f"the position {ticket} is not open")
    if position["symbol"] != request.get("symbol") or {position["type"], request.get("type")} != {0, 1}:
        return _refusal("position", "POSITION_DOES_NOT_MATCH", "the order does not close this position")
    if _lots(request) > Decimal(str(position["volume"])):
        reason = f"the position holds {position['volume']} lots only"
        return _refusal("position", "QUANTITY_EXCEEDS_POSITION", reason)
    return None


def _nothing_to_close(check: Answer) -> dict[str, str] | None:
    """Return that the position is gone, or smaller, by the server's word: a list of positions may be seconds old."""
    is_gone = check.result is not None and check.result["retcode"] in NOTHING_TO_CLOSE
    return _refusal("check", str(check.result["retcode"]), check.result["comment"]) if is_gone else None


def _failed_check(check: Answer) -> dict[str, str] | None:
    """Return why the terminal says that the order would not pass. Raises: TerminalDown when it cannot tell."""
    if check.exception:
        return _refusal("check", check.exception, check.message)
    if check.result is None:
        if check.code in NOT_SENT:
            return _refusal("check", str(check.code), check.message)
        raise TerminalDown(f"the order cannot be checked: {check.code} {check.message}")
    if check.result["retcode"] != CHECK_PASSED:
        return _refusal("check", str(check.result["retcode"]), check.result["comment"])
    return None


def reduces(request: dict[str, Any]) -> bool:
    """Tell whether the request can only take risk away."""
    return request.get("action") in {ACTION_CHANGE_STOPS, ACTION_REMOVE, ACTION_CLOSE_BY} or is_close(request)


def ends(request: dict[str, Any]) -> Target | None:
    """Return the position that the request closes or the order that it cancels, None when it does neither."""
    key = {ACTION_DEAL: "position", ACTION_CLOSE_BY: "position", ACTION_REMOVE: "order"}.get(request.get("action", 0))
    ticket = request.get(key) if key else None
    return (str(key), ticket) if type(ticket) is int and ticket else None


def stands(request: dict[str, Any]) -> bool:
    """Tell whether the request names one position or order that the market may have come too near to."""
    return request.get("action") in STANDING and bool(request.get(STANDING[request["action"]][1]))


def is_close(request: dict[str, Any]) -> bool:
    """Tell whether the request is a deal that names a position."""
    return request.get("action") == ACTION_DEAL and bool(request.get("position"))


def _lots(request: dict[str, Any]) -> Decimal:
    """Return the lots of the request; what is no number is more than any limit."""
    try:
        lots = Decimal(str(request.get("volume", 0)))
    except InvalidOperation:
        return Decimal("Infinity")
    return lots if lots.is_finite() else Decimal("Infinity")


def _refusal(stage: str, code: str, reason: str) -> dict[str, str]:
    return {"stage": stage, "code": code, "reason": reason}
