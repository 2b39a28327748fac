"""Stand where the package would be imported: the same names, the same answers."""

from typing import Any, NoReturn

from trading.brokers.mt5.emulator import constants
from trading.brokers.mt5.emulator.broker import Broker
from trading.brokers.mt5.emulator.calls.connection import ConnectionCalls
from trading.brokers.mt5.emulator.calls.depth import DepthCalls
from trading.brokers.mt5.emulator.calls.history import HistoryCalls
from trading.brokers.mt5.emulator.calls.trade import TradeCalls

CONSTANTS = {name: value for name, value in vars(constants).items() if name.isupper() and isinstance(value, int)}


class Module(ConnectionCalls, DepthCalls, TradeCalls, HistoryCalls):
    """Offer every name of the package; nothing here leads to the broker's control."""

    __version__ = constants.VERSION
    __author__ = constants.AUTHOR

    def __getattr__(self, name: str) -> int:
        """Return a constant of the wheel; names that it lacks are absent here too."""
        try:
            return CONSTANTS[name]
        except KeyError:
            raise AttributeError(f"module 'MetaTrader5' has no attribute {name!r}") from None

    def __dir__(self) -> list[str]:
        """List the functions and the constants."""
        return sorted({*super().__dir__(), *CONSTANTS})

    def Buy(self, *args: Any, **named: Any) -> NoReturn:  # noqa: N802
        """Refuse: the original sends up to ten times, without magic, stops or filling."""
        raise NotImplementedError("Buy, Sell and Close are forbidden: use order_send")

    Sell = Close = Buy


def module(broker: Broker, terminal_path: str) -> Module:
    """Return what one process that imports the package would hold, for the terminal of a path."""
    return Module(broker, terminal_path)
