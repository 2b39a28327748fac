"""An account that is only looked at keeps the protocol's promises: the emulator's always, a real one's on demand."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contracts import looking
from tests.contracts.looking import LOOKS, Place
from tests.trading.brokers.mt5.fake_terminal import LOGIN, SERVER
from tests.trading.brokers.mt5.gateway_in_thread import gateway
from trading.brokers.base import Broker
from trading.brokers.mt5.gateway.config import TerminalConfig
from trading.brokers.mt5.gateway.terminal import open_terminal

REAL = looking.from_environment(os.environ)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The emulator behind our gateway, on wall time."""
    folder: Path = tmp_path_factory.mktemp("looking")
    options = {
        "mode": "wall", "csv": {}, "margin_mode": "hedging", "store": folder / "broker.db", "seed": 11, "speed": 1,
        "start": "", "currency": "USD", "leverage": 100, "balance": "10000", "always_open": True,
        "tick_interval_ms": 50,
    }  # fmt: skip
    terminal = open_terminal(TerminalConfig("emulator", LOGIN, "paper-password", SERVER, options))
    with gateway(None, folder / "journal.db", terminal=terminal) as running:
        running.journal.created_at -= 60
        yield Place(running.link(), "EURUSD")


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.__name__)
def test_an_emulated_account_keeps_what_is_promised(emulated: Place, look: Callable[[Broker, Place], None]) -> None:
    _look(look, emulated)


@pytest.mark.skipif(REAL is None, reason="DEMO_GATEWAY_URL names no gateway")
@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.__name__)
def test_a_real_account_keeps_what_is_promised(look: Callable[[Broker, Place], None]) -> None:
    assert REAL is not None
    _look(look, REAL)


def _look(look: Callable[[Broker, Place], None], place: Place) -> None:
    broker = place.broker
    try:
        look(broker, place)
    finally:
        broker.close()


def test_the_environment_names_the_account() -> None:
    given = {
        "DEMO_GATEWAY_URL": "https://there:8765", "DEMO_GATEWAY_TOKEN": "t", "DEMO_LOGIN": "12",
        "DEMO_SERVER": "B-Demo",
               "DEMO_CA": "ca.pem", "DEMO_CERT": "c.pem", "DEMO_KEY": "k.pem", "DEMO_SYMBOL": "EURUSD.m",
    }  # fmt: skip
    place = looking.from_environment(given)

    assert place is not None
    assert (place.symbol, place.link.account) == ("EURUSD.m", "12")
    assert place.link.settings == {
        "url": "https://there:8765", "token": "t", "login": "12", "server": "B-Demo", "tag": "2047", "mode": "paper",
        "demo_servers": "B-Demo",        "ca": "ca.pem", "cert": "c.pem", "key": "k.pem",
    }  # fmt: skip
    assert looking.from_environment({}) is None


def test_nothing_that_looks_can_send() -> None:
    text = Path(looking.__file__).read_text(encoding="utf-8")

    for verb in ("submit", "cancel", "change_order", "change_stops", "close_by"):
        assert f".{verb}(" not in text
