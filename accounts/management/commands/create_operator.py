"""Make one of the first two operators, at the terminal of the installation. All others are agreed to by two of them."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from accounts import selectors
from accounts.management.commands.second_factor import finish
from accounts.services import enrolments, second_factor, staffing, users
from accounts.states import Role
from nexus.audit.types import Actor
from nexus.core.errors import NexusError
from nexus.core.logs import correlated

ACTOR = Actor.system("create_operator")


class Command(BaseCommand):
    """`manage.py create_operator EMAIL [--name NAME] [--link]`."""

    help = "Create one of the first two operators: password and second factor here, or with --link elsewhere."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take who it is."""
        parser.add_argument("email")
        parser.add_argument("--name", default="", help="the full name")
        parser.add_argument(
            "--link", action="store_true", help="print a one-time link instead of asking for a password"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Create the operator."""
        with correlated():
            try:
                if selectors.operators() >= staffing.FOUNDERS:
                    raise CommandError("There are two operators: they create others together (POST /users).")
                if options["link"]:
                    self._link(options["email"], options["name"])
                else:
                    self._here(options["email"], options["name"])
            except NexusError as exc:
                raise CommandError(exc.detail) from exc

    def _here(self, email: str, name: str) -> None:
        password = getpass.getpass(f"New password of {email}: ")
        if getpass.getpass("Once more: ") != password:
            raise CommandError("The two are not the same.")
        user = users.create(email=email, password=password, role=Role.OPERATOR, actor=ACTOR, full_name=name)
        finish(self, user, second_factor.prepare(user=user, at=now(), actor=ACTOR))
        self.stdout.write(f"{email} may log in to the console now.")

    def _link(self, email: str, name: str) -> None:
        token = enrolments.found(email=email, full_name=name, actor=ACTOR, at=now())
        self.stdout.write("Within 72 hours, the operator opens /enrol and sets a password with this token, once:")
        self.stdout.write(f"  {token}")
        self.stdout.write(f"Then the second factor: on /security, or `manage.py second_factor enrol {email}`.")
