"""The venues that the conformance suite holds to the protocol. A new adapter adds one line to `VENUES`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path

from tests.trading.brokers.alpaca import world as alpaca
from tests.trading.brokers.mt5.fake_terminal import LOGIN, SERVER, FakeTerminal
from tests.trading.brokers.mt5.gateway_in_thread import TAG, gateway
from trading.brokers import ids
from trading.brokers.base import Broker, TimeInForce
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.gateway.config import TerminalConfig
from trading.brokers.mt5.gateway.terminal import open_terminal

_numbers = count(1)


@dataclass
class Venue:
    """A broker, a symbol it trades, how our ids are made there, and how to cut it off.

    `quantity` is what a test may trade where the least that the venue takes is too little to matter. `swears` where it
    can prove that an order was never sent, `changes` where a working order can be changed; `resting_times` and
    `at_once` are the times that it offers for a limit and for a market order.
    """

    broker: Broker
    symbol: str
    new_id: Callable[[], str]
    cut: Callable[[], None]
    quantity: Decimal | None = None
    swears: bool = True
    changes: bool = True
    resting_times: frozenset[TimeInForce] = frozenset({TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD})
    at_once: frozenset[TimeInForce] = frozenset({TimeInForce.IOC, TimeInForce.FOK})

    @property
    def least(self) -> Decimal:
        """Return the quantity to trade."""
        return self.quantity or self.broker.instrument(symbol=self.symbol).quantity_min


@contextmanager
def mt5_over_fake(folder: Path) -> Iterator[Venue]:
    with gateway(FakeTerminal(), folder / "journal.db") as running, ExitStack() as stack:
        yield _mt5(running, stack)


@contextmanager
def mt5_over_emulator(folder: Path, margin_mode: str = "hedging") -> Iterator[Venue]:
    options = {
        "mode": "wall", "csv": {}, "margin_mode": margin_mode, "store": folder / "broker.db", "seed": 11, "speed": 1,
        "start": "", "currency": "USD", "leverage": 100, "balance": "10000", "always_open": True,
        "tick_interval_ms": 50,
    }  # fmt: skip
    terminal = open_terminal(TerminalConfig("emulator", LOGIN, "paper-password", SERVER, options))
    with gateway(None, folder / "journal.db", terminal=terminal) as running, ExitStack() as stack:
        yield _mt5(running, stack)


def _mt5(running, stack):
    running.journal.created_at -= 60
    broker = Mt5Broker(running.link())
    stack.callback(broker.close)
    return Venue(
        broker=broker,
        symbol="EURUSD",
        new_id=lambda: ids.client_order_id(tag=TAG, number=next(_numbers)),
        cut=lambda: running.worker.close(timeout_s=5),
    )


@contextmanager
def alpaca_over_emulator(folder: Path, quantity: str = "1") -> Iterator[Venue]:
    with alpaca.brokers() as (broker, emulator):
        venue = Venue(
            broker=broker,
            symbol="AAPL",
            new_id=alpaca.new_id,
            cut=emulator.stop,
            quantity=Decimal(quantity),
            swears=False,
            resting_times=frozenset(TimeInForce) - {TimeInForce.GTD},
        )
        if venue.least % 1:  # a part of a share has the day alone
            venue = replace(venue, changes=False, resting_times=frozenset({TimeInForce.DAY}), at_once=frozenset())
        yield venue


VENUES = {
    "alpaca over the emulator": alpaca_over_emulator,
    "alpaca over the emulator, parts of shares": partial(alpaca_over_emulator, quantity="0.37"),
    "mt5 over a fake terminal": mt5_over_fake,
    "mt5 over the emulator": mt5_over_emulator,
    "mt5 over a netting emulator": partial(mt5_over_emulator, margin_mode="netting"),
}
