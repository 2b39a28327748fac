"""Alpaca on loopback, for tests: the public Trading API reference acted out, and the ways in which it can lie.

Not part of the product: paper trading at Alpaca is Alpaca's own paper account.
"""

from tests.trading.brokers.alpaca.emulator.books import Books
from tests.trading.brokers.alpaca.emulator.faults import Fault, Faults
from tests.trading.brokers.alpaca.emulator.server import KEY, SECRET, Emulator, serving

__all__ = ["KEY", "SECRET", "Books", "Emulator", "Fault", "Faults", "serving"]
