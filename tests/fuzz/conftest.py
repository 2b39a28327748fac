"""The same floor as the tests of trading: an account to trade on, or most operations would end at their first look."""

from tests.trading.conftest import floor, paper, trader

__all__ = ["floor", "paper", "trader"]
