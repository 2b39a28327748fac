"""Carry a trade request, and the broker's answer, between facade and broker."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from decimal import Decimal

from trading.brokers.mt5.emulator import constants as mt5

NOTHING = Decimal(0)
HEDGE_PROHIBITED = 10046  # not in the wheel

COMMENTS = {
    0: "Done",
    mt5.TRADE_RETCODE_REQUOTE: "Requote",
    mt5.TRADE_RETCODE_REJECT: "Request rejected",
    mt5.TRADE_RETCODE_CANCEL: "Request canceled by trader",
    mt5.TRADE_RETCODE_PLACED: "Order placed",
    mt5.TRADE_RETCODE_DONE: "Request executed",
    mt5.TRADE_RETCODE_DONE_PARTIAL: "Request executed partially",
    mt5.TRADE_RETCODE_ERROR: "Request processing error",
    mt5.TRADE_RETCODE_TIMEOUT: "Request timed out",
    mt5.TRADE_RETCODE_INVALID: "Invalid request",
    mt5.TRADE_RETCODE_INVALID_VOLUME: "Invalid volume",
    mt5.TRADE_RETCODE_INVALID_PRICE: "Invalid price",
    mt5.TRADE_RETCODE_INVALID_STOPS: "Invalid stops",
    mt5.TRADE_RETCODE_TRADE_DISABLED: "Trade disabled",
    mt5.TRADE_RETCODE_MARKET_CLOSED: "Market closed",
    mt5.TRADE_RETCODE_NO_MONEY: "No money",
    mt5.TRADE_RETCODE_PRICE_CHANGED: "Price changed",
    mt5.TRADE_RETCODE_PRICE_OFF: "Off quotes",
    mt5.TRADE_RETCODE_INVALID_EXPIRATION: "Invalid expiration",
    mt5.TRADE_RETCODE_TOO_MANY_REQUESTS: "Too many requests",
    mt5.TRADE_RETCODE_NO_CHANGES: "No changes",
    mt5.TRADE_RETCODE_SERVER_DISABLES_AT: "AutoTrading disabled by server",
    mt5.TRADE_RETCODE_CLIENT_DISABLES_AT: "AutoTrading disabled by client",
    mt5.TRADE_RETCODE_LOCKED: "Request locked",
    mt5.TRADE_RETCODE_FROZEN: "Order or position frozen",
    mt5.TRADE_RETCODE_INVALID_FILL: "Unsupported filling mode",
    mt5.TRADE_RETCODE_CONNECTION: "No connection",
    mt5.TRADE_RETCODE_LIMIT_ORDERS: "Limit of pending orders reached",
    mt5.TRADE_RETCODE_LIMIT_VOLUME: "Volume limit reached",
    mt5.TRADE_RETCODE_INVALID_ORDER: "Invalid order",
    mt5.TRADE_RETCODE_POSITION_CLOSED: "Position doesn't exist",
    mt5.TRADE_RETCODE_INVALID_CLOSE_VOLUME: "Invalid close volume",
    mt5.TRADE_RETCODE_LIMIT_POSITIONS: "Position limit reached",
    mt5.TRADE_RETCODE_LONG_ONLY: "Long only",
    mt5.TRADE_RETCODE_SHORT_ONLY: "Short only",
    mt5.TRADE_RETCODE_CLOSE_ONLY: "Close only",
    mt5.TRADE_RETCODE_FIFO_CLOSE: "FIFO close required",
    HEDGE_PROHIBITED: "Hedging prohibited",
}


NO_LIQUIDITY = "No liquidity"


def comment_of(retcode: int) -> str:
    """Describe a code in the words of the result's comment."""
    return COMMENTS.get(retcode, "Unknown return code")


@dataclass(frozen=True, slots=True)
class Request:
    """A trade request as it left the client; what was not given is zero or empty, as the package sends it."""

    action: int = 0
    magic: int = 0
    order: int = 0
    symbol: str = ""
    volume: Decimal = NOTHING
    price: Decimal = NOTHING
    stoplimit: Decimal = NOTHING
    sl: Decimal = NOTHING
    tp: Decimal = NOTHING
    deviation: int = 0
    type: int = 0
    type_filling: int = 0
    type_time: int = 0
    expiration: int = 0
    comment: str = ""
    position: int = 0
    position_by: int = 0

    def plain(self, decimal: Callable[[Decimal], object] = str) -> dict[str, object]:
        """Return the fields by name, with each decimal turned into text or whatever `decimal` makes of it."""
        pairs = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: decimal(value) if isinstance(value, Decimal) else value for name, value in pairs}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the trade server says. Units: volume in 10^-8 lots, prices in points of `digits`."""

    retcode: int
    deal: int = 0
    order: int = 0
    volume: int = 0
    price: int = 0
    bid: int = 0
    ask: int = 0
    digits: int = 0
    comment: str = ""


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    """What a check says: the account's figures after the trade, in units of 10^-8."""

    retcode: int
    balance: int = 0
    equity: int = 0
    profit: int = 0
    margin: int = 0
    free: int = 0
    level: float = 0.0
