"""`manage.py emergency_stop`: stop, show, sweep and ease from the command line, with nothing but the database."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError
from django.utils.timezone import now

from accounts import selectors as people
from accounts.services import entrances
from accounts.types import Principal
from nexus.audit.types import Actor
from nexus.core.errors import NexusError
from nexus.core.logs import correlated
from risk.states import ControlScope, StopLevel, Sweep
from trading import selectors
from trading.services import brakes, emergency, resuming, sweepers
from trading.services.brakes import Brake

TURN_S = 60.0
NO_DATABASE = """The database does not answer. What was done until now, `emergency_stop show` tells as soon as it does.
When it has no free connection left, a superuser's address gets in: docs/database.md, Connections."""
NOBODY_TYPES = """Nothing was done: there is nobody to type the password.
Run it at a terminal, or hand the password in as a line of input."""


class Command(BaseCommand):
    """Stop trading, show what is stopped, sweep here and now, and ease a stop with a second person."""

    help = "Stop trading, show what is stopped, sweep here and now, ease a stop with a second person. Database only."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        stop = verbs.add_parser("stop", help="stop everything, or one account, user, broker or instrument; at once")
        self._add_place(stop)
        stop.add_argument("--reduce-only", action="store_true", help="let positions be closed, and nothing be opened")
        stop.add_argument("--cancel", action="store_true", help="and cancel every working order")
        stop.add_argument("--flatten", action="store_true", help="and cancel every order and close every position")
        self._add_person(stop)
        verbs.add_parser("show", help="what is stopped, since when, by whom and why, and what is on its way")
        verbs.add_parser("sweep", help="do the sweeps that are due here: when the worker of stops is down")
        propose = verbs.add_parser("propose", help="ask for a stop to be eased; another operator decides")
        self._add_place(propose)
        propose.add_argument("--to", choices=["ACTIVE", "REDUCE_ONLY"], default="ACTIVE")
        self._add_person(propose)
        for verb in ("approve", "refuse"):
            decide = verbs.add_parser(verb, help=f"{verb} a proposal of somebody else")
            decide.add_argument("proposal", type=int)
            self._add_person(decide)

    def _add_place(self, parser: CommandParser) -> None:
        place = parser.add_mutually_exclusive_group()
        place.add_argument("--account", help="an account's number at its broker, or its id")
        place.add_argument("--user", help="a user's email")
        place.add_argument("--broker", help="a broker's name, such as mt5")
        place.add_argument("--instrument", help="a symbol")

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
            except (OperationalError, InterfaceError) as exc:
                raise CommandError(f"{NO_DATABASE}\n{exc}".rstrip()) from exc

    def _stop(self, options: dict[str, Any]) -> None:
        operator = self._operator(options["email"], eases=False)
        scope, key = _place(options)
        is_soft = options["reduce_only"]
        if is_soft and (options["cancel"] or options["flatten"]):
            raise CommandError("--reduce-only lets what stands be: it goes with neither --cancel nor --flatten.")
        stopped = emergency.stop(
            scope=scope,
            key=key,
            level=StopLevel.REDUCE_ONLY if is_soft else StopLevel.HALTED,
            sweep=Sweep.FLATTEN if options["flatten"] else Sweep.CANCEL if options["cancel"] else Sweep.NONE,
            reason=options["reason"],
            actor=Actor.user(operator.public_id),
            at=now(),
        )
        self.stdout.write("STOPPED. This is committed: no new order that it covers can be sent.")
        self._print(brakes.show(stopped.switch, at=now()))
        if not stopped.is_listed:
            self.stdout.write("  What is on its way is still being listed. See `emergency_stop show`.")
        self.stdout.write("To ease it, two operators: `emergency_stop propose`, then `emergency_stop approve`.")

    def _show(self, _options: dict[str, Any]) -> None:
        state = brakes.state()
        self.stdout.write(f"Trading is {state.level.name} as a whole. {state.reason}")
        for brake in brakes.every(at=now()):
            self._print(brake)

    def _sweep(self, _options: dict[str, Any]) -> None:
        emergency.follow_due(at=now())
        begun = sweepers.run_due(at=now(), turn_s=TURN_S)
        self.stdout.write(f"{begun} sweeps had a round.")
        self._show({})

    def _propose(self, options: dict[str, Any]) -> None:
        operator = self._operator(options["email"])
        scope, key = _place(options)
        level = StopLevel[options["to"]]
        release, checks = resuming.propose(
            scope=scope, key=key, level=level, reason=options["reason"], by=operator, at=now()
        )
        self.stdout.write(f"Proposal {release.pk} is stored until {release.expires_at:%Y-%m-%d %H:%M} UTC.")
        for check in checks:
            self.stdout.write(f"  {'holds' if check.passed else 'FAILS'}  {check.name}  {check.detail}".rstrip())
        self.stdout.write(f"Another operator decides it: `emergency_stop approve {release.pk}`.")

    def _approve(self, options: dict[str, Any]) -> None:
        operator = self._operator(options["email"])
        release, eased = resuming.approve(
            release_id=options["proposal"], by=operator, reason=options["reason"], at=now()
        )
        self.stdout.write(f"Proposal {release.pk} is applied: {eased}.")

    def _refuse(self, options: dict[str, Any]) -> None:
        operator = self._operator(options["email"])
        release = resuming.refuse(release_id=options["proposal"], by=operator, reason=options["reason"], at=now())
        self.stdout.write(f"Proposal {release.pk} is {release.state}: the stop stays.")

    def _print(self, brake: Brake) -> None:
        row = brake.switch
        self.stdout.write(f"{row.place} {brake.target}".strip() if brake.target != row.key else row.place)
        self.stdout.write(f"  {StopLevel(row.level).name}, sweep {row.sweep}, since {row.set_at:%Y-%m-%d %H:%M:%S} UTC")
        self.stdout.write(f"  by {brake.set_by}: {row.reason}")
        for words, listed in (("on the way when it came", brake.was_in_flight), ("on the way now", brake.in_flight)):
            self.stdout.write(f"  {words}: {len(listed)}")
            for each in listed:
                self.stdout.write(f"    {each['delivery']}  {each['what']}  account {each['account']}")
        for sweep in brake.sweeps:
            self.stdout.write(f"  sweep of {sweep.account}: {sweep.state} after {sweep.rounds} rounds. {sweep.detail}")
        if brake.release is not None:
            self.stdout.write(f"  proposal {brake.release.pk} waits for a second operator: {brake.release.reason}")

    def _operator(self, email: str, *, eases: bool = True) -> Principal:
        """Ask who does this. A stop asks for no code: nothing may stand in its way."""
        try:
            password = getpass.getpass(f"Password of {email}: ")
            code = getpass.getpass("Code: ").strip() if eases else None
        except EOFError as exc:
            raise CommandError(NOBODY_TYPES) from exc
        return entrances.enter_command(email=email, password=password, command="emergency_stop", code=code)


def _place(options: dict[str, Any]) -> tuple[ControlScope, str]:
    """Return which switch is meant; nothing named is the system."""
    if options["account"]:
        return ControlScope.ACCOUNT, str(selectors.account_named(options["account"]).pk)
    if options["user"]:
        user = people.user_by_email(options["user"])
        if user is None:
            raise CommandError(f"Nobody has the email {options['user']}.")
        return ControlScope.USER, str(user.pk)
    if options["broker"]:
        return brakes.find_key(ControlScope.BROKER, options["broker"])
    if options["instrument"]:
        return brakes.find_key(ControlScope.INSTRUMENT, options["instrument"])
    return ControlScope.SYSTEM, ""
