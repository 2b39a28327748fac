"""Across a network the gateway serves only who shows a certificate of its authority, and is known by its own."""

import datetime as dt
import socket
import ssl
import stat

import pytest

from nexus.core.errors import Refused, Unreachable
from tests.trading.brokers.mt5.gateway_in_thread import link
from tests.trading.brokers.mt5.test_gateway_process import Place, refuse_to_start
from trading.brokers.base import Link, VenueState
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.gateway import certificates

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Make the certificates of a gateway, and those of a stranger."""
    folder = tmp_path_factory.mktemp("keys")
    certificates.make(folder / "ours", hosts=["localhost", "127.0.0.1"], now=NOW)
    certificates.make(folder / "others", hosts=["localhost", "127.0.0.1"], now=NOW)
    certificates.make(folder / "elsewhere", hosts=["gateway.example"], now=NOW)
    certificates.make(folder / "old", hosts=["127.0.0.1"], now=NOW - dt.timedelta(days=800))
    return folder


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.close()


def server(folder):
    names = {"cert": "server.pem", "key": "server-key.pem", "client_ca": "ca.pem"}
    return {"tls": {key: str(folder / name) for key, name in names.items()}, "listen": "0.0.0.0:0"}


def client(folder, name="client"):
    return {"ca": str(folder / "ca.pem"), "cert": str(folder / f"{name}.pem"), "key": str(folder / f"{name}-key.pem")}


def secure(url):
    return url.replace("http://", "https://")


def test_trades_with_who_shows_a_certificate_of_its_authority_and_with_nobody_else(place, keys, order):
    _, url = place.start("fill", is_free=False, **server(keys / "ours"))

    broker = place.broker(secure(url), **client(keys / "ours"))
    broker.snapshot(symbols=[])
    broker.fills_since(NOW)
    assert broker.submit(order()).state is VenueState.FILLED
    assert broker.submit(order()).state is VenueState.FILLED

    ours, others = keys / "ours", keys / "others"
    for settings in (
        client(others) | {"ca": str(ours / "ca.pem")},  # a stranger who knows our gateway
        client(ours, "server"),  # a certificate of ours that is not for callers
        client(ours) | {"ca": str(others / "ca.pem")},  # we know another gateway
    ):
        stranger = place.broker(secure(url), **settings)
        with pytest.raises(Unreachable):
            stranger.submit(order())
        with pytest.raises(Unreachable):
            stranger.snapshot(symbols=[])
    with pytest.raises(Unreachable):
        place.broker(url).snapshot(symbols=[])
    assert len(place.sends.read_text().split()) == 2


@pytest.mark.parametrize("name", ["elsewhere", "old"])
def test_believes_no_gateway_with_another_s_name_or_an_old_certificate(place, keys, name):
    _, url = place.start("fill", is_free=False, **server(keys / name))

    with pytest.raises(Unreachable):
        place.broker(secure(url), **client(keys / name)).snapshot(symbols=[])


def test_a_caller_who_says_nothing_keeps_nobody_waiting(place, keys):
    _, url = place.start("fill", is_free=False, **server(keys / "ours"))
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))):
        broker = place.broker(secure(url), **client(keys / "ours"))
        assert broker.snapshot(symbols=[]).positions == ()


def test_serves_no_network_without_certificates(place, keys):
    assert "without tls" in refuse_to_start(place, *place.serve(listen="0.0.0.0:0"))
    changes = server(keys / "ours")
    changes["tls"]["key"] = str(keys / "others" / "server-key.pem")
    assert "tls: the certificates cannot be used" in refuse_to_start(place, *place.serve(**changes))
    changes["tls"]["key"] = str(keys / "absent.pem")
    assert "is not there" in refuse_to_start(place, *place.serve(**changes))


def test_makes_certificates_once_with_keys_that_only_their_owner_reads(place, tmp_path):
    out = tmp_path / "keys"
    files = certificates.make(out, hosts=["gateway.example"], now=NOW)

    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files if "key" in file.name)
    assert ssl.create_default_context(cafile=str(out / "ca.pem")).get_ca_certs()
    assert "exists already" in refuse_to_start(place, "certificates", "--out", str(out))


@pytest.mark.parametrize(
    "settings", [{"ca": "x"}, {"ca": "x", "cert": "y", "key": "z"}, {"url": "https://127.0.0.1:1"}]
)
def test_refuses_a_link_with_half_its_certificates_or_an_address_that_does_not_fit(settings):
    with pytest.raises(Refused) as refused:
        Mt5Broker(Link("mt5", "5001", link("http://127.0.0.1:1").settings | settings))
    assert refused.value.code == "LINK_MISCONFIGURED"
