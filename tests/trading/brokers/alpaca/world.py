"""An adapter over the emulator, and orders for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import count
from typing import Any

from tests.trading.brokers.alpaca.emulator import KEY, SECRET, Books, Emulator, serving
from trading.brokers import ids
from trading.brokers.alpaca.adapter import AlpacaBroker
from trading.brokers.base import Link, OrderRequest, Side

TAG = 7
_numbers = count(1)


def new_id() -> str:
    """Name an order that no test has named."""
    return ids.client_order_id(tag=TAG, number=next(_numbers))


def link(emulator: Emulator, **settings: str) -> Link:
    """Return how to reach an emulator."""
    number = emulator.books.number
    usual = {
        "server": emulator.address, "mode": "paper", "tag": str(TAG), "deadline_s": "2.5",
        "keys": f"{number}:{KEY}:{SECRET}",
    }  # fmt: skip
    return Link("alpaca", number, usual | settings)


@contextmanager
def brokers(books: Books | None = None, **settings: str) -> Iterator[tuple[AlpacaBroker, Emulator]]:
    """Serve an emulator, and an adapter to it."""
    with serving(books) as emulator:
        broker = AlpacaBroker(link(emulator, **settings))
        try:
            yield broker, emulator
        finally:
            broker.close()


def buy(**changes: Any) -> OrderRequest:
    """Order a share of AAPL at the market, 1 % around what the emulator quotes."""
    usual: dict[str, Any] = {
        "client_order_id": new_id(), "symbol": "AAPL", "side": Side.BUY, "quantity": Decimal(1),
        "reference_price": Decimal("100.01"), "deviation": Decimal(1), "stop_loss": None, "take_profit": None,
    }  # fmt: skip
    return OrderRequest(**(usual | changes))
