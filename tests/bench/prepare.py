"""Fill a new database: traders without a wire, traders behind gateways, one who reads, and their tokens.

Takes: a JSON file with `users`, `gateways` (their addresses), `server`, `logins`, and `notes` to write the result to.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus.settings")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.http import HttpRequest  # noqa: E402
from django.test import override_settings  # noqa: E402
from django.utils.timezone import now  # noqa: E402

from accounts.models import User  # noqa: E402
from accounts.services import sessions, users  # noqa: E402
from accounts.states import Role  # noqa: E402
from accounts.types import ClientInfo  # noqa: E402
from nexus.audit.types import Actor  # noqa: E402
from risk.services import sights  # noqa: E402
from tests.bench import nowire  # noqa: E402
from trading.models import TradingAccount  # noqa: E402
from trading.services import accounts, instruments, live  # noqa: E402

ACTOR = Actor.system("bench")
PASSWORD = "a-long-walk-on-the-beach-7"


def prepare(document: dict[str, Any]) -> dict[str, Any]:
    """Create everything, the traders without a wire first: their ids follow each other."""
    call_command("migrate", interactive=False, verbosity=0)
    nowire.install()
    with override_settings(PASSWORD_HASHERS=["tests.hashers.CountedArgon2"]):
        direct = [_trader(f"direct-{n}", nowire.VENUE, f"direct-{n}") for n in range(document["users"])]
        reader = _trader("reader", nowire.VENUE, nowire.HOLDER)
        behind = [
            _trader(f"behind-{login}", "mt5", str(login), server=document["server"], url=url)
            for login, url in zip(document["logins"], document["gateways"], strict=True)
        ]
    operator = users.create(email="operator@bench.example", password=PASSWORD, role=Role.OPERATOR, actor=ACTOR)
    pair = sessions.login(request=HttpRequest(), email=operator.email, password=PASSWORD, client=ClientInfo(), at=now())
    for _, account, _ in [*direct, *behind]:
        _warm(account)
    return {
        "direct": [_note(each) for each in direct],
        "behind": [_note(each) for each in behind],
        "reader": _note(reader),
        "operator": {"token": pair.access_token},
        "quote": _quote(behind[0][1]) if behind else None,
    }


def _trader(name: str, venue: str, venue_account: str, *, server: str = "", url: str = "") -> tuple[User, Any, str]:
    user = users.create(email=f"{name}@bench.example", password=PASSWORD, role=Role.TRADER, actor=ACTOR)
    with override_settings(MT5_GATEWAY_URL=url):
        account = accounts.link(
            user_id=user.pk, name=name, venue=venue, venue_account=venue_account, server=server, is_live=False,
            actor=ACTOR, at=now(),
        )  # fmt: skip
    sights.note(account_id=account.pk)
    if url:
        TradingAccount.objects.filter(pk=account.pk).update(gateway_url=url)
        account.gateway_url = url
    pair = sessions.login(request=HttpRequest(), email=user.email, password=PASSWORD, client=ClientInfo(), at=now())
    return user, account, pair.access_token


def _warm(account: TradingAccount) -> None:
    """Read the instrument once, as the first order of every account does."""
    instruments.get(account=account, broker=accounts.broker_of(account), symbol="EURUSD", at=now())


def _quote(account: TradingAccount) -> dict[str, str]:
    quote = live.quote(account, symbol="EURUSD")
    return {"bid": str(quote.bid), "ask": str(quote.ask)}


def _note(made: tuple[User, Any, str]) -> dict[str, Any]:
    user, account, token = made
    return {"user": user.pk, "account": account.pk, "token": token}


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(given["notes"]).write_text(json.dumps(prepare(given)), encoding="utf-8")
