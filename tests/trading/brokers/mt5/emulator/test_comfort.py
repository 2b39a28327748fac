"""The quick bound never calls an account safe that its exact figures would stop out, and mostly calls safe what is."""

import random
from dataclasses import replace

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, build, quote_all
from trading.brokers.mt5.emulator import amounts, comfort, stop_out
from trading.brokers.mt5.emulator.records import Tick
from trading.brokers.mt5.emulator.valuation import Market


class At:
    """One price of one symbol."""

    def __init__(self, bid):
        self.tick = Tick("EURUSD", 1, 0, bid, bid + 10)

    def at(self, symbol, time_ms):
        return self.tick

    def between(self, symbol, after_ms, until_ms, limit):
        return []


@pytest.mark.parametrize("seed", range(20))
def test_never_calls_far_what_is_due(seed):
    dice = random.Random(seed)
    terms = {"initial_balance": "2000", "leverage": dice.choice([30, 100, 500]), "stop_out": dice.choice(["50", "20"])}
    world = quote_all(build(account=terms))
    for _ in range(dice.randint(1, 6)):
        (world.buy if dice.random() < 0.7 else world.sell)("EURUSD", dice.randint(1, 40) / 100)
    broker, books = world.broker, world.broker.books[HEDGER]
    if not books.positions:
        return
    known = comfort.of(books, broker.instruments, broker.quotes, broker.now_ms)
    far = due = 0
    for bid in range(100_000, 117_000, 37):
        market = Market(broker.instruments, At(bid), 0)
        sums = replace(broker.scene(), market=market).figures(books)
        is_due, is_far = stop_out.is_due(books.profile, sums), comfort.is_far(books, known, market)
        assert not (is_due and is_far), (bid, sums)
        far, due = far + is_far, due + is_due
        if not is_due and 100 * sums.equity - 50 * sums.margin > 100 * 10 * amounts.UNIT:
            assert is_far, (bid, sums)


def test_leaves_to_the_exact_figures_what_it_cannot_tell():
    world = quote_all(build())
    world.buy("USDJPY", 0.1)
    broker, books = world.broker, world.broker.books[HEDGER]

    known = comfort.of(books, broker.instruments, broker.quotes, broker.now_ms)

    assert known.needed is None
    assert not comfort.is_far(books, known, broker.market)
