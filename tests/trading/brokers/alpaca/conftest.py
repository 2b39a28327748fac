"""An adapter and its emulator for each test."""

import pytest

from tests.trading.brokers.alpaca import world


@pytest.fixture
def running():
    with world.brokers() as (broker, emulator):
        yield broker, emulator


@pytest.fixture
def broker(running):
    return running[0]


@pytest.fixture
def emulator(running):
    return running[1]
