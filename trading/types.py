"""What crosses trading's borders: intents coming in, facts read from brokers."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from trading.brokers.base import Quote, Side


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """What somebody wants to trade.

    Units: `quantity` in lots; prices in the instrument's quote currency. `entry_price` is the price the client saw:
    it is the collar of a market order.
    """

    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None


class Conversion(NamedTuple):
    """How an amount becomes USD: by which quote, and whether USD is that pair's base currency.

    An empty `symbol` means that the amount is in USD already.
    """

    symbol: str
    usd_is_base: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """A net holding: signed quantity in lots and its average price."""

    quantity: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Reservation:
    """The worst an order can cost, and what it would add.

    Units: `risk` and `value` in USD, `units` in base units, `deviation` in price.
    """

    risk: Decimal
    value: Decimal
    units: Decimal
    deviation: Decimal


Rates = Mapping[str, Quote]
