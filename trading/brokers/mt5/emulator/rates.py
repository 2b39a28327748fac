"""Turn amounts of one currency into another, at the side of the quote that disfavors the account."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise

from trading.brokers.mt5.emulator.instruments import Instrument
from trading.brokers.mt5.emulator.quotes import Quotes

HUB = "USD"


class NoRateError(LookupError):
    """Say that a conversion has no quote yet."""


class Rates:
    """Convert at the quotes in force at an instant."""

    def __init__(self, instruments: Mapping[str, Instrument], quotes: Quotes, time_ms: int) -> None:
        self._instruments, self._quotes, self._time_ms = instruments, quotes, time_ms

    def convert(self, amount: Fraction, source: str, target: str, *, is_cost: bool = False) -> Fraction:
        """Convert an amount: a profit becomes smaller, a loss or a cost larger, than at the middle price.

        Raises: NoRateError.
        """
        if source == target:
            return amount
        larger = is_cost or amount < 0
        for here, there in pairwise(path(self._instruments.values(), source, target)):
            amount = self._hop(amount, here, there, larger=larger)
        return amount

    def _hop(self, amount: Fraction, source: str, target: str, *, larger: bool) -> Fraction:
        multiply = source + target in self._instruments
        instrument = self._instruments[source + target if multiply else target + source]
        tick = self._quotes.at(instrument.name, self._time_ms)
        if tick is None:
            raise NoRateError(f"{instrument.name} has no quote")
        points = tick.ask if larger == multiply else tick.bid
        rate = Fraction(points, 10**instrument.digits)
        return amount * rate if multiply else amount / rate


def path(instruments: Iterable[Instrument], source: str, target: str) -> tuple[str, ...]:
    """Return the currencies to pass through: directly, else over the dollar.

    Raises: LookupError when no pair leads there.
    """
    pairs = {frozenset((each.base, each.profit)) for each in instruments if each.is_conversion_pair}
    for route in ((source,), (source, target), (source, HUB, target)):
        if route[-1] == target and all(frozenset(hop) in pairs for hop in pairwise(route)):
            return route
    raise LookupError(f"no pair of this broker converts {source} to {target}")
