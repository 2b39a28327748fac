"""Give tests a quoted world of either kind."""

from collections.abc import Iterator

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, NETTER, World, build, quote_all


@pytest.fixture
def hedger() -> Iterator[World]:
    """Return a world whose account is hedging."""
    world = quote_all(build(HEDGER))
    yield world
    world.broker.close()


@pytest.fixture
def netter() -> Iterator[World]:
    """Return a world whose account is netting."""
    world = quote_all(build(NETTER))
    yield world
    world.broker.close()
