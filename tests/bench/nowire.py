"""A broker without a wire: it fills at once, in memory. What remains of an order's cost is ours."""

import fcntl
import os
import struct
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from nexus.core.errors import Refused
from trading.brokers import registry
from trading.brokers.base import (
    AccountSnapshot,
    CashReport,
    FillKind,
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
    PositionMode,
    ProfitQuestion,
    Quote,
    Side,
    StopsChange,
    TimeInForce,
    VenuePosition,
    VenueState,
)

VENUE, FAR_VENUE = "nowire", "far"
FAR_S = 0.3
BID, ASK = Decimal("1.08490"), Decimal("1.08500")
FORTUNE = Decimal(1_000_000_000)
HOLDER = "holder"  # the account of this name holds positions for those who read them
HELD = 10
PIP = Decimal("0.0001")
LOT = Decimal("0.01")
NETTED = "1"  # the one position of an account that trades


def install() -> None:
    """Register the brokers in this process, where Django is set up: only the bench does."""
    from trading.services import accounts  # noqa: PLC0415 - the bench's own process has no Django

    for venue, broker in ((VENUE, "NoWireBroker"), (FAR_VENUE, "FarBroker")):
        registry.BROKERS[venue] = f"tests.bench.nowire.{broker}"
        accounts.VENUES[venue] = ("", {})


class Book:
    """What one account holds, in hundredths of a lot: whichever process fills its orders, each shows the same.

    The folder is named by BENCH_BOOKS; each database has books of its own.
    """

    def __init__(self, account: str) -> None:
        database = urlsplit(os.environ.get("DATABASE_URL", "")).path.strip("/")
        self._path = Path(os.environ["BENCH_BOOKS"]) / f"{database}-{account}"
        self._opened: int | None = None  # an account that nobody trades on has no file
        self._lock = threading.Lock()

    def held(self) -> int:
        """Return what is held, below 0 when short."""
        if self._opened is None and not self._path.exists():
            return 0
        kept = os.pread(self._file(), 8, 0)
        return int(struct.unpack("q", kept)[0]) if kept else 0

    def add(self, quantity: int) -> None:
        """Add what was bought, or take what was sold."""
        with self._lock:
            file = self._file()
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                os.pwrite(file, struct.pack("q", self.held() + quantity), 0)
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            os.close(self._opened)

    def _file(self) -> int:
        if self._opened is None:
            self._opened = os.open(self._path, os.O_RDWR | os.O_CREAT)
        return self._opened


