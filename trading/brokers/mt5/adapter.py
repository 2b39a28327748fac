"""MetaTrader 5 as a broker in our words. It speaks to our gateway, which runs beside the terminal."""

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from trading.brokers import ids
from trading.brokers.base import (
    AccountSnapshot,
    CashReport,
    FillReport,
    Instrument,
    Link,
    MarginQuestion,
    Mark,
    News,
    OrderChange,
    OrderReport,
    OrderRequest,
    OrderType,
    ProfitQuestion,
    Quote,
    Side,
    StopsChange,
    VenueState,
    require_in_time,
)
from trading.brokers.mt5 import answers, changes, history, news, orders, readings, search, wire
from trading.brokers.mt5.orders import TerminalRequest
from trading.brokers.mt5.outcomes import Outcome
from trading.brokers.mt5.session import Session
from trading.brokers.mt5.terms import Terms, instrument

CLOCK_CHANGE = timedelta(hours=1)
# A journal younger than the order cannot prove that the order was never sent. Covers two machines' clocks.
JOURNAL_AGE_MIN_S = 5
# Nor can one by which the account was not reached yet: for so long some process may have gone on sending by the other.
MOVED_MIN_S = 60
# An order is sent into the market that it was judged by, when that was read this short a time ago: the terminal holds
# the price to its deviation. A price read anew is one more request where all wait already, and as old on arrival.
# A symbol's own rules change by the day; a broker refuses what no longer keeps them.
QUOTE_KEPT_S = 1.0
TERMS_KEPT_S = 60.0

_INTENT = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what the gateway's journal takes for a name


