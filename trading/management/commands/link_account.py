"""`manage.py link_account`: link somebody's account at a venue, after asking the venue what it is."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from accounts import selectors as people
from accounts.services import entrances
from nexus.audit.types import Actor
from nexus.core.errors import NexusError, OutsideError
from trading.brokers.registry import BROKERS
from trading.services import accounts


class Command(BaseCommand):
    """Link an account at a venue to a person. Safe to repeat."""

    help = "Link somebody's account at a venue, after asking the venue what it is. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define who, where and which."""
        parser.add_argument("email", help="whose account it is")
        parser.add_argument("venue", choices=sorted(BROKERS))
        parser.add_argument("account", help="the account's number or login at the venue")
        parser.add_argument("server", help="the venue's server, as docs/brokers.md says")
        parser.add_argument("--name", default="", help="what the person calls it")
        parser.add_argument("--gateway", help="where its gateway listens, when not at MT5_GATEWAY_URL")
        parser.add_argument("--live", action="store_true", help="it holds real money")
        parser.add_argument("--as", dest="operator", required=True, help="your operator's email")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Link it and print its id."""
        operator = options["operator"]
        password = getpass.getpass(f"Password of {operator}: ")
        try:
            entered = entrances.enter_command(email=operator, password=password, command="link_account")
            person = people.user_by_email(options["email"])
            if person is None:
                raise CommandError(f"Nobody goes by {options['email']}.")
            account = accounts.link(
                user_id=person.pk,
                name=options["name"] or f"{options['venue']} {options['account']}",
                venue=options["venue"],
                venue_account=options["account"],
                server=options["server"],
                is_live=options["live"],
                gateway_url=options["gateway"],
                actor=Actor.user(entered.public_id),
                at=now(),
            )
        except (NexusError, OutsideError) as exc:
            raise CommandError(str(exc)) from exc
        if account.user_id != person.pk:
            raise CommandError(f"{account} is linked to somebody else already.")
        self.stdout.write(f"{account} is linked to {options['email']}: {account.public_id}")
