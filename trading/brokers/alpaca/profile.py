"""One link's settings, typed and checked before anything is sent over it."""

import ipaddress
import re
from dataclasses import dataclass, field

from nexus.core.errors import Refused
from trading.brokers import ids
from trading.brokers.base import Link

LIVE_HOST, PAPER_HOST = "api.alpaca.markets", "paper-api.alpaca.markets"
DATA_URL = "https://data.alpaca.markets"
PAPER_PREFIX = "PA"  # of the account numbers that Alpaca gives to paper accounts
FEEDS = frozenset({"iex", "sip", "delayed_sip"})
DEADLINE_S_MAX = 60.0

_ADDRESS = re.compile(r"(?P<host>127\.[0-9.]+):[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Profile:
    """One link's settings, typed. `url` and `data_url` follow from the link's server, which is a host of Alpaca's."""

    account: str
    is_live: bool
    url: str
    data_url: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    feed: str
    tag: int
    deadline_s: float

    @classmethod
    def of_link(cls, link: Link) -> "Profile":
        """Read the settings. Raises: Refused when they are incomplete or would mix paper and real money."""
        try:
            is_live = {"paper": False, "live": True}[link.settings["mode"]]
            url, data_url = _urls(link.settings["server"])
            key, secret = _key_pair(link)
            profile = cls(
                account=link.account,
                is_live=is_live,
                url=url,
                data_url=data_url,
                key=key,
                secret=secret,
                feed=link.settings.get("feed", "iex"),
                tag=int(link.settings["tag"]),
                deadline_s=float(link.settings.get("deadline_s", "5")),
            )
            if profile.feed not in FEEDS or not 0 < profile.deadline_s <= DEADLINE_S_MAX:
                raise ValueError("its feed or deadline is not valid")
            if not 1 <= profile.tag <= ids.TAG_MAX:
                raise ValueError(f"its tag is not within 1 to {ids.TAG_MAX}")
        except (KeyError, ValueError) as exc:
            raise Refused(f"the link of {link.account} is misconfigured: {exc}", code="LINK_MISCONFIGURED") from exc
        live_server = url == f"https://{LIVE_HOST}"
        if is_live is not live_server or (is_live and link.account.startswith(PAPER_PREFIX)):
            kind = "live" if is_live else "paper"
            words = f"a {kind} link may not reach the account {link.account} at {link.settings['server']}"
            raise Refused(words, code="PAPER_AND_LIVE_MIXED")
        return profile


def _urls(server: str) -> tuple[str, str]:
    """Return where orders go and where quotes come from. A loopback address is an emulator, which has both."""
    if server in {LIVE_HOST, PAPER_HOST}:
        return f"https://{server}", DATA_URL
    address = _ADDRESS.fullmatch(server)
    if address is None or not ipaddress.ip_address(address["host"]).is_loopback:
        raise ValueError(f"{server!r} is neither {PAPER_HOST}, {LIVE_HOST} nor a loopback address")
    return f"http://{server}", f"http://{server}"


def _key_pair(link: Link) -> tuple[str, str]:
    """Find the account's own key among `ACCOUNT:KEY:SECRET` entries; an error never repeats what they hold."""
    for entry in link.settings["keys"].split(","):
        account, _, pair = entry.strip().partition(":")
        key, _, secret = pair.partition(":")
        if account == link.account and key and secret:
            return key, secret
    raise ValueError("there is no key for this account")
