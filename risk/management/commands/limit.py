"""`manage.py limit`: show limits, lower one at once, or raise one, two people together."""

import getpass
from argparse import ArgumentTypeError
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from accounts import selectors as people
from accounts.services import entrances
from accounts.types import Principal
from nexus.audit.types import Actor
from nexus.core import money
from nexus.core.errors import NexusError
from nexus.core.logs import correlated
from risk import selectors
from risk.services import changes, limits
from risk.states import LimitKind, LimitScope


class Command(BaseCommand):
    """Show limits, lower one, propose to raise one, and decide a proposal as a second person."""

    help = "Show limits; lower one at once; propose to raise one; approve or refuse a proposal as a second person."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("show", help="limits in force, and open proposals")
        for verb, words in (("lower", "tighten a limit, at once"), ("propose", "ask for a limit to be raised")):
            change = verbs.add_parser(verb, help=words)
            change.add_argument("scope", choices=[scope.value for scope in LimitScope])
            change.add_argument("kind", choices=[kind.value for kind in LimitKind])
            change.add_argument("value", type=_number)
            change.add_argument("--key", default="", help="a user's email, an account's number, or a symbol")
            self._add_person(change)
        for verb in ("approve", "refuse"):
            decide = verbs.add_parser(verb, help=f"{verb} a proposal of somebody else")
            decide.add_argument("change", type=int)
            self._add_person(decide)

    def _add_person(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="why, for the audit")
        parser.add_argument("--as", dest="email", required=True, help="your operator's email")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do what the verb says."""
        with correlated():
            try:
                getattr(self, f"_{options['verb']}")(options)
            except NexusError as exc:
                raise CommandError(exc.detail) from exc

    def _show(self, _options: dict[str, Any]) -> None:
        for limit in limits.ceilings():
            self.stdout.write(f"{limit.kind:<20} {money.as_text(limit.value):>14}  settings")
        for row in selectors.limits_in_force():
            owner = f"{row.scope} {row.key}".strip()
            self.stdout.write(f"{row.kind:<20} {money.as_text(row.value):>14}  {owner}: {row.reason}")
        for change in selectors.open_changes(at=now()):
            owner = f"{change.scope} {change.key}".strip()
            self.stdout.write(
                f"proposal {change.pk}: {change.kind} of {owner} to {money.as_text(change.value)}, "
                f"by {change.proposed_by}: {change.reason}"
            )

    def _lower(self, options: dict[str, Any]) -> None:
        operator = self._operator(options["email"])
        row = changes.lower(
            scope=LimitScope(options["scope"]),
            key=_key(options),
            kind=LimitKind(options["kind"]),
            value=options["value"],
            reason=options["reason"],
            actor=Actor.user(operator.public_id),
            by=operator,
            at=now(),
        )
        self.stdout.write(f"{row} is in force.")

    def _propose(self, options: dict[str, Any]) -> None:
        change = changes.propose(
            scope=LimitScope(options["scope"]),
            key=_key(options),
            kind=LimitKind(options["kind"]),
            value=options["value"],
            reason=options["reason"],
            by=self._operator(options["email"]),
            at=now(),
        )
        self.stdout.write(f"Proposal {change.pk} is stored. Another operator has to decide it.")

    def _approve(self, options: dict[str, Any]) -> None:
        operator = self._operator(options["email"])
        row = changes.approve(change_id=options["change"], by=operator, reason=options["reason"], at=now())
        self.stdout.write(f"{row} is in force.")

    def _refuse(self, options: dict[str, Any]) -> None:
        operator = self._operator(options["email"])
        change = changes.refuse(change_id=options["change"], by=operator, reason=options["reason"], at=now())
        self.stdout.write(f"Proposal {change.pk} is {change.state}.")

    def _operator(self, email: str) -> Principal:
        password = getpass.getpass(f"Password of {email}: ")
        code = getpass.getpass("Code: ").strip()
        return entrances.enter_command(email=email, password=password, command="limit", code=code)


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as exc:
        raise ArgumentTypeError(f"write a plain decimal number, not {text!r}") from exc


def _key(options: dict[str, Any]) -> str:
    """Return the key as limits are stored under: a user is named by email and kept by number."""
    key: str = options["key"]
    if options["scope"] != LimitScope.USER:
        return key
    user = people.user_by_email(key)
    if user is None:
        raise CommandError(f"No user has the email {key!r}.")
    return str(user.pk)
