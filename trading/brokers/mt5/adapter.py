"""MetaTrader 5 as a broker in our words. It speaks to our gateway, which runs beside the terminal."""

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from trading.brokers import ids
from trading.brokers.base import (
    AccountSnapshot,
    FillReport,
    Instrument,
    Link,
    OrderReport,
    OrderRequest,
    Quote,
    VenueState,
)
from trading.brokers.mt5 import answers, evidence, market_order, outcomes, readings, wire
from trading.brokers.mt5.client import GatewayClient
from trading.brokers.mt5.profile import Profile
from trading.brokers.mt5.server_clock import ServerClock

CLOCK_CHANGE = timedelta(hours=1)
CLOCK_WAIT_S, CLOCK_POLL_S, CLOCK_RETRY_S = 1.5, 0.1, 60.0
# A journal younger than the order cannot prove that the order was never sent. Covers two machines' clocks.
JOURNAL_AGE_MIN_S = 5


class Mt5Broker:
    """One account behind one gateway. Safe to share between threads."""

    def __init__(self, link: Link) -> None:
        self._profile = Profile.of_link(link)
        try:
            self._client = GatewayClient(
                url=link.settings["url"],
                token=link.settings["token"],
                deadline_s=float(link.settings.get("deadline_s", "5")),
            )
        except (KeyError, ValueError) as exc:
            raise Refused(f"the link of {link.account} is misconfigured: {exc}", code="LINK_MISCONFIGURED") from exc
        self._clock = ServerClock()
        self._clock_tried_at = -math.inf

    def close(self) -> None:
        """Close the connections to the gateway."""
        self._client.close()

    def snapshot(self, *, symbols: Sequence[str]) -> AccountSnapshot:
        """Read the account, its positions and the quotes of `symbols` as one unit."""
        self._learn_clock(symbols)
        ticks = readings.quote_calls(symbols)
        batch = self._batch(
            [readings.call("account_info"), readings.call("terminal_info"), readings.call("positions_get"), *ticks]
        )
        with readings.reading():
            readings.require_connected(batch.result(1))
            self._require_mode(batch.result(0))
            quotes = self._quotes(symbols, batch, first=3)
            positions = tuple(
                wire.position(entry, zone=self._clock, tag=self._profile.tag) for entry in batch.result(2)
            )
            return wire.snapshot(batch.result(0), positions, quotes, name=self._profile.account)

    def instrument(self, *, symbol: str) -> Instrument:
        """Read one instrument. Raises: Refused when the venue does not know it."""
        batch = self._batch([readings.select_call(symbol), readings.call("symbol_info", symbol)])
        with readings.reading():
            readings.require_selected(symbol, batch.answers[0])
            return wire.instrument(batch.result(1))

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send the order, exactly once for its `client_order_id` however often this is called.

        Raises: Refused for a definitive refusal, Unreachable when nothing left us, OutcomeUnknown for all else.
        """
        magic = self._magic(order.client_order_id)
        try:
            request = self._request(order)
        except Refused as refusal:
            return self._refuse(order, magic, refusal)
        document = self._client.send(
            "/v1/order_send",
            {"intent_id": order.client_order_id, "request": request},
            correlation_id=_correlation_id(),
        )
        return self._answer(document, evidence.Trail(order.client_order_id, magic, order.quantity))

    def order_report(self, *, client_order_id: str, sent_at: datetime) -> OrderReport:
        """Ask the gateway's journal, then the venue. Raises: Unreachable when the search was not complete."""
        trail = evidence.Trail(client_order_id, self._magic(client_order_id), None)
        document = self._settle(client_order_id)
        with readings.reading():
            since_s = min(sent_at.timestamp(), float(document["called_utc"] or document["gateway_utc"]))
            trail = replace(trail, quantity=answers.requested_quantity(document))
            match document["state"]:
                case "REFUSED":
                    return answers.rejected(client_order_id, answers.refusal(document["reply"]))
                case "TOMBSTONE" if float(document["journal_created_at"]) <= sent_at.timestamp() - JOURNAL_AGE_MIN_S:
                    return OrderReport(client_order_id, VenueState.NEVER_SENT)
                case "RESULT":
                    outcome, refused = answers.classify(document["reply"])
                    if outcome.is_refusal:
                        return answers.rejected(client_order_id, refused)
                    return self._confirm(document, trail, since_s, is_accepted=outcome is not outcomes.Outcome.UNKNOWN)
                case "CALLING" | "TOMBSTONE":
                    found = self._search(trail, since_s=since_s, until_s=float(document["gateway_utc"]))
                    return found or OrderReport(client_order_id, VenueState.NO_TRACE)
        raise Unreachable(f"the gateway speaks of a state {document['state']!r} that we do not know")

    def fills_since(self, at: datetime) -> Sequence[FillReport]:
        """Read every trade fill of the account since `at`, ours or not; repeats are harmless."""
        now = self._batch([readings.call("terminal_info")])
        window = readings.window(min(at.timestamp(), now.utc_s), now.utc_s)
        batch = self._batch([readings.call("history_deals_get", *window), readings.call("terminal_info")])
        with readings.reading():
            readings.require_connected(batch.result(1))
            fills = [
                wire.fill(deal, zone=self._clock, client_order_id=wire.owner(deal, tag=self._profile.tag))
                for deal in batch.result(0)
                if wire.is_trade(deal)
            ]
        return [fill for fill in fills if fill.filled_at >= at - CLOCK_CHANGE]

    def _request(self, order: OrderRequest) -> market_order.TerminalRequest:
        batch = self._batch([*readings.quote_calls([order.symbol]), readings.call("symbol_info", order.symbol)])
        with readings.reading():
            quote = self._quotes([order.symbol], batch, first=0)[order.symbol]
            terms = market_order.Terms.of_symbol(batch.result(2))
            return market_order.build(order, terms=terms, quote=quote, policy=self._profile.fillings)

    def _refuse(self, order: OrderRequest, magic: int, refusal: Refused) -> OrderReport:
        """Raise our own refusal once the journal has sworn that the order was not sent before, and never will be."""
        document = self._settle(order.client_order_id)
        if document.get("state") == "TOMBSTONE":
            raise refusal
        return self._answer(document, evidence.Trail(order.client_order_id, magic, order.quantity))

    def _answer(self, document: Any, trail: evidence.Trail) -> OrderReport:
        """Turn the journal's word on a sent order into a report, or raise what it means."""
        try:
            with wire.understanding():
                match document["state"]:
                    case "REFUSED":
                        raise answers.refusal(document["reply"])
                    case "TOMBSTONE":
                        raise Refused("the order was settled as never sent, and stays so", code="NEVER_SENT")
                    case "RESULT":
                        outcome, refused = answers.classify(document["reply"])
                    case _:
                        raise OutcomeUnknown("the terminal was called and its answer is not known")
                since_s = float(document["called_utc"])
        except wire.BadAnswer as exc:
            raise OutcomeUnknown(str(exc)) from exc
        if outcome.is_refusal:
            raise refused
        if outcome is outcomes.Outcome.UNKNOWN:
            raise OutcomeUnknown(str(refused)) from refused
        try:
            return self._confirm(document, trail, since_s, is_accepted=True)
        except Unreachable:
            return answers.accepted(trail.client_order_id, document)

    def _confirm(
        self, document: wire.Plain, trail: evidence.Trail, since_s: float, *, is_accepted: bool
    ) -> OrderReport:
        """Find the deals of an order that was answered; an accepted one that shows none yet is working."""
        with readings.reading():
            ticket = answers.order_ticket(document)
            trail = replace(trail, tickets=frozenset({ticket} if ticket else ()))
            report = self._search(trail, since_s=since_s, until_s=float(document["gateway_utc"]))
        if report is None and not is_accepted:
            return OrderReport(trail.client_order_id, VenueState.NO_TRACE)
        if report is None:
            return answers.accepted(trail.client_order_id, document)
        return report

    def _search(self, trail: evidence.Trail, *, since_s: float, until_s: float) -> OrderReport | None:
        """Look through everything the venue lists, orders first, since an order moves to the history as we read."""
        window = readings.window(since_s, until_s)
        marks: dict[str, list[object]] = {"magic": [trail.magic], "comment": [trail.client_order_id]}
        by_ticket = marks | {"ticket": list[object](trail.tickets)}
        first = [
            readings.call("terminal_info"), readings.call("orders_get", where=by_ticket),
            readings.call("history_orders_get", *window, where=by_ticket),
        ]  # fmt: skip

        def second(tickets: Sequence[int]) -> list[dict[str, Any]]:
            deals = readings.call("history_deals_get", *window, where=marks | {"order": list[object](tickets)})
            return [deals, readings.call("positions_get", where=marks), readings.call("terminal_info")]

        if trail.tickets:
            batch = self._batch([*first, *second(sorted(trail.tickets))])
            results = [batch.result(index) for index in range(6)]
        else:
            batch = self._batch(first)
            results = [batch.result(index) for index in range(3)]
            with wire.understanding():
                tickets = [wire.integer(entry["ticket"]) for entry in (*results[1], *results[2])]
            batch = self._batch(second(tickets))
            results += [batch.result(index) for index in range(3)]
        readings.require_connected(results[0])
        readings.require_connected(results[5])
        return evidence.judge(
            trail, working=results[1], closed=results[2], deals=results[3], positions=results[4], zone=self._clock
        )

    def _quotes(self, symbols: Sequence[str], batch: readings.Batch, *, first: int) -> dict[str, Quote]:
        """Read the answers to `readings.quote_calls`, which begin at `first`."""
        quotes = {}
        for index, symbol in enumerate(symbols):
            readings.require_selected(symbol, batch.answers[first + 2 * index])
            tick = batch.result(first + 2 * index + 1)
            quotes[symbol] = wire.quote(symbol, tick, at=self._clock.utc_of_quote(wire.integer(tick["time_msc"])))
        return quotes

    def _learn_clock(self, symbols: Sequence[str]) -> None:
        """Let the gateway watch the quotes until one moves, for a moment, when it does not know the server's clock."""
        started = time.monotonic()
        if self._clock.offset_s is not None or not symbols or started - self._clock_tried_at < CLOCK_RETRY_S:
            return
        while True:
            self._batch(readings.quote_calls(symbols))
            if self._clock.offset_s is not None:
                return
            if time.monotonic() - started > CLOCK_WAIT_S:
                self._clock_tried_at = started
                return
            time.sleep(CLOCK_POLL_S)

    def _magic(self, client_order_id: str) -> int:
        try:
            magic = ids.magic(client_order_id)
        except ids.BadOrderId as exc:
            raise Refused(str(exc), code="ORDER_ID_NOT_VALID") from exc
        if not ids.from_magic(magic, tag=self._profile.tag):
            raise Refused(f"{client_order_id} belongs to another installation or account", code="ORDER_ID_NOT_OURS")
        return magic

    def _require_mode(self, account: wire.Plain) -> None:
        if self._profile.is_paper and account["trade_mode"] == wire.REAL:
            raise Refused("a paper link reached an account with real money", code="PAPER_AND_LIVE_MIXED")

    def _settle(self, client_order_id: str) -> Any:
        return self._client.read(f"/v1/intents/{client_order_id}/settle", {}, correlation_id=_correlation_id())

    def _batch(self, calls: Sequence[dict[str, Any]]) -> readings.Batch:
        document = self._client.read("/v1/batch", list(calls), correlation_id=_correlation_id())
        with readings.reading():
            if (document["login"], document["server"]) != (self._profile.login, self._profile.server):
                raise Unreachable(f"another account answers: {document['login']} at {document['server']}")
            offset_s = document["server_offset_s"]
            self._clock.adopt(None if offset_s is None else wire.integer(offset_s))
            results = document["results"]
            if len(results) != len(calls):
                raise wire.BadAnswer("the gateway did not answer every call")
            return readings.Batch(results, float(document["gateway_utc"]))


def _correlation_id() -> str:
    """Return the id that came with the request in hand, so that the gateway's log tells the same story."""
    context = structlog.contextvars.get_contextvars()
    return str(context.get("correlation_id") or context.get("request_id") or uuid.uuid4().hex)
