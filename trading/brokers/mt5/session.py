"""One link to one gateway: calls in units, the right account behind them, and the server's clock."""

import math
import ssl
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import structlog

from nexus.core.errors import Refused, Unreachable
from trading.brokers.base import Link, OrderType, Quote, VenueOrder, purpose
from trading.brokers.mt5 import client, readings, wire
from trading.brokers.mt5.client import GatewayClient
from trading.brokers.mt5.orders import Held
from trading.brokers.mt5.profile import Profile
from trading.brokers.mt5.server_clock import ServerClock, is_still_valid

log = structlog.get_logger(__name__)

CLOCK_WAIT_S, CLOCK_POLL_S, CLOCK_RETRY_S = 1.5, 0.1, 60.0


class Session:
    """The gateway's paths in our words. Safe to share between threads."""

    def __init__(self, link: Link) -> None:
        self.profile = Profile.of_link(link)
        try:
            self._client = GatewayClient(
                url=link.settings["url"],
                token=link.settings["token"],
                deadline_s=float(link.settings.get("deadline_s", "5")),
                tls=_tls(link.settings),
            )
        except (KeyError, ValueError) as exc:
            raise Refused(f"the link of {link.account} is misconfigured: {exc}", code="LINK_MISCONFIGURED") from exc
        self.clock = ServerClock()
        self._clock_tried_at = -math.inf
        self._lock = threading.Lock()
        self._unreconciled: tuple[str, int] | None = None  # the gateway's worker that we have begun to read
        self._seen: set[str] = set()  # what was read of it

    def close(self) -> None:
        """Close the connections to the gateway."""
        self._client.close()

    def batch(self, calls: Sequence[dict[str, Any]], *, urgency: str = "") -> readings.Batch:
        """Make the calls as one unit.

        Takes: `urgency`, SEND, PROTECT or CLOSE when a send waits for them, QUOTE when nothing does. What is read to
        take risk away says so by itself, unless it is history. Raises: Unreachable, also when another account answers.
        """
        if not urgency and not readings.are_history(calls):
            urgency = purpose() or ""
        document = self._client.read("/v1/batch", list(calls), correlation_id=_correlation_id(), urgency=urgency)
        with readings.reading():
            if document["login"] is None:
                raise Unreachable("the terminal does not say which account it serves; it may have lost its connection")
            if (document["login"], document["server"]) != (self.profile.login, self.profile.server):
                raise Unreachable(f"another account answers: {document['login']} at {document['server']}")
            offset_s = document["server_offset_s"]
            self.clock.adopt(None if offset_s is None else wire.integer(offset_s))
            results = document["results"]
            if len(results) != len(calls):
                raise wire.BadAnswer("the gateway did not answer every call")
            worker = (wire.text(document["run"]), wire.integer(document["generation"]))
            return readings.Batch(
                results, float(document["gateway_utc"]), worker if document["reconcile_first"] else None,
                pause_s=float(document.get("pause_s", 0)), runs=wire.runs(document),
                trouble=wire.text(document.get("journal_trouble", "")),  # an older gateway does not say
            )  # fmt: skip

    def compared(self, what: str, batch: readings.Batch) -> None:
        """Note that the books were read, and tell a gateway that started a worker once all of them were.

        Reconciliation reads the account and the fills; until it has, such a gateway sends closes and cancels alone.
        """
        if batch.unreconciled is None:
            return
        with self._lock:
            if self._unreconciled != batch.unreconciled:  # what an earlier worker has shown tells nothing of this one
                self._unreconciled, self._seen = batch.unreconciled, set()
            self._seen.add(what)
            is_complete = self._seen >= {"account", "fills"}
        if is_complete:
            run, generation = batch.unreconciled
            body = {"run": run, "generation": generation}
            self._client.read("/v1/reconciled", body, correlation_id=_correlation_id())

    def send(self, intent_id: str, request: Any) -> Any:
        """Send a trade request, once for its id, and return the journal's word on it."""
        return self._client.send(
            "/v1/order_send", {"intent_id": intent_id, "request": request}, correlation_id=_correlation_id()
        )

    def settle(self, intent_id: str) -> Any:
        """Return the journal's word on an id; one that was never called can never be called afterwards."""
        return self._client.read(f"/v1/intents/{intent_id}/settle", {}, correlation_id=_correlation_id())

    def quote(self, symbol: str, batch: readings.Batch, *, first: int) -> Quote:
        """Read a symbol's two answers to `readings.quote_calls`, from `first` on. Raises: Refused, Unreachable."""
        readings.require_selected(symbol, batch.answers[first])
        tick = batch.result(first + 1)
        return wire.quote(symbol, tick, at=self.clock.utc_of_quote(wire.integer(tick["time_msc"])))

    def quotes(self, symbols: Sequence[str], batch: readings.Batch, *, first: int) -> dict[str, Quote]:
        """Read the prices that there are: a symbol that the venue does not offer, or has not priced, hides no other.

        Nor does one whose price cannot be: whoever needs it refuses for want of it. Raises: Unreachable for a call that
        failed.
        """
        quotes = {}
        for index, symbol in enumerate(symbols):
            place = first + 2 * index
            selected, tick = batch.answers[place], batch.answers[place + 1]
            if readings.is_not_there(selected if selected["result"] is not True else tick):
                continue
            try:
                quotes[symbol] = self.quote(symbol, batch, first=place)
            except wire.NoPrice:
                continue
            except wire.BadAnswer as exc:
                log.warning("mt5.quote.unusable", symbol=symbol, error=str(exc))
        return quotes

    def priced(self, pieces: Iterable[Sequence[str]]) -> dict[str, Quote]:
        """Read the prices that there are of symbols, each piece of them as one unit. Raises: as `quotes`."""
        found: dict[str, Quote] = {}
        for piece in pieces:
            found |= self.quotes(piece, self.batch(readings.quote_calls(piece)), first=0)
        return found

    def held(self, venue_position_id: str, batch: readings.Batch, *, place: int) -> Held:
        """Find a position by its identifier in the listing at a place of a batch.

        A worker that was just started may list none yet: that one is missing there says nothing before its books were
        read. Raises: Refused when it is not open, Unreachable when that is not known.
        """
        for entry in batch.result(place):
            position = wire.position(entry, zone=self.clock, tag=self.profile.tag)
            if position.venue_position_id == venue_position_id:
                return Held(wire.integer(entry["ticket"]), position)
        if batch.unreconciled is not None:
            raise Unreachable(f"the terminal was just started and does not list the position {venue_position_id} yet")
        raise Refused(f"the position {venue_position_id} is not open", code="POSITION_NOT_OPEN")

    def working(self, listing: Sequence[wire.Plain]) -> tuple[VenueOrder, ...]:
        """Return the orders of a listing that rest or await their fill, ours or not."""
        orders = (wire.working_order(entry, zone=self.clock, tag=self.profile.tag) for entry in listing)
        return tuple(order for order in orders if order is not None)

    def resting(self, venue_order_id: str, listing: Sequence[wire.Plain]) -> VenueOrder:
        """Find a resting order in a listing. Raises: Refused when it does not work, or not any more."""
        for order in self.working(listing):
            if order.venue_order_id == venue_order_id and order.order_type is not OrderType.MARKET:
                return order
        raise Refused(f"the order {venue_order_id} does not rest at the venue", code="ORDER_NOT_WORKING")

    def server_s(self, at: datetime | None, *, symbol: str, now_s: float) -> int:
        """Return a time to come in seconds by the server's clock, 0 for none.

        Raises: Unreachable while we do not know that clock, Refused when it may be another one by then.
        """
        if at is None:
            return 0
        if not is_still_valid(seen_s=now_s, now_s=at.timestamp()):
            detail = "the server's clock may change before the order ends, by a rule that we do not know"
            raise Refused(f"{detail}: let it end earlier, or use GTC or DAY", code="EXPIRY_BEYOND_CLOCK_CHANGE")
        self.learn_clock([symbol])
        if self.clock.offset_s is None:
            raise Unreachable("the server's clock is not known yet: no price has moved")
        return int(at.timestamp()) + self.clock.offset_s

    def learn_clock(self, symbols: Sequence[str]) -> None:
        """Let the gateway watch the quotes until one moves, for a moment, when it does not know the server's clock."""
        started = time.monotonic()
        if self.clock.is_known() or not symbols or started - self._clock_tried_at < CLOCK_RETRY_S:
            return
        watched = next(readings.pieces(symbols))  # one that moves is enough
        while True:
            self.batch(readings.quote_calls(watched))
            if self.clock.is_known():
                return
            if time.monotonic() - started > CLOCK_WAIT_S:
                self._clock_tried_at = started
                return
            time.sleep(CLOCK_POLL_S)


def _tls(settings: dict[str, str]) -> ssl.SSLContext | None:
    """Load the certificates of a link that has them, all three or none. Raises: KeyError, ValueError."""
    if not settings.keys() & {"ca", "cert", "key"}:
        return None
    return client.certificates(ca=settings["ca"], cert=settings["cert"], key=settings["key"])


def _correlation_id() -> str:
    """Return the id that came with the request in hand, so that the gateway's log tells the same story."""
    context = structlog.contextvars.get_contextvars()
    return str(context.get("correlation_id") or context.get("request_id") or uuid.uuid4().hex)
