"""Calls that we make to servers that others have named: https alone, to public addresses, and nowhere else.

A name is resolved once and the connection goes to that very address, so that a name cannot mean one server when it is
looked at and another, inside our own network, when it is called. Source: security reference §13.
"""

import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx

Resolve = Callable[[str, int], list[str]]

HTTPS_PORT = 443
CARRIES_IPV4 = ipaddress.ip_network("64:ff9b::/96")  # NAT64: its last 32 bits are an address of IPv4


class NotPublic(Exception):
    """The address is not https, or its name leads into our own network, or nowhere."""


def resolved(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a name. Raises: OSError."""
    return [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(text: str) -> bool:
    """Tell whether an address belongs to the internet at large, also where it is one of IPv4 in one of IPv6."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:  # such as one with a zone, which is of this machine's own links
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in CARRIES_IPV4:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast


def post(
    url: str,
    *,
    content: bytes,
    headers: dict[str, str],
    timeout_s: float,
    transport: httpx.BaseTransport | None = None,
    resolve: Resolve = resolved,
) -> httpx.Response:
    """Post to a public server by https; a redirect is an answer, and is not followed.

    The certificate has to be of the name, which TLS and the server are told; only the connection goes by the address.
    Raises: NotPublic, httpx.HTTPError, httpx.InvalidURL.
    """
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port or HTTPS_PORT
    if parts.scheme != "https" or not host:
        raise NotPublic("it is not https")
    try:
        addresses = resolve(host, port)
    except OSError as exc:
        raise NotPublic("its name has no address") from exc
    if not addresses or not all(map(is_public, addresses)):
        raise NotPublic("its address is not public")
    named = httpx.URL(url)
    request = httpx.Request(
        "POST", named.copy_with(host=addresses[0]), content=content,
        headers={**headers, "Host": named.netloc.decode("ascii")},
        extensions={"sni_hostname": named.raw_host.decode("ascii"), "timeout": httpx.Timeout(timeout_s).as_dict()},
    )  # fmt: skip
    with httpx.Client(transport=transport, follow_redirects=False, trust_env=False) as client:
        return client.send(request)
