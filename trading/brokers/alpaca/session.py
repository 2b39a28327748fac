"""One link to one account: the right account behind its keys, and whose orders are whose."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Generic, NamedTuple, TypeVar

from nexus.core.errors import Refused, Unreachable
from trading.brokers.alpaca import evidence, listings, orders, wire
from trading.brokers.alpaca.profile import Profile
from trading.brokers.base import Link, OrderType, Quote, VenueOrder

try:
    from trading.brokers.alpaca.client import Client
except ModuleNotFoundError as exc:
    if exc.name is None or exc.name.partition(".")[0] not in {"alpaca", "requests", "urllib3"}:
        raise
    MISSING = exc.name
else:
    MISSING = ""

KEPT_MAX = 10_000
ASKED_SINGLY_MAX = 2  # of several orders that are unknown to us, a page of orders is read instead
BLOCKS = ("account_blocked", "trading_blocked", "trade_suspended_by_user")

Value = TypeVar("Value")


class Name(NamedTuple):
    """What an order of the venue's is called here: the id that it began with, and our id, or '' when it is not ours."""

    venue_order_id: str
    client_order_id: str


class Kept(Generic[Value]):
    """The newest entries of a map. Safe to share between threads."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Value | None:
        """Return an entry, or None."""
        with self._lock:
            return self._entries.get(key)

    def put(self, key: str, value: Value) -> None:
        """Keep an entry, and forget the oldest when there are too many."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > KEPT_MAX:
                self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forget an entry."""
        with self._lock:
            self._entries.pop(key, None)


class Session:
    """Alpaca's calls in our words. Safe to share between threads."""

    def __init__(self, link: Link) -> None:
        self.profile = Profile.of_link(link)
        if MISSING:
            words = f"{MISSING} is not installed: pip install --require-hashes -r requirements-alpaca.txt"
            raise Refused(words, code="PACKAGE_MISSING")
        self.client = Client(self.profile)
        self._names: Kept[Name] = Kept()
        self._is_right_account = False

    def account(self) -> wire.Plain:
        """Read the account. Raises: Unreachable, also when the keys open another one."""
        document = self.client.account()
        with wire.reading():
            if document["account_number"] != self.profile.account:
                raise Unreachable(f"another account answers: {document['account_number']}")
        self._is_right_account = True
        return document  # type: ignore[no-any-return]

    def require_account(self) -> None:
        """Make sure, once, that the keys open the account that is meant: a search in another one finds nothing."""
        if not self._is_right_account:
            self.account()

    def is_blocked(self) -> bool:
        """Tell whether the account says of itself that nothing will be accepted. Raises: Unreachable."""
        account = self.account()
        return account.get("status") != "ACTIVE" or any(account.get(name) is True for name in BLOCKS)

    def quotes(self, symbols: Iterable[str]) -> dict[str, Quote]:
        """Read the latest quotes; a symbol that is not quoted is left out."""
        wanted = sorted(set(symbols))
        if not wanted:
            return {}
        for symbol in wanted:
            orders.check_symbol(symbol)
        with wire.reading():
            return wire.quotes(self.client.quotes(wanted))

    def chain(self, venue_order_id: str) -> evidence.Chain:
        """Find an order and what replaced it. Raises: Refused when there is no such order; Unreachable."""
        orders.check_venue_id(venue_order_id)
        first = self.client.order(venue_order_id)
        if first is None:
            raise Refused(f"there is no order {venue_order_id}", code="ORDER_NOT_WORKING")
        return evidence.follow(self.client, first)

    def open_orders(self) -> list[wire.Plain]:
        """Read every order that works, each once: a replacement stands for what it replaces."""
        listed = list(listings.orders(self.client, status="open"))
        with wire.reading():
            replaced = {entry["replaces"] for entry in listed if entry["replaces"]}
            return [entry for entry in listed if entry["id"] not in replaced]

    def working(self, listed: Sequence[wire.Plain], quotes: dict[str, Quote]) -> tuple[VenueOrder, ...]:
        """Turn listed orders into ours. Takes: a quote for each of `unpriced`."""
        working = []
        with wire.reading():
            for entry in listed:
                quote = quotes.get(entry["symbol"])
                order = wire.working_order(
                    entry,
                    venue_order_id=self.name(entry).venue_order_id,
                    tag=self.profile.tag,
                    market_price=quote.ask if quote else Decimal(0),
                )
                if order.price <= 0:
                    raise Unreachable(f"Alpaca: nothing says what the order {entry['id']} would cost")
                working.append(order)
        return tuple(working)

    def unpriced(self, listed: Sequence[wire.Plain]) -> set[str]:
        """Return the symbols of orders that have no price of their own: a quote values them."""
        with wire.reading():
            return {entry["symbol"] for entry in listed if wire.TYPES[entry["type"]] is OrderType.MARKET}

    def name(self, entry: wire.Plain) -> Name:
        """Say what an order is called here, through all that it replaced. Raises: Unreachable."""
        with wire.reading():
            own_id, replaces = wire.text(entry["id"]), entry["replaces"]
            name = self._names.get(own_id)
            if name is None and replaces:
                first = self.names([replaces])[replaces]
                name = Name(first.venue_order_id, first.client_order_id)
            elif name is None:
                name = Name(own_id, wire.owner(wire.text(entry["client_order_id"]), tag=self.profile.tag))
            self._names.put(own_id, name)
            return name

    def names(self, order_ids: Iterable[str]) -> dict[str, Name]:
        """Say what orders are called here. One that the venue does not know is nobody's. Raises: Unreachable."""
        wanted = set(order_ids)
        unknown = [each for each in wanted if self._names.get(each) is None]
        if len(unknown) > ASKED_SINGLY_MAX:
            with wire.reading():
                page = wire.listing(
                    self.client.orders(status="all", limit=listings.ORDERS_A_PAGE, direction="desc", nested="false")
                )
            for entry in (entry for entry in page if entry.get("id") in unknown):
                self.name(entry)
        names = {}
        for order_id in wanted:
            name = self._names.get(order_id)
            if name is None:
                entry = self.client.order(order_id)
                name = Name(order_id, "") if entry is None else self.name(entry)
            names[order_id] = name
        return names
