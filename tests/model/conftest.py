"""The trading floor, here too."""

from tests.trading.conftest import _always_true, account, execute, floor, paper, trader

__all__ = ["_always_true", "account", "execute", "floor", "paper", "trader"]
