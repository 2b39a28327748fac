"""Build small brokers for tests: a memory file, a clock that stands still, quotes that the test sets."""

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trading.brokers.mt5.emulator import AccountProfile, Broker, BrokerProfile, Control, facade, open_broker
from trading.brokers.mt5.emulator import constants as mt5

HEDGER, NETTER = 1001, 1002
PASSWORD, INVESTOR = "correct horse", "only looking"
SERVER = "Paper-1"
TERMINAL = "C:/Paper/terminal64.exe"
PRICES = {
    "EURUSD": ("1.08500", "1.08510"),
    "EURUSD.m": ("1.08490", "1.08520"),
    "USDJPY": ("150.000", "150.010"),
    "XAUUSD": ("2400.00", "2400.20"),
    "US500": ("5500.0", "5500.5"),
    "FUTX": ("12000", "12001"),
    "BTCUSD": ("60000.00", "60015.00"),
    "CLOSEDX": ("1.08500", "1.08510"),
}
EVER = (1, 2**31 - 1)


@dataclass
class World:
    """A broker, one process connected to one of its accounts, and the strings behind the scenes."""

    broker: Broker
    mt5: facade.Module
    control: Control
    login: int
    magics: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def deal(self, symbol: str, side: int, volume: float, **fields: Any) -> Any:
        """Send a market order with a filling that the symbol allows."""
        bits = self.broker.instruments[symbol].filling_bits
        filling = mt5.ORDER_FILLING_FOK if bits & 1 else mt5.ORDER_FILLING_IOC if bits else mt5.ORDER_FILLING_RETURN
        plain = {"action": mt5.TRADE_ACTION_DEAL, "symbol": symbol, "type": side, "volume": volume}
        return self.mt5.order_send({**plain, "type_filling": filling, "magic": next(self.magics), **fields})

    def buy(self, symbol: str, volume: float, **fields: Any) -> Any:
        """Buy at the market."""
        return self.deal(symbol, mt5.ORDER_TYPE_BUY, volume, **fields)

    def sell(self, symbol: str, volume: float, **fields: Any) -> Any:
        """Sell at the market."""
        return self.deal(symbol, mt5.ORDER_TYPE_SELL, volume, **fields)

    def place(self, symbol: str, kind: int, volume: float, price: float, **fields: Any) -> Any:
        """Place a pending order."""
        plain = {"action": mt5.TRADE_ACTION_PENDING, "symbol": symbol, "type": kind, "volume": volume, "price": price}
        waits = {"type_filling": mt5.ORDER_FILLING_RETURN, "magic": next(self.magics)}
        return self.mt5.order_send(plain | waits | fields)

    def modify(self, order: int, price: float, **fields: Any) -> Any:
        """Change a pending order."""
        return self.mt5.order_send({"action": mt5.TRADE_ACTION_MODIFY, "order": order, "price": price, **fields})

    def remove(self, order: int) -> Any:
        """Remove a pending order."""
        return self.mt5.order_send({"action": mt5.TRADE_ACTION_REMOVE, "order": order})

    def finished(self, ticket: int) -> Any:
        """Return an order from the history."""
        found = self.mt5.history_orders_get(ticket=ticket)
        assert found, self.mt5.last_error()
        return found[0]

    def move_stops(self, position: int, symbol: str, sl: float, tp: float) -> Any:
        """Set both stops of a position."""
        return self.mt5.order_send(
            {"action": mt5.TRADE_ACTION_SLTP, "position": position, "symbol": symbol, "sl": sl, "tp": tp}
        )

    def deals(self) -> tuple[Any, ...]:
        """Return all deals but the deposit."""
        found = self.mt5.history_deals_get(*EVER)
        assert found is not None, self.mt5.last_error()
        return tuple(deal for deal in found if deal.symbol)

    def truth(self) -> dict[str, Any]:
        """Return the real books without the requests and the clock."""
        return {
            key: value for key, value in self.control.truth(self.login).items() if key not in ("requests", "now_us")
        }


def accounts(**changes: Any) -> list[AccountProfile]:
    """Return one hedging and one netting account."""
    both: dict[str, Any] = {"password": PASSWORD, "investor_password": INVESTOR, "server": SERVER} | changes
    return [
        AccountProfile(login=HEDGER, margin_mode=mt5.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING, **both),
        AccountProfile(login=NETTER, margin_mode=mt5.ACCOUNT_MARGIN_MODE_RETAIL_NETTING, **both),
    ]


def build(
    login: int = HEDGER,
    *,
    path: Path | str = ":memory:",
    profile: BrokerProfile | None = None,
    account: dict[str, Any] | None = None,
    exchange: bool = False,
    **options: Any,
) -> World:
    """Open a broker and connect one process to one account, every symbol watched."""
    chosen = profile or BrokerProfile(selected=tuple(PRICES))
    options = {"mode": "manual", "quotes": "scripted"} | options
    both = accounts(**(account or {}))
    if exchange:
        both = [replace(each, margin_mode=mt5.ACCOUNT_MARGIN_MODE_EXCHANGE) for each in both]
    broker = open_broker(path, accounts=both, profile=chosen, **options)
    module = facade.module(broker, TERMINAL)
    world = World(broker, module, Control(broker), login)
    assert module.initialize(TERMINAL, login=login, password=PASSWORD, server=SERVER), module.last_error()
    return world


def quote_all(world: World) -> World:
    """Quote every symbol once, at the usual prices."""
    for symbol, (bid, ask) in PRICES.items():
        world.control.tick(symbol, bid, ask)
    return world
