"""Prices that turn an account or an instrument into USD are held to what every quote is held to."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.fakes import paper as paper_broker
from tests.trading.conftest import link
from tests.trading.desk import act, place, position_of
from trading.brokers import registry
from trading.brokers.mt5 import session
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import TradableInstrument
from trading.services import accounts

YEN = {"symbol": "USDJPY", "action": "BUY", "quantity": "0.02", "stop_loss": "149.000"}


class Floor:
    """A trader with an account in euros, who trades yen: three quotes, and how each of them is spoilt."""

    def __init__(self, running: Any) -> None:
        self.paper = running
        self.spoilt: dict[str, Any] = {}

    def quote(self) -> None:
        self.paper.quote("EURUSD", "1.08490", "1.08500")
        self.paper.quote("USDJPY", "150.000", "150.010")

    def age(self, symbol: str, seconds: int) -> None:
        """Let the broker date a quote so many seconds ago."""
        self.spoilt[symbol] = lambda quote: replace(quote, at=quote.at - timedelta(seconds=seconds))


@pytest.fixture
def euros(floor: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Floor]:
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0)
    real = Mt5Broker.snapshot
    with paper_broker.paper(tmp_path, currency="EUR") as running:
        settings.MT5_GATEWAY_URL = running.url
        found = Floor(running)

        def snapshot(self: Mt5Broker, **asked: Any) -> Any:
            shown = real(self, **asked)
            quotes = {name: found.spoilt.get(name, lambda same: same)(each) for name, each in shown.quotes.items()}
            return replace(shown, quotes=quotes)

        monkeypatch.setattr(Mt5Broker, "snapshot", snapshot)
        found.quote()
        yield found
        registry.close()


@pytest.fixture
def client(euros: Floor) -> ApiClient:
    user = UserFactory.create()
    account = link(user)
    accounts.broker_of(account).snapshot(symbols=["EURUSD", "USDJPY"])
    euros.quote()
    return ApiClient().login(user)


def conversion(order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(check for check in order["checks"] if check["name"] == "CONVERSION")
    return found


def test_an_order_is_not_valued_by_a_price_of_yesterday(client, euros):
    euros.age("EURUSD", 86_400)

    order = place(client, YEN)

    assert (order["status"], order["reason"]) == ("REJECTED", "CONVERSION_STALE")
    assert conversion(order)["detail"].startswith("EURUSD: QUOTE_STALE")
    assert euros.paper.deals() == []


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda quote: replace(quote, ask=quote.bid - Decimal("0.1")), "QUOTE_CROSSED"),
        (lambda quote: replace(quote, ask=quote.ask * 2), "SPREAD_EXCEEDS_LIMIT"),
        (lambda quote: replace(quote, bid=Decimal(0)), "QUOTE_NOT_POSITIVE"),
        (lambda quote: replace(quote, at=quote.at + timedelta(seconds=60)), "QUOTE_IN_THE_FUTURE"),
    ],
)
def test_nor_by_one_that_no_order_would_be_traded_on(client, euros, spoil, fault):
    euros.spoilt["EURUSD"] = spoil

    order = place(client, YEN)

    assert (order["status"], order["reason"]) == ("REJECTED", "CONVERSION_UNAVAILABLE")
    assert conversion(order)["detail"].startswith(f"EURUSD: {fault}")


def test_what_is_held_elsewhere_is_not_valued_by_an_old_price_either(client, euros):
    place(client, YEN)
    euros.age("USDJPY", 11)

    order = place(client, {"symbol": "EURUSD", "action": "BUY", "quantity": "0.01", "stop_loss": "1.0800"})

    assert (order["status"], order["reason"]) == ("REJECTED", "CONVERSION_STALE")
    assert conversion(order)["detail"].startswith("USDJPY: QUOTE_STALE")


def test_an_old_conversion_holds_no_close_and_no_tighter_stop_back(client, euros):
    place(client, YEN)
    euros.age("EURUSD", 86_400)
    held = f"/trading/positions/{position_of(client)['id']}"

    assert act(client, held, {"stop_loss": "149.500"}, method="patch").json()["state"] == "DONE"
    wider = act(client, held, {"stop_loss": "148.000"}, method="patch")
    assert wider.status_code == 422
    assert "CONVERSION_STALE (EURUSD: QUOTE_STALE" in wider.json()["detail"]
    assert act(client, f"{held}/close").json()["status"] == "FILLED"
    assert euros.paper.truth()["positions"] == []


def test_a_position_that_cannot_be_valued_can_be_closed(client, euros):
    place(client, YEN)
    TradableInstrument.objects.filter(symbol="USDJPY").update(usd_symbol="JPYUSD")  # no such pair, or none any more

    assert place(client, YEN)["reason"] == "CONVERSION_UNAVAILABLE"
    order = act(client, f"/trading/positions/{position_of(client)['id']}/close").json()

    assert (order["status"], order["reason"]) == ("FILLED", "")
    assert euros.paper.truth()["positions"] == []


def test_a_pair_outside_its_band_values_nothing(client, euros, settings):
    settings.PRICE_BANDS = {"EURUSD": (Decimal("1.2"), Decimal("1.4"))}

    order = place(client, YEN)

    assert (order["status"], order["reason"]) == ("REJECTED", "CONVERSION_UNAVAILABLE")
    assert conversion(order)["detail"].startswith("EURUSD: QUOTE_OUTSIDE_BAND")
