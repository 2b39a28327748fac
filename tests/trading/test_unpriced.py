"""A position that the terminal shows without a price: what it can lose is not known, and never nothing."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from nexus.core.errors import Unreachable
from tests.trading.conftest import brief
from tests.trading.desk import MARKET, act, place, position_of
from tests.trading.sweeps import flatten, sweep_now
from tests.trading.test_exposure import daily_loss
from trading import rules
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.states import Side
from trading.types import VenuePosition

SHOWN = VenuePosition(
    venue_position_id="1", symbol="EURUSD", side=Side.BUY, quantity=Decimal(1), price_open=Decimal("1.1"),
    price_current=Decimal("1.1"), stop_loss=Decimal("1.09"), take_profit=None, profit=Decimal(0), swap=Decimal(0),
    client_order_id="", opened_at=None,
)  # fmt: skip


@pytest.fixture
def unpriced(client, monkeypatch) -> Any:
    """A position whose price the terminal shows as zero, as it does before the first tick of its symbol."""
    place(client, MARKET)
    real = Mt5Broker.snapshot

    def snapshot(self: Mt5Broker, **asked: Any) -> Any:
        found = real(self, **asked)
        return replace(found, positions=tuple(replace(p, price_current=Decimal(0)) for p in found.positions))

    monkeypatch.setattr(Mt5Broker, "snapshot", snapshot)
    return client


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(("price", "is_known"), [("0", False), ("0.00001", True)])
def test_open_risk_is_not_known_without_a_mark(side, price, is_known):
    held = replace(SHOWN, side=side, price_current=Decimal(price))

    for move in (None, Decimal("0.1")):
        found = rules.open_risk(
            held, contract_size=Decimal(100_000), usd=Decimal(1), gap=Decimal(0), unstopped_move=move
        )
        assert (found is not None) is is_known


def test_nothing_new_is_admitted_beside_it(unpriced, execute):
    assert daily_loss(unpriced)["reason"] == "OPEN_RISK_NOT_BOUNDED"
    assert execute(brief(quantity=Decimal("0.01"))).reason == "OPEN_RISK_NOT_BOUNDED"


@pytest.mark.parametrize(("stop", "status"), [("1.0830", 200), ("1.0790", 422)])
def test_its_stop_loss_may_be_tightened_and_not_widened(unpriced, stop, status):
    path = f"/trading/positions/{position_of(unpriced)['id']}"

    assert act(unpriced, path, {"stop_loss": stop}, method="patch").status_code == status


@pytest.mark.parametrize(("bid", "ask"), [(0.0, 0.0), (1900.1, 1900.0)])
def test_a_price_that_cannot_be_keeps_nothing_else_open(client, paper, monkeypatch, bid, ask):
    """What it stands for is told as not closed, and is closed as soon as it has one."""
    paper.quote("XAUUSD", "1900.00", "1900.10")
    place(client, MARKET)
    paper.control.manual_trade(paper.login, "XAUUSD", mt5.ORDER_TYPE_BUY, "0.01")
    module = paper.desk._hands.module
    tick = module.symbol_info_tick

    def unpriced(name: str) -> Any:
        shown = tick(name)
        return type(shown)({**shown._asdict(), "bid": bid, "ask": ask}.values()) if name == "XAUUSD" else shown

    with monkeypatch.context() as patch:
        patch.setattr(module, "symbol_info_tick", unpriced)
        flatten()
        left = sweep_now()
        assert [each["symbol"] for each in paper.truth()["positions"]] == ["XAUUSD"], left.detail
        assert "QUOTE_MISSING" in left.detail

    assert sweep_now(left).state == "PROVEN"


def test_what_has_no_terms_yet_keeps_nothing_else_open_and_nothing_new_is_admitted_beside_it(
    client, paper, execute, monkeypatch
):
    """The broker answers, but not about an instrument that nobody here has met."""
    paper.quote("XAUUSD", "1900.00", "1900.10")
    place(client, MARKET)
    paper.control.manual_trade(paper.login, "XAUUSD", mt5.ORDER_TYPE_BUY, "0.01", sl="1890")
    real = Mt5Broker.instrument

    def instrument(self: Mt5Broker, *, symbol: str) -> Any:
        if symbol == "XAUUSD":
            raise Unreachable("not now")
        return real(self, symbol=symbol)

    with monkeypatch.context() as patch:
        patch.setattr(Mt5Broker, "instrument", instrument)
        assert daily_loss(client)["reason"] == "INSTRUMENT_UNKNOWN"
        assert execute(brief(quantity=Decimal("0.01"))).reason == "INSTRUMENT_UNKNOWN"
        closed = act(client, f"/trading/positions/{position_of(client)['id']}/close").json()

    assert closed["status"] == "FILLED"
    assert [each["symbol"] for each in paper.truth()["positions"]] == ["XAUUSD"]
    assert execute(brief(quantity=Decimal("0.01"))).status == "FILLED"
