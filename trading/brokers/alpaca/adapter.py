"""Alpaca as a broker in our words: shares, whole and fractional, over REST. An extra, off by default."""

import re
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal

from nexus.core.errors import OutcomeUnknown, Refused, Unreachable
from trading.brokers import ids
from trading.brokers.alpaca import evidence, listings, news, orders, wire
from trading.brokers.alpaca.outcomes import Duplicate
from trading.brokers.alpaca.session import Kept, Session
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
    Side,
    StopsChange,
    TimeInForce,
    VenueState,
    require_in_time,
)

CONFIRM_S = (0.02, 0.08, 0.2)  # how long a market order that was accepted is looked after; then the resolver does
CASH_PADDING = timedelta(days=2)  # a movement tells its day only
FILL_PADDING = timedelta(minutes=5)
SHORT_MARGIN = Decimal("1.03")  # Alpaca values a short sale at 3 % above the ask
PENNY, SUB_PENNY, DOLLAR = Decimal("0.01"), Decimal("0.0001"), Decimal(1)

_INTENT = re.compile(r"[A-Za-z0-9_-]{1,32}")


class AlpacaBroker:
    """One account at Alpaca. Safe to share between threads."""

    def __init__(self, link: Link) -> None:
        self._session = Session(link)
        self._profile = self._session.profile
        # What this process has sent: None while nobody knows, else how it was refused. Nothing is sent twice.
        self._sent: Kept[tuple[Refused | None]] = Kept()
        self._canceled: Kept[tuple[Refused | None]] = Kept()
        self._marginable: Kept[bool] = Kept()

    def close(self) -> None:
        """Close the connections."""
        self._session.client.close()

    def snapshot(
        self, *, symbols: Sequence[str], margin: MarginQuestion | None = None, profit: ProfitQuestion | None = None
    ) -> AccountSnapshot:
        """Read the account, its positions and orders and the quotes of `symbols`.

        Alpaca has no reading of it all at once. Orders are read before positions, so that what fills meanwhile is seen
        as working, as held or as both, and never as neither.
        """
        session = self._session
        listed = session.open_orders()
        positions = session.client.positions()
        account = session.account()
        quotes = session.quotes({*symbols, *session.unpriced(listed)})
        orders_now = session.working(listed, quotes)
        with wire.reading():
            return wire.snapshot(
                account,
                positions=wire.listing(positions),
                orders=orders_now,
                quotes={symbol: quotes[symbol] for symbol in symbols if symbol in quotes},
                is_live=self._profile.is_live,
                pause_s=session.client.pause_s(),
            )

    def instrument(self, *, symbol: str) -> Instrument:
        """Read one instrument; a lot is a share. Raises: Refused when the venue does not know it, or it is no share."""
        orders.check_symbol(symbol)
        asset = self._session.client.asset(symbol)
        if asset is None or asset.get("class") != "us_equity":
            raise Refused(f"Alpaca knows no share {symbol}", code="SYMBOL_UNKNOWN")
        quote = self._session.quotes([symbol]).get(symbol)
        is_penny_stock = quote is not None and 0 < quote.ask < DOLLAR
        with wire.reading():
            step = wire.FINEST if asset["fractionable"] is True else Decimal(1)
            self._marginable.put(symbol, asset["marginable"] is True)
            return Instrument(
                symbol=symbol,
                base_currency=symbol,
                profit_currency="USD",
                margin_currency="USD",
                contract_size=Decimal(1),
                tick_size=SUB_PENNY if is_penny_stock else PENNY,
                digits=4 if is_penny_stock else 2,
                quantity_min=step,
                quantity_max=orders.QUANTITY_MAX,
                quantity_step=step,
                stops_distance_min=Decimal(0),
                is_tradable=asset["tradable"] is True and asset["status"] == "active",
                order_types=frozenset(orders.TIMES),
                times_in_force=frozenset[TimeInForce]().union(*orders.TIMES.values()),
                takes_stops=False,
                commission_per_lot=Decimal(0),
            )

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send the order, exactly once for its `client_order_id` however often this is called.

        The venue takes each id once and for ever; what this process has sent it does not even try again.
        Raises: Refused for a definitive refusal, Unreachable when nothing left us, OutcomeUnknown for all else.
        """
        _check_id(order.client_order_id)
        sent = self._sent.get(order.client_order_id)
        if sent is not None:
            return self._known(order, refused=sent[0])
        self._session.require_account()
        try:
            written = self._write(order)
        except Refused as refusal:
            found = self._look_up(order)  # it may have been sent before, when it could be
            if found is None:
                refusal.is_local = True  # the venue never said a word
                raise
            return found
        require_in_time(order.send_by_s)  # no journal refuses it any more: it may be proven absent
        self._sent.put(order.client_order_id, (None,))
        try:
            entry = self._session.client.place(written)
        except Duplicate:
            return self._known(order, refused=None)
        except Unreachable:
            self._sent.drop(order.client_order_id)
            raise
        except Refused as exc:
            return self._refused(order, exc)
        self._check_answer(order, entry)
        return self._confirm(order, entry)

    def cancel(self, *, cancel_id: str, venue_order_id: str) -> None:
        """Ask the venue to cancel a working order, once for its `cancel_id`. Only `order_report` proves that it did."""
        done = self._canceled.get(cancel_id)
        if done is not None:
            if done[0] is not None:
                raise done[0]
            return
        self._session.require_account()
        try:
            self._session.client.cancel(_working(self._session.chain(venue_order_id))["id"])
        except Refused as exc:
            self._canceled.put(cancel_id, (exc,))
            raise
        self._canceled.put(cancel_id, (None,))

    def change_order(self, change: OrderChange) -> None:
        """Change a working order, once for its `change_id`. Raises: Refused, Unreachable, OutcomeUnknown.

        The venue puts a new order in its place. That one is called by both our ids, so that both can be found by it.
        """
        if not _INTENT.fullmatch(change.change_id):
            raise Refused(f"{change.change_id!r} is no name for a change", code="CHANGE_ID_NOT_VALID")
        session = self._session
        session.require_account()
        chain = session.chain(change.venue_order_id)
        owner = wire.owner(chain.first["client_order_id"], tag=self._profile.tag)
        name = f"{owner}{wire.CHANGED}{change.change_id}" if owner else change.change_id
        made = next((entry for entry in chain.entries if entry["client_order_id"] == name), None)
        if made is None:
            current = _working(chain)
            try:
                terms = orders.replacement(change, current)
                require_in_time(change.send_by_s)
                made = session.client.replace(current["id"], terms | {"client_order_id": name})
            except Duplicate:
                made = session.client.order_by_client_id(name)
        with wire.reading():
            if made is None or made["client_order_id"] != name:
                raise OutcomeUnknown(f"Alpaca: nothing shows what became of the change {change.change_id}")
            if made["status"] == "rejected":
                raise Refused("the venue refused the new terms afterwards", code="CHANGE_REJECTED")

    def change_stops(self, change: StopsChange) -> None:
        """Refuse: a position at Alpaca carries no stops."""
        raise Refused("positions at Alpaca carry no stops", code="STOPS_NOT_OFFERED")

    def close_by(
        self,
        *,
        client_order_id: str,
        venue_position_id: str,
        other_position_id: str,
        send_by_s: float | None = None,
    ) -> OrderReport:
        """Refuse: an account at Alpaca has one position of each symbol."""
        raise Refused("an account at Alpaca has no opposite positions", code="CLOSE_BY_NOT_OFFERED")

    def order_report(self, *, client_order_id: str, symbol: str, sent_at: datetime) -> OrderReport:
        """Search the venue for the order: by our id, then through all orders in `symbol` around `sent_at`.

        Alpaca is asked itself: no terminal stands between, whose view a price would have to prove new.
        """
        _check_id(client_order_id)
        self._session.require_account()
        orders.check_symbol(symbol)
        entry = evidence.search(self._session.client, client_order_id, symbol=symbol, sent_at=sent_at)
        if entry is not None:
            return self._report(client_order_id, entry)
        sent = self._sent.get(client_order_id)
        if sent is None or sent[0] is None:
            return OrderReport(client_order_id, VenueState.NO_TRACE)
        refused = sent[0]
        return OrderReport(
            client_order_id, VenueState.REJECTED, reason=str(refused), code=refused.code, halts=refused.halts
        )

    def fills_since(self, at: datetime) -> Sequence[FillReport]:
        """Read every trade fill of the account since `at`, ours or not; repeats are harmless."""
        self._session.require_account()
        after = (at - FILL_PADDING).isoformat()
        listed = list(listings.activities(self._session.client, activity_types="FILL", after=after))
        with wire.reading():
            names = self._session.names(wire.text(entry["order_id"]) for entry in listed)
            fills = [
                wire.fill(entry, venue_order_id=name.venue_order_id, client_order_id=name.client_order_id)
                for entry, name in ((entry, names[entry["order_id"]]) for entry in listed)
            ]
        return [fill for fill in fills if fill is not None]

    def cash_since(self, at: datetime) -> Sequence[CashReport]:
        """Read every movement of money without a trade since `at`; repeats are harmless. Raises: Unreachable."""
        self._session.require_account()
        after = (at - CASH_PADDING).date().isoformat()
        with wire.reading():
            listed = listings.activities(self._session.client, category="non_trade_activity", after=after)
            moved = (each for entry in listed for each in wire.cash(entry))
            return [each for each in moved if each.moved_at >= at - CASH_PADDING]

    def news(self, *, symbols: Sequence[str], since: datetime, mark: Mark | None = None) -> News:
        """Read what was not told up to `mark`; executions listed within a quarter of an hour are not missed."""
        return news.read(self._session, symbols=symbols, since=since, mark=mark)

    def margin(self, *, symbol: str, side: Side, quantity: Decimal, price: Decimal) -> Decimal:
        """Reckon how much margin an order would take by the venue's own terms: it has nothing that can be asked.

        A share that is not marginable is paid in full; a short sale counts at what Alpaca values it.
        """
        is_marginable = self._marginable.get(symbol)
        if is_marginable is None:
            self.instrument(symbol=symbol)
            is_marginable = self._marginable.get(symbol)
        with wire.reading():
            multiplier = wire.number(self._session.account()["multiplier"]) if is_marginable else Decimal(1)
        value = quantity * price * (SHORT_MARGIN if side is Side.SELL else 1)
        return (value / max(multiplier, Decimal(1))).quantize(wire.CENT, rounding=ROUND_CEILING)

    def profit(
        self, *, symbol: str, side: Side, quantity: Decimal, price_open: Decimal, price_close: Decimal
    ) -> Decimal:
        """Reckon what a trade between two prices would earn: a share has no other terms."""
        orders.check_symbol(symbol)
        return (price_close - price_open) * quantity * side.direction

    def _write(self, order: OrderRequest) -> dict[str, str]:
        """Look at the market for the last time, and write the order. Raises: Refused, Unreachable."""
        orders.check(order)
        closing = None
        if order.venue_position_id:
            closing = self._session.client.position(order.symbol)
            if closing is None or order.venue_position_id != order.symbol:
                raise Refused(f"the position {order.venue_position_id} is not open", code="POSITION_NOT_OPEN")
        if order.order_type is OrderType.MARKET:
            # At night Alpaca would keep it for the morning, and the morning's price.
            if self._session.client.clock().get("is_open") is not True:
                raise Refused("the market is closed", code="MARKET_CLOSED")
            orders.check_collar(order, self._session.quotes([order.symbol]).get(order.symbol))
        return orders.as_text(order, closing=closing)

    def _known(self, order: OrderRequest, *, refused: Refused | None) -> OrderReport:
        """Say what is known of an order that was sent before. Raises: Refused as then; OutcomeUnknown."""
        if refused is not None:
            raise refused
        try:
            found = self._look_up(order)
        except Unreachable as exc:
            raise OutcomeUnknown(str(exc)) from exc
        if found is None:
            raise OutcomeUnknown("it was sent before, and nothing shows what became of it")
        return found

    def _look_up(self, order: OrderRequest) -> OrderReport | None:
        """Find an order of this id. Raises: Refused when it is another order than this; Unreachable."""
        entry = self._session.client.order_by_client_id(order.client_order_id)
        if entry is None:
            return None
        with wire.reading():
            is_ours = orders.is_of(entry, order)
        if not is_ours:
            raise Refused(f"{order.client_order_id} has named another order before", code="ID_IN_USE")
        return self._report(order.client_order_id, entry)

    def _refused(self, order: OrderRequest, refused: Refused) -> OrderReport:
        """Keep a refusal and raise it, unless the venue shows the order all the same: then an earlier try arrived."""
        if refused.code.startswith("422") or refused.code.startswith("40010"):
            try:
                found = self._look_up(order)
            except Unreachable:
                found = None  # the refusal itself was clear
            if found is not None:
                return found
        halts = refused.halts or (refused.code.startswith("403") and self._is_blocked())
        verdict = Refused(str(refused), code=refused.code, halts=halts, retry_s=refused.retry_s)
        self._sent.put(order.client_order_id, (verdict,))
        raise verdict from refused

    def _is_blocked(self) -> bool:
        try:
            return self._session.is_blocked()
        except Unreachable:
            return False

    def _check_answer(self, order: OrderRequest, entry: wire.Plain) -> None:
        """Make sure that the answer speaks of this order. Raises: OutcomeUnknown: whatever it is, it was sent."""
        try:
            with wire.understanding():
                is_ours = entry["client_order_id"] == order.client_order_id and orders.is_of(entry, order)
                wire.text(entry["id"])
        except wire.BadAnswer as exc:
            raise OutcomeUnknown(str(exc)) from exc
        if not is_ours:
            raise OutcomeUnknown("Alpaca answered with another order")

    def _confirm(self, order: OrderRequest, entry: wire.Plain) -> OrderReport:
        """Look after an order that was accepted, for a moment when it should fill at once."""
        accepted = report = OrderReport(order.client_order_id, VenueState.WORKING, venue_order_id=entry["id"])
        is_at_once = order.order_type is OrderType.MARKET or order.time_in_force in orders.AT_ONCE
        for pause_s in CONFIRM_S if is_at_once else CONFIRM_S[:1]:
            time.sleep(pause_s)
            try:
                found = self._look_up(order)
            except (Refused, Unreachable):
                return report
            report = found or accepted
            if report.state is not VenueState.WORKING:
                break
        return report

    def _report(self, client_order_id: str, first: wire.Plain) -> OrderReport:
        chain = evidence.follow(self._session.client, first)
        return evidence.report(self._session.client, chain, client_order_id=client_order_id)


def _working(chain: evidence.Chain) -> wire.Plain:
    """Return the order that works now. Raises: Refused when none does."""
    with wire.reading():
        if chain.is_closed:
            raise Refused(f"the order is {chain.current['status']}", code="ORDER_NOT_WORKING")
        return chain.current


def _check_id(client_order_id: str) -> None:
    try:
        ids.magic(client_order_id)
    except ids.BadOrderId as exc:
        raise Refused(str(exc), code="CLIENT_ORDER_ID_NOT_VALID") from exc
