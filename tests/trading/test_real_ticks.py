"""Real market data: the brief's trade fills at exactly the ask in force, and its profit follows the bids."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from accounts.models import User
from tests.factories.accounts import UserFactory
from tests.fakes import paper as paper_broker
from tests.fakes.paper import Paper
from tests.trading.conftest import brief, link
from trading.brokers import registry
from trading.brokers.mt5 import session
from trading.models import Fill, TradingAccount
from trading.services import accounts
from trading.states import OrderStatus

TICKS = Path(__file__).resolve().parents[3] / "shared" / "data" / "eurusd-ticks-histdata-2020-01-01.csv"
SAMPLE = Path(__file__).with_name("eurusd-ticks-sample.csv")
STEPS = (2, 1, 137, 400, 3, 912, 700, 1301, 88, 2000, 1499, 1200)
SAMPLE_STEPS = (2, 1, 5, 9, 3, 17, 11, 2, 8, 20, 15, 12)


class Tick(NamedTuple):
    at: datetime
    bid: Decimal
    ask: Decimal


def read(path: Path) -> list[Tick]:
    """Read HistData's own format, whose clock is New York's without daylight saving, as a stranger would."""
    ticks = []
    for line in path.read_text().splitlines():
        stamp, bid, ask, _ = line.split(",")
        at = datetime.strptime(stamp[:15], "%Y%m%d %H%M%S").replace(tzinfo=UTC)
        ticks.append(Tick(at + timedelta(hours=5, milliseconds=int(stamp[15:])), Decimal(bid), Decimal(ask)))
    return ticks


@pytest.fixture(params=["sample", "day"])
def tape(request: pytest.FixtureRequest) -> tuple[Path, tuple[int, ...]]:
    """A recording and the instants to trade at. The whole day is used where it lies beside the clone."""
    if request.param == "sample":
        return SAMPLE, SAMPLE_STEPS
    if not TICKS.exists():
        pytest.skip("the day of ticks is not beside this clone")
    return TICKS, STEPS


@pytest.fixture
def market(floor, tape, tmp_path, settings, monkeypatch) -> Iterator[Paper]:
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0)
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    settings.DAILY_LOSS_LIMIT = Decimal(100_000)
    with paper_broker.paper(tmp_path, csv={"EURUSD": tape[0]}) as running:
        settings.MT5_GATEWAY_URL = running.url
        yield running
        registry.close()


@pytest.fixture
def trader(market) -> User:
    return UserFactory.create()


@pytest.fixture
def account(trader, market) -> TradingAccount:
    account = link(trader)
    broker = accounts.broker_of(account)
    for _ in range(2):  # the server's clock is learned from ticks that move
        market.control.step()
        broker.snapshot(symbols=["EURUSD"])
    return account


def test_fills_at_the_ask_in_force_and_follows_the_bids(market, trader, account, execute, tape):
    path, steps = tape
    ticks, number = read(path), 2  # the fixture has stepped twice
    broker = accounts.broker_of(account)

    for step in steps:
        assert market.control.step(step) == step
        number += step
        now = ticks[number]
        assert market.now == now.at
        moved = now.ask - Decimal("1.0850")
        order = execute(
            brief(
                quantity=Decimal("0.1"),
                entry_price=now.ask,
                stop_loss=Decimal("1.0800") + moved,
                take_profit=Decimal("1.0900") + moved,
            ),
            at=now.at,
        )

        assert (order.status, order.reason) == (OrderStatus.FILLED, "")
        fill = Fill.objects.get(order=order)
        assert fill.price == order.average_price == now.ask
        assert fill.filled_at == now.at

        ahead = min(25, len(ticks) - number - 1)
        if ahead:
            market.control.step(ahead)
            number += ahead
        bid = ticks[number].bid
        held = {p.venue_position_id: p for p in broker.snapshot(symbols=["EURUSD"]).positions}
        position = held.get(fill.venue_position_id)
        if position is not None:  # otherwise its stop or its target was hit on the way
            assert position.price_current == bid
            assert position.profit == (bid - now.ask) * 10_000


def test_the_sample_is_like_the_day(tape):
    ticks = read(tape[0])

    assert all(one.at <= other.at for one, other in pairwise(ticks))
    assert all(0 < tick.bid <= tick.ask for tick in ticks)
