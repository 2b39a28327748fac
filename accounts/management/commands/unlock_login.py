"""Unlock a login, or an address: whoever passed the limits of attempts may try again."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from accounts.services import entrances, lockout
from nexus.audit.types import Actor
from nexus.core.errors import NexusError
from nexus.core.logs import correlated


class Command(BaseCommand):
    """`manage.py unlock_login OPERATOR (--email EMAIL | --ip ADDRESS) --reason WHY`."""

    help = "Let a name, or an address, try to log in again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take who unlocks, what, and why."""
        parser.add_argument("operator", help="email of the operator who does this")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--email", help="the name that is locked")
        what.add_argument("--ip", help="the address that is locked")
        parser.add_argument("--reason", required=True)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Unlock, as an operator."""
        password = getpass.getpass(f"Password of {options['operator']}: ")
        with correlated():
            try:
                operator = entrances.enter_command(email=options["operator"], password=password, command="unlock_login")
                actor = Actor.user(operator.public_id)
                if options["email"]:
                    opened = lockout.unlock(email=options["email"], reason=options["reason"], actor=actor, at=now())
                else:
                    opened = lockout.unlock_address(ip=options["ip"], reason=options["reason"], actor=actor, at=now())
            except NexusError as exc:
                raise CommandError(exc.detail) from exc
        self.stdout.write(f"Locks opened: {opened}.")
