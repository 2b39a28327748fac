"""What is wrong with an order by itself, before any market is looked at."""

import re
from collections.abc import Iterable
from decimal import Decimal

from nexus.core import money

SYMBOL = re.compile(r"[A-Za-z0-9]{1,20}([-/._#][A-Za-z0-9]{1,20})?")


def symbol_fault(symbol: str) -> str:
    """Return why a text is no symbol, or an empty text."""
    return "" if SYMBOL.fullmatch(symbol) else "SYMBOL_MALFORMED"


def quantity_fault(quantity: Decimal, *, least: Decimal, most: Decimal, step: Decimal) -> str:
    """Return why a quantity cannot be ordered, or an empty text. Nothing is rounded for the caller."""
    if not quantity.is_finite() or quantity <= 0:
        return "QUANTITY_NOT_POSITIVE"
    if quantity < least:
        return "QUANTITY_BELOW_MINIMUM"
    if quantity > most:
        return "QUANTITY_ABOVE_MAXIMUM"
    return "" if money.is_multiple(quantity, step) else "QUANTITY_OFF_STEP"


def price_fault(prices: Iterable[Decimal | None], *, tick: Decimal) -> str:
    """Return why one of the prices cannot stand in an order, or an empty text. None is no price."""
    given = [price for price in prices if price is not None]
    if any(not price.is_finite() or price <= 0 for price in given):
        return "PRICE_NOT_POSITIVE"
    return "" if all(money.is_multiple(price, tick) for price in given) else "PRICE_OFF_TICK"
