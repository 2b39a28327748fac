"""The most lots that a broker lets stand on one side of an instrument: nothing beyond it is sent."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.utils.timezone import now

from accounts.models import User
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from tests.factories.accounts import UserFactory
from tests.fakes import paper as paper_broker
from tests.fakes.paper import Paper
from tests.trading.conftest import brief, link
from trading.brokers import registry
from trading.brokers.mt5 import session
from trading.models import TradableInstrument, TradeLedger, TradingAccount
from trading.services import accounts, headroom, orders
from trading.states import OrderType, Side, TimeInForce

LIMIT = Decimal(5)  # of BTCUSD at the emulator


@pytest.fixture(params=[False, True], ids=["hedging", "netting"])
def broker(request: pytest.FixtureRequest, floor, tmp_path: Path, settings, monkeypatch) -> Iterator[Paper]:
    """A paper broker that quotes BTCUSD at 20000.00 / 20001.00, and room for a few of them."""
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0)
    settings.DAILY_LOSS_LIMIT = settings.TRADE_VALUE_MAX = settings.MAX_POSITION_SIZE = Decimal(10_000_000)
    with paper_broker.paper(tmp_path, netting=request.param) as running:
        settings.MT5_GATEWAY_URL = running.url
        running.quote("BTCUSD", "20000.00", "20001.00")
        yield running
        registry.close()


@pytest.fixture
def trader(broker: Paper) -> User:
    user = UserFactory.create()
    venue = accounts.broker_of(link(user))
    venue.snapshot(symbols=["BTCUSD"])
    broker.quote("BTCUSD", "20000.00", "20001.00")
    venue.snapshot(symbols=["BTCUSD"])
    return user


@pytest.fixture
def place(broker: Paper, trader: User) -> Callable[..., TradeLedger]:
    """Order some BTCUSD, and return the order as it stands."""
    account = TradingAccount.objects.get(user=trader)

    def order(side: Side, quantity: str, **terms: Any) -> TradeLedger:
        broker.quote("BTCUSD", "20000.00", "20001.00")
        stop = Decimal(19000) if side is Side.BUY else Decimal(21000)
        intent = brief(
            symbol="BTCUSD", side=side, quantity=Decimal(quantity), entry_price=None, take_profit=None, stop_loss=stop,
        )  # fmt: skip
        request = RequestKey(
            principal=str(trader.public_id), account=str(account.public_id), key=f"{TradeLedger.objects.count()}-of-it",
            fingerprint=records.fingerprint(method="POST", path="/trading/execute", body={}),
        )  # fmt: skip
        return orders.execute(
            user=trader, account=account, intent=replace(intent, **terms), key=request, at=now()
        ).order

    return order


def outcome(order: TradeLedger) -> str:
    return order.reason or order.status


def test_what_is_held_and_waits_on_one_side_counts_together(place, broker):
    waiting = {"order_type": OrderType.LIMIT, "limit_price": Decimal(19950), "time_in_force": TimeInForce.GTC}
    assert outcome(place(Side.BUY, "2")) == "FILLED"
    assert outcome(place(Side.BUY, "2.5", **waiting)) == "PENDING"

    refused = place(Side.BUY, "0.51")

    check = next(each for each in refused.checks if each["name"] == "ONE_WAY_QUANTITY")
    assert (refused.reason, check["limit"], check["used"], check["asked"]) == (
        "ONE_WAY_QUANTITY_EXCEEDS_LIMIT", "5", "4.5", "0.51",
    )  # fmt: skip
    assert len(broker.deals()) == 1
    assert outcome(place(Side.BUY, "0.5")) == "FILLED"
    assert outcome(place(Side.BUY, "0.01")) == "ONE_WAY_QUANTITY_EXCEEDS_LIMIT"


def test_the_other_side_has_its_own_room_and_where_positions_are_netted_what_it_closes_is_free(place, trader, request):
    place(Side.BUY, "2")
    is_netting = "netting" in request.node.name

    most = "7" if is_netting else "5"
    assert outcome(place(Side.SELL, str(Decimal(most) + Decimal("0.01")))) == "ONE_WAY_QUANTITY_EXCEEDS_LIMIT"
    assert outcome(place(Side.SELL, most)) == "FILLED"


def test_closing_is_not_held_back_and_the_headroom_shows_the_limit(place, trader, broker):
    place(Side.BUY, "5")
    account = TradingAccount.objects.get(user=trader)
    position = broker.deals()[0]["position_id"]

    shown = headroom.read(user=trader, account=account, symbol="BTCUSD", at=now())
    check = next(each for each in shown.checks if each.name == "ONE_WAY_QUANTITY")
    assert (check.limit, check.used, check.headroom) == (LIMIT, LIMIT, Decimal(0))
    closing = place(Side.SELL, "5", venue_position_id=str(position), stop_loss=None)
    assert outcome(closing) == "FILLED"


def test_no_limit_of_the_venue_is_none_here(place, broker, trader):
    place(Side.BUY, "0.1")
    assert TradableInstrument.objects.get(symbol="BTCUSD").one_way_max == LIMIT
    TradableInstrument.objects.update(one_way_max=None)

    # The broker itself says the last word.
    assert place(Side.BUY, "5").reason == "BROKER_10034"
