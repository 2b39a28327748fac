"""What the tests of this venue share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.trading.brokers.mt5.fake_terminal import FakeTerminal
from tests.trading.brokers.mt5.gateway_in_thread import TAG, Running, gateway
from trading.brokers import ids
from trading.brokers.base import OrderRequest, OrderType, Side, TimeInForce
from trading.brokers.mt5 import server_clock, session
from trading.brokers.mt5.adapter import Mt5Broker

_numbers = count(1)


@pytest.fixture
def terminal() -> Iterator[FakeTerminal]:
    fake = FakeTerminal()
    yield fake
    fake.hang.set()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0.15)
    monkeypatch.setattr(session, "CLOCK_POLL_S", 0.01)


@pytest.fixture
def steady_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No region changes its clocks meanwhile, whatever the day on which the test is run."""
    monkeypatch.setattr(server_clock, "_change_days", lambda _: [])


@pytest.fixture
def running(terminal: FakeTerminal, tmp_path: Path) -> Iterator[Running]:
    with gateway(terminal, tmp_path / "journal.db") as running:
        yield running


@pytest.fixture
def connect() -> Iterator[Callable[..., Mt5Broker]]:
    """Make adapters, and close them at the end."""
    with ExitStack() as stack:

        def make(running: Running, **settings: str) -> Mt5Broker:
            broker = Mt5Broker(running.link(**settings))
            stack.callback(broker.close)
            return broker

        yield make


@pytest.fixture
def broker(running: Running, connect: Callable[..., Mt5Broker]) -> Mt5Broker:
    return connect(running)


@pytest.fixture
def order() -> Callable[..., OrderRequest]:
    """Make orders to buy 0.1 EURUSD, each with an id of its own; `changes` replaces fields."""

    def make(**changes: Any) -> OrderRequest:
        usual: dict[str, Any] = {
            "client_order_id": ids.client_order_id(tag=TAG, number=next(_numbers)),
            "symbol": "EURUSD",
            "side": Side.BUY,
            "quantity": Decimal("0.1"),
            "reference_price": Decimal("1.1001"),
            "deviation": Decimal("0.001"),
            "stop_loss": Decimal("1.095"),
            "take_profit": Decimal("1.105"),
        }
        return OrderRequest(**(usual | changes))

    return make


@pytest.fixture
def sent_at() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def resting(order):
    """Make orders that rest below the market."""

    def make(**changes):
        usual = {"order_type": OrderType.LIMIT, "limit_price": Decimal("1.09"), "time_in_force": TimeInForce.GTC}
        return order(**(usual | changes))

    return make


@pytest.fixture
def closing(order):
    """Make orders that close a position."""

    def make(position_id, **changes):
        usual = {"side": Side.SELL, "stop_loss": None, "take_profit": None, "reference_price": Decimal("1.1")}
        return order(**(usual | {"venue_position_id": position_id} | changes))

    return make


@pytest.fixture
def opened(broker, order):
    """Open a position and return its identifier."""
    return lambda **changes: broker.submit(order(**changes)).fills[0].venue_position_id
