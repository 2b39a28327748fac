"""`manage.py paper`: see a paper broker's own books, play other people and bad luck, and end the bad luck again.

It speaks to the emulated broker, never to a terminal with real money: that has no such door.
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trading.brokers.mt5.emulator.controls.client import ControlClient
from trading.brokers.mt5.emulator.controls.wire import ControlError
from trading.management import paper_acts, paper_views

NO_BROKER = (
    "No paper broker is known. `make run` tells of its own: while it serves, run "
    "`.venv/bin/python -m nexus.local manage paper …`. Elsewhere set PAPER_CONTROLS and PAPER_CONTROL_TOKEN, and "
    "`control` in the gateway's settings."
)


class Command(BaseCommand):
    """Show a paper broker's books, trade there as a person would, move its money, and make it misbehave."""

    help = "See a paper broker's own books, trade there as a person would, and make it misbehave."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the verbs."""
        parser.add_argument("--account", type=int, metavar="LOGIN", help="which paper account; not needed with one")
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        paper_views.add_verbs(verbs)
        paper_acts.add_verbs(verbs)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do what the verb says, at the broker that holds the account."""
        try:
            brokers = self._brokers()
            if options["verb"] == "accounts":
                self._write(paper_views.accounts(brokers))
                return
            login = self._login(brokers, options["account"])
            act: Callable[..., str] = options["act"]
            self._write(act(brokers[login], login=login, options=options))
        except ControlError as exc:
            raise CommandError(f"The broker refused: {exc}") from exc
        except OSError as exc:
            raise CommandError(f"The paper broker does not answer ({exc}). Is it running?") from exc

    def _write(self, text: str) -> None:
        self.stdout.write(text)

    def _brokers(self) -> dict[int, ControlClient]:
        """Return how to reach the broker of each account. Somebody else's account is not one to act on."""
        addresses = [each.strip() for each in settings.PAPER_CONTROLS.split(",") if each.strip()]
        if not addresses:
            raise CommandError(NO_BROKER)
        found: dict[int, ControlClient] = {}
        for address in addresses:
            client = ControlClient(address, settings.PAPER_CONTROL_TOKEN)
            found |= {row["login"]: client for row in client.accounts()[:1]}
        return found

    def _login(self, brokers: dict[int, ControlClient], wished: int | None) -> int:
        known = ", ".join(map(str, brokers))
        if wished is None and len(brokers) > 1:
            raise CommandError(f"Say which account: --account with one of {known}.")
        if wished is not None and wished not in brokers:
            raise CommandError(f"There is no paper account {wished}. There are: {known}.")
        return next(iter(brokers)) if wished is None else wished
