"""A gateway on another machine: reached by https with certificates that the settings name, linked by its address."""

import datetime as dt
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.states import Role
from nexus.core.errors import Refused
from tests.factories.accounts import UserFactory
from tests.terminal import Terminal as Typist
from tests.trading.brokers.mt5.fake_terminal import LOGIN, SERVER, FakeTerminal
from tests.trading.brokers.mt5.gateway_in_thread import TOKEN, gateway
from tests.trading.brokers.mt5.test_gateway_process import Place
from tests.trading.brokers.mt5.test_gateway_tls import client, secure, server
from trading.brokers import registry
from trading.brokers.mt5.gateway import certificates
from trading.brokers.mt5.gateway.terminal import Terminal
from trading.models import TradingAccount
from trading.services import accounts


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The certificates of a gateway and of who calls it."""
    certificates.make(tmp_path / "keys", hosts=["localhost", "127.0.0.1"], now=dt.datetime.now(dt.UTC))
    return tmp_path / "keys"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Where gateways are started."""
    running = Place(tmp_path)
    yield running
    registry.close()
    running.close()


@pytest.fixture
def link(db, settings, monkeypatch) -> Callable[..., str]:
    """Link an account from the command line, and return what was said."""
    monkeypatch.setattr("getpass.getpass", Typist())
    operator, person = UserFactory.create(role=Role.OPERATOR), UserFactory.create()
    settings.GATEWAY_TOKEN = TOKEN

    def run(*words: str, server: str = SERVER) -> str:
        said = StringIO()
        call_command(
            "link_account", person.email, "mt5", str(LOGIN), server, *words, "--as", operator.email, stdout=said
        )
        return said.getvalue()

    return run


@pytest.mark.django_db(transaction=True)
def test_an_account_is_linked_at_a_gateway_of_its_own_and_reached_by_certificates(link, place, keys, settings):
    _, url = place.start(None, **server(keys) | {"listen": "127.0.0.1:0"}, is_free=False)
    with pytest.raises(CommandError):
        link("--gateway", secure(url))  # without certificates nobody is let in

    files = client(keys)
    settings.MT5_GATEWAY_CA, settings.MT5_GATEWAY_CERT, settings.MT5_GATEWAY_KEY = (
        files[name] for name in ("ca", "cert", "key")
    )
    assert "is linked" in link("--gateway", secure(url))

    account = TradingAccount.objects.get()
    assert (account.gateway_url, account.is_live) == (secure(url), False)
    link()  # said again without an address, it stays where it is
    account.refresh_from_db()
    assert account.gateway_url == secure(url)
    assert accounts.broker_of(account).snapshot(symbols=["EURUSD"]).quotes["EURUSD"].bid > 0


@pytest.mark.django_db(transaction=True)
def test_a_brokers_own_demo_account_is_paper_where_its_server_is_named_as_such(link, tmp_path, settings, monkeypatch):
    fake = FakeTerminal()
    fake.server_now = "Broker-Demo"
    terminal = Terminal(fake, {}, LOGIN, "Broker-Demo", time.time, lambda: None)
    with gateway(None, tmp_path / "journal.db", terminal=terminal) as running:
        settings.MT5_GATEWAY_URL = running.url
        with pytest.raises(CommandError, match="paper link may not use the server Broker-Demo"):
            link(server="Broker-Demo")
        settings.LIVE_TRADING_ENABLED = True
        with pytest.raises(CommandError, match="says that account"):
            link("--live", server="Broker-Demo")

        settings.MT5_DEMO_SERVERS = "Other-Demo, Broker-Demo"
        assert "is linked" in link(server="Broker-Demo")

        account = TradingAccount.objects.get()
        assert account.is_live is False
        shown = fake.account_info()
        monkeypatch.setattr(fake, "account_info", lambda: shown._replace(trade_mode=2))
        with pytest.raises(Refused, match="real money"):  # whatever its server is called
            accounts.broker_of(account).snapshot(symbols=[])
        with pytest.raises(CommandError, match="live link may not use the server Other-Demo"):
            link("--live", server="Other-Demo")
        registry.close()
