"""Set up a second factor at the terminal of the installation, and encrypt what is kept of all with a new key."""

import getpass
from io import StringIO
from typing import Any

import segno
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.http import HttpRequest
from django.utils.timezone import now

from accounts import selectors
from accounts.models import User
from accounts.services import entrances, links, second_factor
from accounts.types import ClientInfo
from nexus.core.errors import NexusError
from nexus.core.logs import correlated


class Command(BaseCommand):
    """`manage.py second_factor enrol EMAIL`, `manage.py second_factor reseal`."""

    help = "Set up a second factor (enrol EMAIL), or encrypt all seeds and links with the first key (reseal)."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the two verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        enrol = verbs.add_parser(
            "enrol", help="set up a new device; asks for the password, and a code where there is one"
        )
        enrol.add_argument("email")
        verbs.add_parser("reseal", help="encrypt every seed and link with the first of FIELD_ENCRYPTION_KEYS")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do what the verb says."""
        with correlated():
            try:
                if options["verb"] == "reseal":
                    self.stdout.write(f"Seeds encrypted with the first key: {second_factor.reseal()}.")
                    self.stdout.write(f"Links that wait, encrypted with the first key: {links.reseal()}.")
                else:
                    self._enrol(options["email"])
            except NexusError as exc:
                raise CommandError(exc.detail) from exc

    def _enrol(self, email: str) -> None:
        user = selectors.user_by_email(email)
        password = getpass.getpass(f"Password of {email}: ")
        client = ClientInfo()
        if user is None:
            entrances.check_password(request=HttpRequest(), email=email, password=password, client=client, door="enrol")
            raise CommandError("There is no such user.")
        code = getpass.getpass("Code of the device that goes: ") if second_factor.state_of(user).is_on else ""
        enrolment = second_factor.begin(
            request=HttpRequest(), user=user, password=password, code=code, client=client, at=now()
        )
        finish(self, user, enrolment)


def finish(command: BaseCommand, user: User, enrolment: second_factor.Enrolment) -> None:
    """Show what the authenticator app reads, ask for its first code, and show the recovery codes."""
    picture = StringIO()
    segno.make(enrolment.uri, error="l").terminal(out=picture, compact=True)
    command.stdout.write(picture.getvalue())
    command.stdout.write(f"Read this with an authenticator app, or type there: {enrolment.secret}")
    code = getpass.getpass("Its first code: ")
    confirmed = second_factor.confirm(user=user, code=code.strip(), claims=None, client=ClientInfo(), at=now())
    command.stdout.write("The second factor is on. Keep these recovery codes; each works once:")
    for each in confirmed.recovery_codes:
        command.stdout.write(f"  {each}")
