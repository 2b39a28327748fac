"""One link's settings, typed and checked before anything is sent over it."""

import math
from dataclasses import dataclass
from datetime import datetime

from nexus.core.errors import Refused
from trading.brokers import ids
from trading.brokers.base import Link
from trading.brokers.mt5.terms import Filling

PAPER_PREFIX = "Paper-"


@dataclass(frozen=True, slots=True)
class Profile:
    """One link's settings, typed. `fillings` is the policy, in order of preference; `since_s`, in UTC, since when this
    gateway is the account's.
    """

    account: str
    login: int
    server: str
    is_paper: bool
    tag: int
    fillings: tuple[Filling, ...]
    since_s: float = -math.inf

    @classmethod
    def of_link(cls, link: Link) -> "Profile":
        """Read the settings. Raises: Refused when they are incomplete or would mix paper and real money."""
        since = link.settings.get("since")
        try:
            profile = cls(
                account=link.account,
                login=int(link.settings["login"]),
                server=link.settings["server"],
                is_paper={"paper": True, "live": False}[link.settings["mode"]],
                tag=int(link.settings["tag"]),
                fillings=tuple(Filling[name.strip()] for name in link.settings.get("fillings", "FOK").split(",")),
                since_s=-math.inf if since is None else datetime.fromisoformat(since).timestamp(),
            )
        except (KeyError, ValueError) as exc:
            raise Refused(f"the link of {link.account} is misconfigured: {exc}", code="LINK_MISCONFIGURED") from exc
        if not 1 <= profile.tag <= ids.TAG_MAX:
            raise Refused(f"the tag of {link.account} is not within 1 to {ids.TAG_MAX}", code="LINK_MISCONFIGURED")
        demo_servers = {name.strip() for name in link.settings.get("demo_servers", "").split(",")}
        is_pretend = profile.server.startswith(PAPER_PREFIX) or profile.server in demo_servers
        if profile.is_paper is not is_pretend:
            kind = "paper" if profile.is_paper else "live"
            raise Refused(f"a {kind} link may not use the server {profile.server}", code="PAPER_AND_LIVE_MIXED")
        return profile
