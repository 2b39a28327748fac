"""The first trade speaks the public API, word for word, and never trades twice by itself."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from nexus.local import first_trade
from nexus.local.first_trade import TradeFailed
from nexus.local.folder import open_folder

BASE = "http://127.0.0.1:1"


class Api:
    """The public API as far as a first trade sees it."""

    def __init__(self, *, ask: str, status: str = "FILLED", position: bool = False) -> None:
        self.quote = {
            "bid": str(Decimal(ask) - Decimal("0.00006")), "ask": ask, "at": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        self.order = {"id": 7, "symbol": "EURUSD", "status": status, "quantity": "0.1", "fills": []}
        self.has_position = position
        self.executed: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        answers: dict[str, Any] = {
            "/auth/login": {"access_token": "token", "refresh_token": "other"},
            "/trading/quotes/EURUSD": self.quote,
            "/trading/ledger/7": self.order,
            "/trading/ledger": {"results": [self.order]},
            "/trading/positions": {"results": [{"id": 3, "symbol": "EURUSD"}] if self.has_position else []},
        }
        if path != "/auth/login":
            assert request.headers["Authorization"] == "Bearer token"
        if path == "/trading/execute":
            assert request.headers["Idempotency-Key"]
            self.executed.append(request.content.decode())
            self.has_position = self.order["status"] == "FILLED"
            return httpx.Response(201, json=self.order)
        if path == "/trading/reconcile":
            assert request.method == "POST"
            return httpx.Response(200, json={"results": [{"account": "a", "status": "CLEAN", "discrepancy_usd": "0"}]})
        return httpx.Response(200, json=answers[path])


@pytest.fixture
def folder(tmp_path):
    """A data folder with a demo trader."""
    folder = open_folder({"NEXUS_DATA_DIR": str(tmp_path)})
    folder.demo.write_text(json.dumps({"people": {"trader": {"email": "trader@example.com", "password": "x"}}}))
    return folder


def test_sends_the_briefs_request_as_printed_when_the_market_is_there(folder, capsys):
    api = Api(ask="1.08503")

    first_trade.run(folder, BASE, transport=httpx.MockTransport(api))

    printed = (
        '{"symbol": "EURUSD", "action": "BUY", "quantity": 0.1, "entry_price": 1.0850, '
        '"stop_loss": 1.0800, "take_profit": 1.0900}'
    )
    assert api.executed == [printed]
    assert "FILLED" in capsys.readouterr().out


def test_moves_all_three_prices_alike_when_the_market_is_elsewhere(folder, capsys):
    api = Api(ask="1.12131")

    first_trade.run(folder, BASE, transport=httpx.MockTransport(api))

    body = json.loads(api.executed[0], parse_float=Decimal)
    assert (body["entry_price"], body["stop_loss"], body["take_profit"]) == (
        Decimal("1.12131"),
        Decimal("1.11631"),
        Decimal("1.12631"),
    )
    assert "moved by +0.03631" in capsys.readouterr().out


def test_shows_the_first_trade_again_instead_of_a_second(folder, capsys):
    api = Api(ask="1.0850", position=True)

    first_trade.run(folder, BASE, transport=httpx.MockTransport(api))

    assert api.executed == []
    assert "already holds a position" in capsys.readouterr().out


def test_fails_loudly_when_the_order_is_not_filled(folder):
    api = Api(ask="1.0850", status="REJECTED")

    with pytest.raises(TradeFailed, match="REJECTED"):
        first_trade.run(folder, BASE, transport=httpx.MockTransport(api))


def test_goes_on_where_a_stop_or_a_limit_refuses_it_and_an_earlier_run_has_traded(folder, capsys):
    """Else nobody could ease the stop at the console: nothing would run."""
    folder.traded.write_text('{"order": 6}')
    api = Api(ask="1.08503", status="REJECTED")
    api.order |= {"rejected_by": "LOCAL", "reason": "TRADING_HALTED"}

    first_trade.run(folder, BASE, transport=httpx.MockTransport(api))

    assert len(api.executed) == 1
    assert "Nothing was traded this time: LOCAL TRADING_HALTED (docs/refusals.md)" in capsys.readouterr().out
    assert folder.traded.read_text() == '{"order": 6}'


def test_fails_loudly_again_when_the_broker_refuses(folder):
    folder.traded.write_text('{"order": 6}')
    api = Api(ask="1.08503", status="REJECTED")
    api.order |= {"rejected_by": "BROKER", "reason": "BROKER_NO_MONEY"}

    with pytest.raises(TradeFailed, match="BROKER_NO_MONEY"):
        first_trade.run(folder, BASE, transport=httpx.MockTransport(api))


def test_says_what_the_api_answered(folder):
    with pytest.raises(TradeFailed, match=r"POST /auth/login answered 503: \{\"title\""):
        first_trade.run(
            folder, BASE, transport=httpx.MockTransport(lambda _: httpx.Response(503, json={"title": "Down"}))
        )


def test_it_waits_for_a_price_whose_time_is_known(monkeypatch):
    """A gateway that was just started shows prices as older than they are."""
    api, asked = Api(ask="1.08500"), []

    def later(_seconds: float) -> None:
        asked.append(dict(api.quote))
        api.quote["at"] = datetime.now(UTC).isoformat()

    api.quote["at"] = (datetime.now(UTC) - timedelta(hours=11)).isoformat()
    monkeypatch.setattr("time.sleep", later)
    client = first_trade.Client(
        "http://127.0.0.1:1", first_trade.Person("a@b.example", "x"), transport=httpx.MockTransport(api)
    )

    assert client.quote(None) == (Decimal("1.08494"), Decimal("1.08500"))
    assert len(asked) == 1
