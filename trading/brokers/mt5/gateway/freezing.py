"""The freeze distance: what the market has come so near to that the server changes, cancels and closes nothing of it.

It is looked at with the price of now, at the last moment before a request would leave. What cannot be told, since the
price is old (a market that is closed freezes nothing) or was not read, is left to the server: a request that takes risk
away is not held back on a guess.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from trading.brokers.mt5.gateway.calls import Answer, Call

PRICE_AGE_S_MAX = 60


def terms(symbol: str) -> list[Call]:
    """Return the calls whose answers `near` wants."""
    return [Call("symbol_info", (symbol,)), Call("symbol_info_tick", (symbol,))]


def near(entry: dict[str, Any], levels: Sequence[str], answers: Sequence[Answer], *, server_s: float | None) -> str:
    """Return in words which of an entry's `levels` the market is too near to, or an empty text.

    Takes: a position or a working order; the answers to `terms`; the server's time, None while it is not known. A
    position is measured from the price that would close it, an order from the one that would fill it.
    """
    symbol, tick = answers
    if not symbol.ok or not tick.ok or server_s is None or server_s - int(tick.result["time"]) > PRICE_AGE_S_MAX:
        return ""
    distance = _exact(symbol.result["trade_freeze_level"]) * _exact(symbol.result["point"])
    if distance <= 0:
        return ""
    is_buy, is_position = int(entry["type"]) % 2 == 0, "identifier" in entry
    price = _exact(tick.result["bid" if is_buy is is_position else "ask"])
    for name in levels:
        level = _exact(entry[name])
        if level and abs(level - price) <= distance:
            return f"{name} {level} is within {distance} of the market at {price}"
    return ""


def _exact(value: object) -> Decimal:
    return Decimal(str(value))
