"""`manage.py reconcile`: compare accounts with their brokers now, or print what was found."""

import json
import uuid
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from nexus.audit.types import Actor
from nexus.core import money
from nexus.core.errors import NexusError
from nexus.core.logs import correlated
from reconciliation import selectors
from reconciliation.services import cycles, reports
from reconciliation.states import Status, Trigger
from reconciliation.types import Outcome
from trading.services.accounts import Account

HOURS_MAX = 24 * 31
ROWS_MAX = 100_000
COMMAND = Actor.system("manage.py reconcile")


class Command(BaseCommand):
    """Do at once what the clock does every minute: it asks for no operator, and can do no more than the clock."""

    help = "Reconcile all accounts now, or one; or report what was found, as JSON or CSV. Fails when an account failed."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the options."""
        parser.add_argument("--account", type=uuid.UUID, help="the account's public id; all active ones unless said")
        parser.add_argument("--report", type=_hours, metavar="HOURS", help="run nothing, report these last hours")
        parser.add_argument("--format", choices=["json", "csv"], default="json", help="of the report")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run or report."""
        with correlated():
            try:
                owned = selectors.active_accounts(account=options["account"])
                if options["report"] is None:
                    self._run(owned)
                else:
                    self._report(owned, hours=options["report"], form=options["format"])
            except NexusError as exc:
                raise CommandError(exc.detail) from exc

    def _run(self, owned: list[Account]) -> None:
        outcomes = []
        for each in owned:
            outcome = cycles.run(account_id=each.pk, trigger=Trigger.COMMAND, at=now(), actor=COMMAND)
            outcomes.append(outcome)
            self.stdout.write(_line(each, outcome))
        failed = sum(outcome.status is Status.FAILED for outcome in outcomes)
        if failed:
            raise CommandError(f"{failed} of {len(outcomes)} accounts could not be reconciled.")

    def _report(self, owned: list[Account], *, hours: int, form: str) -> None:
        at = now()
        if form == "csv":
            rows = selectors.log_of(owned, since=at - timedelta(hours=hours), until=at)
            for line in reports.csv_lines(rows):
                self.stdout.write(line, ending="")
            return
        found = reports.document(owned, hours=hours, at=at, rows_max=ROWS_MAX)
        self.stdout.write(json.dumps(found, indent=2))


def _line(account: Account, outcome: Outcome) -> str:
    worth = "not to be valued" if outcome.is_unvalued else f"{money.as_text(outcome.discrepancy_usd)} USD"
    line = f"{account.public_id}  {account}  {outcome.status}  {worth}  new fills {outcome.new_fills}"
    for finding, action in outcome.findings:
        missing = finding.amount if finding.position is None else finding.position.missing
        line += f"\n    {finding.key} {finding.symbol}: {money.as_text(missing)}  {action}"
    return f"{line}  {outcome.detail}".rstrip()


def _hours(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= HOURS_MAX:
        raise ArgumentTypeError(f"write whole hours from 1 to {HOURS_MAX}, not {text!r}")
    return int(text)
