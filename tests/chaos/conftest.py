"""The trading floor, here too. What a test of the judge leaves behind is wrong on purpose."""

from tests.trading.conftest import account, execute, floor, paper, trader

__all__ = ["account", "execute", "floor", "paper", "trader"]