class NoWireBroker:
    """One netting account that is never far and never slow."""

    def __init__(self, link: Link) -> None:
        self._account = link.account
        self._book = Book(link.account)

    def close(self) -> None:
        """Close the books."""
        self._book.close()

    def snapshot(
        self, *, symbols: Sequence[str], margin: MarginQuestion | None = None, profit: ProfitQuestion | None = None
    ) -> AccountSnapshot:
        """Return an account that can afford everything, and the one price."""
        at = datetime.now(UTC)
        return AccountSnapshot(
            account=self._account,
            currency="USD",
            mode=PositionMode.NETTING,
            is_live=False,
            balance=FORTUNE,
            equity=FORTUNE,
            margin_used=Decimal(0),
            margin_free=FORTUNE,
            leverage=100,
            positions=self._positions(at),
            quotes={symbol: Quote(symbol, BID, ASK, at) for symbol in symbols},
        )

    def instrument(self, *, symbol: str) -> Instrument:
        """Return the one instrument. Raises: Refused for any other."""
        if symbol != "EURUSD":
            raise Refused(f"there is no {symbol} here", code="SYMBOL_UNKNOWN")
        return Instrument(
            symbol=symbol,
            base_currency="EUR",
            profit_currency="USD",
            margin_currency="EUR",
            contract_size=Decimal(100_000),
            tick_size=Decimal("0.00001"),
            digits=5,
            quantity_min=Decimal("0.01"),
            quantity_max=Decimal(100),
            quantity_step=Decimal("0.01"),
            stops_distance_min=Decimal(0),
            is_tradable=True,
            order_types=frozenset(OrderType),
            times_in_force=frozenset(TimeInForce),
        )

    def submit(self, order: OrderRequest) -> OrderReport:
        """Fill the order at its reference price."""
        self._book.add(order.side.direction * int(order.quantity / LOT))
        fill = FillReport(
            venue_fill_id=f"F{order.client_order_id}",
            venue_order_id=f"O{order.client_order_id}",
            venue_position_id=NETTED,
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            price=order.reference_price,
            commission=Decimal(0),
            swap=Decimal(0),
            fee=Decimal(0),
            profit=Decimal(0),
            kind=FillKind.ORDER,
            filled_at=datetime.now(UTC),
        )
        return OrderReport(order.client_order_id, VenueState.FILLED, fill.venue_order_id, (fill,))

    def _positions(self, at: datetime) -> tuple[VenuePosition, ...]:
        if self._account == HOLDER:
            return tuple(_position(str(number), 1, at) for number in range(1, HELD + 1))
        held = self._book.held()
        return (_position(NETTED, held, at),) if held else ()

    def cancel(self, *, cancel_id: str, venue_order_id: str) -> None:
        """Refuse: nothing waits here."""
        raise Refused("nothing waits here")

    def change_order(self, change: OrderChange) -> None:
        """Refuse: nothing waits here."""
        raise Refused("nothing waits here")

    def change_stops(self, change: StopsChange) -> None:
        """Refuse: positions have no stops here."""
        raise Refused("positions have no stops here")

    def close_by(
        self,
        *,
        client_order_id: str,
        venue_position_id: str,
        other_position_id: str,
        send_by_s: float | None = None,
    ) -> OrderReport:
        """Refuse: a netting account has nothing to close by."""
        raise Refused("a netting account has nothing to close by")

    def margin(self, *, symbol: str, side: Side, quantity: Decimal, price: Decimal) -> Decimal:
        """Return a hundredth of the value."""
        return quantity * price * 1000

    def order_report(self, *, client_order_id: str, symbol: str, sent_at: datetime) -> OrderReport:
        """Say that there is no trace: it remembers nothing."""
        return OrderReport(client_order_id, VenueState.NO_TRACE)

    def fills_since(self, at: datetime) -> Sequence[FillReport]:
        """Return nothing: it remembers nothing."""
        return ()

    def cash_since(self, at: datetime) -> Sequence[CashReport]:
        """Return nothing: nobody pays here."""
        return ()

    def news(self, *, symbols: Sequence[str], since: datetime, mark: Mark | None = None) -> News:
        """Return that nothing is new."""
        return News({}, (), (), Mark({}, 0, frozenset(), 0), is_whole=mark is None)


class FarBroker(NoWireBroker):
    """The same, at the end of a long wire: each question takes its time."""

    def snapshot(
        self, *, symbols: Sequence[str], margin: MarginQuestion | None = None, profit: ProfitQuestion | None = None
    ) -> AccountSnapshot:
        """Return the account, after a while."""
        time.sleep(FAR_S)
        return super().snapshot(symbols=symbols, margin=margin, profit=profit)

    def fills_since(self, at: datetime) -> Sequence[FillReport]:
        """Return nothing, after a while."""
        time.sleep(FAR_S)
        return super().fills_since(at)

    def cash_since(self, at: datetime) -> Sequence[CashReport]:
        """Return nothing, after a while."""
        time.sleep(FAR_S)
        return super().cash_since(at)

    def news(self, *, symbols: Sequence[str], since: datetime, mark: Mark | None = None) -> News:
        """Return that nothing is new, after a while."""
        time.sleep(FAR_S)
        return super().news(symbols=symbols, since=since, mark=mark)


def _position(name: str, held: int, at: datetime) -> VenuePosition:
    side = Side.BUY if held > 0 else Side.SELL
    return VenuePosition(
        venue_position_id=name,
        symbol="EURUSD",
        side=side,
        quantity=abs(held) * LOT,
        price_open=ASK,
        price_current=BID,
        stop_loss=(BID if side is Side.BUY else ASK) - side.direction * 50 * PIP,  # as the orders bring it
        take_profit=None,
        profit=Decimal("-0.10"),
        swap=Decimal(0),
        client_order_id="",
        opened_at=at,
    )
