"""Emulate MetaTrader 5: facade, terminal and broker in one process, for tests and for paper trading.

    from trading.brokers.mt5.emulator import AccountProfile, BrokerProfile, Control, facade, open_broker

    broker = open_broker(
        "paper.sqlite3", mode="wall", profile=BrokerProfile(always_open=True),
        accounts=[AccountProfile(login=1001, password="…", server="Paper-1")],
    )
    mt5 = facade.module(broker, "C:/Paper/terminal64.exe")      # stands where `import MetaTrader5 as mt5` would
    assert mt5.initialize("C:/Paper/terminal64.exe", login=1001, password="…", server="Paper-1"), mt5.last_error()
    mt5.symbol_select("EURUSD", True)
    mt5.order_send(action=mt5.TRADE_ACTION_DEAL, symbol="EURUSD", type=mt5.ORDER_TYPE_BUY, volume=0.1, magic=7)
    Control(broker).inject("timeout_after_accept")              # tests only: the next send is done, its answer lost

Modes: `manual` (tests advance the clock), `replay` (recorded quotes; step by step or at a speed), `wall` (paper
trading on generated quotes: each call first lives up to the present, so no thread is needed).

A running broker may be driven from another process of the same machine, if it is told to listen:

    serve(Control(broker), "paper.control", token)                 # a unix socket, or "127.0.0.1:port"
    ControlClient("paper.control", token).manual_trade(1001, "EURUSD", 0, "0.10")

Faults of the wire between gateway and client (`bridge_*`) are planned here and done by the gateway, where there is one.

Known optimism of a paper account, unless its profile says otherwise: unlimited liquidity at the touch, no latency, no
slippage; and always: no market impact, no queue.
"""

from trading.brokers.mt5.emulator.broker import Broker, BrokerStoppedError
from trading.brokers.mt5.emulator.control import Control
from trading.brokers.mt5.emulator.controls.client import ControlClient
from trading.brokers.mt5.emulator.controls.server import ControlServer, serve
from trading.brokers.mt5.emulator.controls.wire import ControlError
from trading.brokers.mt5.emulator.opening import open_broker
from trading.brokers.mt5.emulator.profiles import AccountProfile, BrokerProfile

__all__ = [
    "AccountProfile",
    "Broker",
    "BrokerProfile",
    "BrokerStoppedError",
    "Control",
    "ControlClient",
    "ControlError",
    "ControlServer",
    "open_broker",
    "serve",
]