class Mt5Broker:
    """One account behind one gateway. Safe to share between threads."""

    def __init__(self, link: Link) -> None:
        self._session = Session(link)
        self._profile = self._session.profile
        self._quotes: dict[str, tuple[float, Quote]] = {}  # when it was asked for, by our own clock
        self._known_terms: dict[str, tuple[float, Terms]] = {}

    def close(self) -> None:
        """Close the connections to the gateway."""
        self._session.close()

    def snapshot(
        self, *, symbols: Sequence[str], margin: MarginQuestion | None = None, profit: ProfitQuestion | None = None
    ) -> AccountSnapshot:
        """Read the account, its positions and orders and the quotes of `symbols` as one unit, with what is asked.

        Nobody of ours calls in between, and the market goes on: orders are read before positions, so that what fills
        meanwhile is seen as working, as held or as both, and never as neither. Quotes for which the unit has no room
        are read in units of their own.
        """
        session = self._session
        session.learn_clock(symbols)
        names = ("account_info", "terminal_info", "orders_get", "positions_get")
        beside = {question.symbol for question in (margin, profit) if question is not None}
        room = readings.UNIT_MAX - len(names) - 2
        quoted, *more = readings.pieces(sorted(symbols, key=lambda name: name not in beside), room=room)
        asked = readings.questions(margin, profit, ticks={name: 5 + 2 * place for place, name in enumerate(quoted)})
        began = time.monotonic()
        batch = session.batch([*map(readings.call, names), *readings.quote_calls(quoted), *asked.values()])
        with readings.reading():
            readings.require_connected(batch.result(1))
            self._require_mode(batch.result(0))
            positions = tuple(
                wire.position(entry, zone=session.clock, tag=self._profile.tag) for entry in batch.result(3)
            )
            snapshot = wire.snapshot(
                batch.result(0),
                positions=positions,
                orders=session.working(batch.result(2)),
                quotes=session.quotes(quoted, batch, first=len(names)) | session.priced(more),
                name=self._profile.account,
                pause_s=batch.pause_s,
                remembers=batch.runs,
                sends_nothing=batch.trouble,
                **readings.figures(asked, batch),
            )
        session.compared("account", batch)
        self._quotes |= {symbol: (began, quote) for symbol, quote in snapshot.quotes.items()}
        return snapshot

    def instrument(self, *, symbol: str) -> Instrument:
        """Read one instrument. Raises: Refused when the venue does not know it."""
        batch = self._session.batch(readings.terms_calls(symbol))
        with readings.reading():
            readings.require_selected(symbol, batch.answers[0])
            return instrument(batch.result(1))

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send the order, exactly once for its `client_order_id` however often this is called.

        Raises: Refused for a definitive refusal, Unreachable when nothing left us, OutcomeUnknown for all else.
        """
        build = self._market if order.order_type is OrderType.MARKET else self._pending
        return self._trade(
            order.client_order_id, lambda: build(order), sent_at=order.sent_at, send_by_s=order.send_by_s
        )

    def close_by(
        self,
        *,
        client_order_id: str,
        venue_position_id: str,
        other_position_id: str,
        send_by_s: float | None = None,
    ) -> OrderReport:
        """Close a position against an opposite one, once for its `client_order_id`. Its fills are one of each."""

        def build() -> TerminalRequest:
            pair = [venue_position_id, other_position_id]
            batch = self._session.batch([readings.call("positions_get", where={"identifier": list[object](pair)})])
            with readings.reading():
                first, second = (self._session.held(name, batch, place=0) for name in pair)
                symbol = self._terms(first.position.symbol)
                return changes.close_by(client_order_id, first, second, terms=symbol)

        return self._trade(client_order_id, build, send_by_s=send_by_s)

    def cancel(self, *, cancel_id: str, venue_order_id: str) -> None:
        """Ask the venue to cancel a working order, once for its `cancel_id`. Only `order_report` proves that it did."""
        self._change(cancel_id, lambda: changes.remove(venue_order_id))

    def change_order(self, change: OrderChange) -> None:
        """Change a working order, once for its `change_id`. Raises: Refused, Unreachable, OutcomeUnknown."""

        def build() -> TerminalRequest:
            where: dict[str, list[object]] = {"ticket": [changes.ticket(change.venue_order_id)]}
            batch = self._session.batch([readings.call("orders_get", where=where)], urgency="SEND")
            with readings.reading():
                working = self._session.resting(change.venue_order_id, batch.result(0))
                terms = self._terms(working.symbol)
                orders.check_time(change.time_in_force, change.expires_at, now_s=batch.utc_s, terms=terms)
                expiration = self._session.server_s(change.expires_at, symbol=working.symbol, now_s=batch.utc_s)
                return changes.modify(change, working, terms=terms, expiration=expiration)

        self._change(change.change_id, build, send_by_s=change.send_by_s)

    def change_stops(self, change: StopsChange) -> None:
        """Change a position's stops, once for its `change_id`. Raises: Refused, Unreachable, OutcomeUnknown."""

        def build() -> TerminalRequest:
            where: dict[str, list[object]] = {"identifier": [change.venue_position_id]}
            batch = self._session.batch(
                [*readings.terms_calls(change.symbol), readings.call("positions_get", where=where)], urgency="PROTECT"
            )
            with readings.reading():
                readings.require_selected(change.symbol, batch.answers[0])
                held = self._session.held(change.venue_position_id, batch, place=2)
                return changes.stops(change, held, terms=Terms.of_symbol(batch.result(1)))

        self._change(change.change_id, build, send_by_s=change.send_by_s)

    def order_report(self, *, client_order_id: str, symbol: str, sent_at: datetime) -> OrderReport:
        """Ask the gateway's journal, then the venue. Raises: Unreachable when the search proves nothing."""
        magic = self._magic(client_order_id)
        document = self._session.settle(client_order_id)
        with readings.reading():
            since_s = min(sent_at.timestamp(), float(document["called_utc"] or document["gateway_utc"]))
            trail = answers.trail(client_order_id, magic, document)
            match document["state"]:
                case "REFUSED":
                    return answers.rejected(client_order_id, answers.refusal(document["reply"]))
                case "TOMBSTONE" if self._was_there(document, sent_at):
                    return OrderReport(client_order_id, VenueState.NEVER_SENT, remembers=wire.runs(document))
                case "RESULT":
                    outcome, refused = answers.classify(document)
                    if outcome.is_refusal:
                        return answers.rejected(client_order_id, refused)
                    if outcome is not Outcome.UNKNOWN:
                        return search.confirm(self._session, document, trail, since_s)
                    return search.trace(self._session, document, trail, since_s, symbol=symbol, sent_at=sent_at)
                case "CALLING" | "TOMBSTONE" | "FORGOTTEN":
                    return search.trace(self._session, document, trail, since_s, symbol=symbol, sent_at=sent_at)
        raise Unreachable(f"the gateway speaks of a state {document['state']!r} that we do not know")

    def fills_since(self, at: datetime) -> Sequence[FillReport]:
        """Read every trade fill of the account since `at`, ours or not; repeats are harmless."""
        listed, batch = history.deals(self._session, at.timestamp())
        with readings.reading():
            fills = [
                fill
                for deal in listed
                if wire.is_trade(deal)
                for fill in wire.fills(
                    deal, zone=self._session.clock, client_order_id=wire.owner(deal, tag=self._profile.tag)
                )
            ]
        self._session.compared("fills", batch)
        return [fill for fill in fills if fill.filled_at >= at - CLOCK_CHANGE]

    def cash_since(self, at: datetime) -> Sequence[CashReport]:
        """Read every movement of money without a trade since `at`; repeats are harmless. Raises: Unreachable."""
        listed, _ = history.deals(self._session, at.timestamp())
        with readings.reading():
            moved = [wire.cash(deal, zone=self._session.clock) for deal in listed if not wire.is_trade(deal)]
        return [each for each in moved if each.moved_at >= at - CLOCK_CHANGE]

    def news(self, *, symbols: Sequence[str], since: datetime, mark: Mark | None = None) -> News:
        """Read what was not told up to `mark`; deals that are listed within two hours of the newest are not missed."""
        return news.read(self._session, symbols=symbols, since=since, mark=mark)

    def margin(self, *, symbol: str, side: Side, quantity: Decimal, price: Decimal) -> Decimal:
        """Ask the venue how much margin an order would take, in account currency. Raises: Refused, Unreachable."""
        return self._calculate("order_calc_margin", symbol, side, quantity, price)

    def profit(
        self, *, symbol: str, side: Side, quantity: Decimal, price_open: Decimal, price_close: Decimal
    ) -> Decimal:
        """Ask the venue what a trade between two prices would earn, in account currency. Raises: as `margin`."""
        return self._calculate("order_calc_profit", symbol, side, quantity, price_open, price_close)

    def _calculate(self, function: str, symbol: str, side: Side, quantity: Decimal, *prices: Decimal) -> Decimal:
        action = wire.BUY if side is Side.BUY else wire.SELL
        numbers = [float(number) for number in (quantity, *prices)]
        batch = self._session.batch([readings.select_call(symbol), readings.call(function, action, symbol, *numbers)])
        with readings.reading():
            readings.require_selected(symbol, batch.answers[0])
            return wire.number(batch.result(1))

    def _market(self, order: OrderRequest) -> TerminalRequest:
        """Build a request for the market as it is: as it was read for this order a moment ago, or read now."""
        seen, known = self._quotes.get(order.symbol), self._known_terms.get(order.symbol)
        began = time.monotonic()
        if seen and known and not order.venue_position_id:
            (quoted_at, quote), (read_at, terms) = seen, known
            if began - quoted_at <= QUOTE_KEPT_S and began - read_at <= TERMS_KEPT_S:
                return orders.market(order, terms=terms, quote=quote, policy=self._profile.fillings, held=None)
        calls = [*readings.quote_calls([order.symbol]), readings.call("symbol_info", order.symbol)]
        if order.venue_position_id:
            calls.append(readings.call("positions_get", where={"identifier": [order.venue_position_id]}))
        batch = self._session.batch(calls, urgency="CLOSE" if order.venue_position_id else "SEND")
        with readings.reading():
            quote = self._session.quote(order.symbol, batch, first=0)
            held = self._session.held(order.venue_position_id, batch, place=3) if order.venue_position_id else None
            terms = Terms.of_symbol(batch.result(2))
            self._known_terms[order.symbol] = (began, terms)
            return orders.market(order, terms=terms, quote=quote, policy=self._profile.fillings, held=held)

    def _pending(self, order: OrderRequest) -> TerminalRequest:
        batch = self._session.batch(readings.terms_calls(order.symbol), urgency="SEND")
        with readings.reading():
            readings.require_selected(order.symbol, batch.answers[0])
            terms = Terms.of_symbol(batch.result(1))
            orders.check_time(order.time_in_force, order.expires_at, now_s=batch.utc_s, terms=terms)
            expiration = self._session.server_s(order.expires_at, symbol=order.symbol, now_s=batch.utc_s)
            return orders.pending(order, terms=terms, expiration=expiration)

    def _terms(self, symbol: str) -> Terms:
        batch = self._session.batch(readings.terms_calls(symbol))
        readings.require_selected(symbol, batch.answers[0])
        return Terms.of_symbol(batch.result(1))

    def _trade(
        self,
        client_order_id: str,
        build: Callable[[], TerminalRequest],
        *,
        sent_at: datetime | None = None,
        send_by_s: float | None,
    ) -> OrderReport:
        """Send what may be filled, and report what became of it."""
        magic = self._magic(client_order_id)
        document = self._send(client_order_id, build, sent_at=sent_at, send_by_s=send_by_s)
        try:
            with wire.understanding():
                trail = answers.trail(client_order_id, magic, document)
                outcome, refused = answers.classify(document)
                since_s = float(document["called_utc"])
        except wire.BadAnswer as exc:
            raise OutcomeUnknown(str(exc)) from exc
        if outcome.is_refusal:
            raise refused
        if outcome is Outcome.UNKNOWN:
            raise OutcomeUnknown(str(refused)) from refused
        try:
            return search.confirm(self._session, document, trail, since_s)
        except Unreachable:
            return answers.accepted(client_order_id, document)

    def _change(self, intent_id: str, build: Callable[[], TerminalRequest], *, send_by_s: float | None = None) -> None:
        """Send what changes something that stands, and return when the venue has accepted it."""
        if not _INTENT.fullmatch(intent_id):
            raise Refused(f"{intent_id!r} is no name for a change", code="CHANGE_ID_NOT_VALID")
        document = self._send(intent_id, build, send_by_s=send_by_s)
        try:
            outcome, refused = answers.classify(document)
        except wire.BadAnswer as exc:
            raise OutcomeUnknown(str(exc)) from exc
        if outcome.is_refusal:
            raise refused
        if outcome is Outcome.UNKNOWN:
            raise OutcomeUnknown(str(refused)) from refused

    def _send(
        self,
        intent_id: str,
        build: Callable[[], TerminalRequest],
        *,
        sent_at: datetime | None = None,
        send_by_s: float | None = None,
    ) -> Any:
        """Return the journal's word on a request that was called and answered, or raise what it means.

        Our own refusal is raised only once the journal has sworn that nothing was sent before, and never will be. A
        journal that was begun after `sent_at` cannot swear to the first.
        """
        request: TerminalRequest | None = None
        try:
            request = build()
        except Refused as refusal:
            document = self._session.settle(intent_id)
            if document.get("state") == "TOMBSTONE":
                _require_old_enough(document, sent_at)
                refusal.is_local = True  # the venue never said a word
                raise refusal from None
        else:
            require_in_time(send_by_s)
            document = self._session.send(intent_id, request)
        try:
            with wire.understanding():
                match document["state"]:
                    case "REFUSED":
                        raise answers.refusal(document["reply"])
                    case "TOMBSTONE":
                        _require_old_enough(document, sent_at)
                        raise Refused("this was settled as never sent, and stays so", code="NEVER_SENT")
                    case "RESULT" | "CALLING" as state:
                        if request is not None and not answers.is_answer_to(request, document):
                            raise Refused(f"{intent_id} has named another request before", code="ID_IN_USE")
                        if state == "RESULT":
                            return document
        except wire.BadAnswer as exc:
            raise OutcomeUnknown(str(exc)) from exc
        raise OutcomeUnknown("the terminal was called and its answer is not known")

    def _was_there(self, document: Any, sent_at: datetime) -> bool:
        """Tell whether the journal would know of an order that was sent then."""
        sent_s, created_s = sent_at.timestamp(), float(document["journal_created_at"])
        return created_s <= sent_s - JOURNAL_AGE_MIN_S and self._profile.since_s <= sent_s - MOVED_MIN_S

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


def _require_old_enough(document: Any, sent_at: datetime | None) -> None:
    """Believe a journal that nothing was sent only when it was there then. Raises: OutcomeUnknown."""
    with readings.reading():
        if sent_at is not None and float(document["journal_created_at"]) > sent_at.timestamp():
            raise OutcomeUnknown("the gateway's journal is younger than the order: what was sent before, nobody knows")
