"""Clients of the classic bridges find the emulator behind `import MetaTrader5`; nobody else finds anything."""

import sys
from datetime import UTC, datetime

import pytest
import rpyc

from tests.trading.brokers.mt5.emulator.world import PASSWORD, SERVER, TERMINAL, build
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.classic import ClassicServer


def test_refuses_to_stand_beside_paper_trading():
    with pytest.raises(ValueError, match="paper"):
        ClassicServer(build(mode="wall", quotes="generated").broker, TERMINAL)


def test_classic_client_trades_by_evaluated_text(hedger):
    with ClassicServer(hedger.broker, TERMINAL) as server:
        client = rpyc.classic.connect("127.0.0.1", server.port)
        client.execute("import MetaTrader5 as mt5\nimport datetime")
        sign_in = f"login={hedger.login}, password={PASSWORD!r}, server={SERVER!r}"
        assert client.eval(f"mt5.initialize({TERMINAL!r}, {sign_in})")

        result = client.eval("mt5.order_send({'action': 1, 'symbol': 'EURUSD', 'volume': 0.1, 'magic': 5})")

        assert (result.retcode, result.request.magic) == (mt5.TRADE_RETCODE_DONE, 5)
        until = datetime(2030, 1, 1, tzinfo=UTC)
        window = f"datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), datetime.datetime({until.year}, 1, 1)"
        assert len(client.eval(f"mt5.history_deals_get({window})")) == 2
        client.close()

    assert "MetaTrader5" not in sys.modules


def test_server_needs_its_package(hedger, monkeypatch):
    monkeypatch.setitem(sys.modules, "rpyc", None)
    with pytest.raises(ImportError):
        ClassicServer(hedger.broker, TERMINAL)
