"""Another process of this machine may hold the strings, if it knows the token; nobody else may."""

import json
import socket
import stat
from pathlib import Path

import pytest

from tests.trading.brokers.mt5.emulator.world import HEDGER, NETTER, SERVER
from trading.brokers.mt5.emulator import ControlClient, ControlError, ControlServer, serve
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.emulator.control import Control
from trading.brokers.mt5.emulator.controls import wire

TOKEN = "a token of the tests"


@pytest.fixture(params=["unix", "loopback"])
def client(request, hedger, tmp_path):
    """Return a client of the hedger's broker, over either kind of socket."""
    address = str(tmp_path / "control") if request.param == "unix" else "127.0.0.1:0"
    with serve(hedger.control, address, TOKEN) as server:
        yield ControlClient(server.address, TOKEN)


def test_client_does_what_the_control_does(hedger, client):
    answer = client.manual_trade(HEDGER, "EURUSD", 0, "0.10", sl="1.08")
    deposit = client.balance(HEDGER, "50.5", comment="Deposit")

    assert (answer.retcode, answer.order) == (mt5.TRADE_RETCODE_DONE, hedger.mt5.positions_get()[0].ticket)
    assert client.truth(HEDGER) == json.loads(json.dumps(hedger.control.truth(HEDGER)))
    assert client.truth(HEDGER)["deals"][-1]["ticket"] == deposit
    assert client.now_us == hedger.control.now_us
    client.advance(1.5)
    assert client.tick("EURUSD", "1.08600", "1.08610").bid == 108600
    assert client.manual_modify(HEDGER, answer.order, sl="1.085").retcode == mt5.TRADE_RETCODE_DONE
    assert client.manual_close(HEDGER, answer.order, "0.04").volume == 4_000_000
    assert client.foreign_program_trade(HEDGER, "USDJPY", 1, "0.1").retcode == mt5.TRADE_RETCODE_DONE
    waiting = client.manual_order(HEDGER, "EURUSD", 2, "0.1", "1.07")
    assert client.manual_cancel(HEDGER, waiting.order).retcode == mt5.TRADE_RETCODE_DONE
    client.verify()


def test_client_injects_and_lifts_faults(hedger, client):
    fault = client.inject("retcode", times=None, symbol="EURUSD")
    assert hedger.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_REJECT
    assert [row["name"] for row in client.faults()] == ["retcode"]

    client.lift(fault)

    assert hedger.buy("EURUSD", 0.1).retcode == mt5.TRADE_RETCODE_DONE
    assert len(client.fault_log()) == 1
    assert client.faults() == []


def test_client_shows_accounts_and_statements(hedger, client):
    hedger.buy("EURUSD", 0.1, sl=1.08, magic=5)
    hedger.place("EURUSD", 2, 0.2, 1.07)

    assert [row["login"] for row in client.accounts()] == [HEDGER, NETTER]
    assert client.accounts()[0]["server"] == SERVER
    shown = client.statement(HEDGER)
    assert shown["figures"]["equity"] == "9999.00"
    assert (shown["positions"][0]["volume"], shown["positions"][0]["sl"]) == ("0.10", "1.08000")
    assert (shown["orders"][0]["price"], shown["orders"][0]["volume"]) == ("1.07000", "0.20")


def test_refusals_cross_the_wire_by_name(client):
    with pytest.raises(ControlError, match="no method") as refused:
        client._ask("terminal", ("C:/",), {})
    assert refused.value.kind == "AttributeError"
    with pytest.raises(ControlError, match="cash") as refused:
        client.balance(HEDGER, "1", 0)
    assert refused.value.kind == "ValueError"
    with pytest.raises(AttributeError):
        _ = client.exit_process


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "!"])
def test_wrong_token_changes_nothing(hedger, tmp_path, token):
    before = hedger.truth()
    address = str(tmp_path / "control")
    with serve(hedger.control, address, TOKEN), pytest.raises(ControlError, match="token"):
        ControlClient(address, token).balance(HEDGER, "1000000")

    assert hedger.truth() == before


def test_nobody_else_can_reach_it(hedger, tmp_path):
    for address in ("0.0.0.0:0", "192.168.0.1:7000", "example.org:80"):
        with pytest.raises(ValueError, match="loopback"):
            ControlServer(hedger.control, address, TOKEN)
    with pytest.raises(ValueError, match="token"):
        ControlServer(hedger.control, "127.0.0.1:0", "short")
    path = tmp_path / "control"
    with serve(hedger.control, str(path), TOKEN):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        ControlClient(str(path), TOKEN).verify()


def test_socket_of_a_killed_process_is_replaced(hedger, tmp_path):
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert Path(path).exists()

    with serve(hedger.control, path, TOKEN):
        ControlClient(path, TOKEN).verify()


def test_garbage_is_answered_not_obeyed(hedger, tmp_path):
    with serve(hedger.control, str(tmp_path / "control"), TOKEN) as server, wire.connect(server.address) as connection:
        connection.sendall(b"nonsense\n[]\n")
        stream = connection.makefile("rb")
        assert b"JSONDecodeError" in stream.readline()
        assert b"AttributeError" in stream.readline()
        stream.close()


def test_every_method_of_the_wire_exists():
    assert [name for name in wire.METHODS if not hasattr(Control, name)] == []
