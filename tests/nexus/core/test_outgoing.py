"""Calls to servers that others have named: https, public addresses, the address that was looked at, no redirect."""

from typing import Any

import httpx
import pytest

from nexus.core import outgoing

PUBLIC, URL = "93.184.215.14", "https://witness.example:8443/seals?key=hush"


def call(url: str = URL, *, addresses: list[str], status: int = 200, **headers: str) -> tuple[int, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, headers=headers)

    got = outgoing.post(
        url, content=b"x", headers={}, timeout_s=5, transport=httpx.MockTransport(answer),
        resolve=lambda _host, _port: addresses,
    )  # fmt: skip
    return got.status_code, asked


def test_the_connection_goes_to_the_address_and_tls_and_the_server_are_told_the_name():
    status, (asked,) = call(addresses=[PUBLIC, "2606:2800:21f::1"])

    assert (status, str(asked.url)) == (200, f"https://{PUBLIC}:8443/seals?key=hush")
    assert (asked.headers["host"], asked.extensions["sni_hostname"]) == ("witness.example:8443", "witness.example")
    assert asked.extensions["timeout"]["connect"] == 5


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.1", "100.64.0.1", "224.0.0.1",
        "240.0.0.1", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::", "nonsense",
    ],
)  # fmt: skip
def test_what_is_not_public_is_not_called_even_beside_a_public_one(address):
    with pytest.raises(outgoing.NotPublic):
        call(addresses=[PUBLIC, address])


def test_the_name_is_resolved_once_however_it_is_answered_the_next_time():
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(200)

    def post() -> Any:
        return outgoing.post(
            URL, content=b"", headers={}, timeout_s=5, transport=httpx.MockTransport(answer),
            resolve=lambda _host, _port: next(answers),
        )  # fmt: skip

    post()
    with pytest.raises(outgoing.NotPublic):
        post()
    assert asked == [PUBLIC]


def test_a_redirect_is_an_answer():
    assert call(addresses=[PUBLIC], status=302, location="https://10.0.0.1/")[0] == 302


@pytest.mark.parametrize("url", ["http://witness.example/", "https:///seals", "file:///etc/passwd"])
def test_only_https_is_called(url):
    with pytest.raises(outgoing.NotPublic):
        call(url, addresses=[PUBLIC])


def test_the_system_itself_is_asked_for_names():
    with pytest.raises(outgoing.NotPublic, match="not public"):
        outgoing.post("https://localhost/", content=b"", headers={}, timeout_s=5)
