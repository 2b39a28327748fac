"""`manage.py reviews`: differences that wait for a person: list, show, take, and decide what was shown."""

import getpass
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from accounts.services import entrances
from accounts.types import Principal
from nexus.core import money
from nexus.core.errors import NexusError
from nexus.core.logs import correlated
from reconciliation import selectors
from reconciliation.models import Review
from reconciliation.services import decisions, reviews
from reconciliation.states import Decision


class Command(BaseCommand):
    """List what waits, show both sides and what each decision would do, take one, decide it."""

    help = "List differences that wait for a person; show both sides and every decision's effect; take one; decide it."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="what waits, the most first")
        show = verbs.add_parser("show", help="both sides, and what each decision would do now")
        show.add_argument("review", type=uuid.UUID)
        take = verbs.add_parser("take", help="take one for half an hour")
        take.add_argument("review", type=uuid.UUID)
        take.add_argument("--as", dest="email", required=True, help="your operator's email")
        decide = verbs.add_parser("decide", help="decide on the version that you were shown")
        decide.add_argument("review", type=uuid.UUID)
        decide.add_argument("decision", choices=[each.value for each in Decision])
        decide.add_argument("--version", dest="seen", type=int, required=True, help="as `show` names it")
        decide.add_argument("--reason", required=True, help="why, for the audit")
        decide.add_argument("--as", dest="email", required=True, help="your operator's email")
        agree = verbs.add_parser("agree", help="as a second operator, to a decision above what one may decide")
        agree.add_argument("review", type=uuid.UUID)
        agree.add_argument("--reason", required=True, help="why, for the audit")
        agree.add_argument("--as", dest="email", required=True, help="your operator's email")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do what the verb says."""
        with correlated():
            try:
                getattr(self, f"_{options['verb']}")(options)
            except NexusError as exc:
                raise CommandError(exc.detail) from exc

    def _list(self, _options: dict[str, Any]) -> None:
        waiting = list(selectors.queue())
        if not waiting:
            self.stdout.write("Nothing waits for a person.")
        for row in waiting:
            age = (now() - row.opened_at).total_seconds() // 60
            owner = f"taken by {row.owner}" if row.owner else "free"
            self.stdout.write(f"{row.public_id}  {row.risk_impact}  {_worth(row)}  {row}  {age:.0f} min  {owner}")

    def _show(self, options: dict[str, Any]) -> None:
        row = selectors.review(options["review"])
        self.stdout.write(f"{row}\nversion {row.version}, seen {row.seen_at:%Y-%m-%d %H:%M:%S} UTC, {_worth(row)}")
        evidence = row.evidence
        if "amount" in evidence:
            self.stdout.write(f"  The broker's balance has {evidence['amount']} that our books do not explain.")
        else:
            self.stdout.write(f"  {'':10} {'ours':>16} {'broker':>16}")
            for name in ("quantity", "price"):
                ours, theirs = evidence[name] or "-", evidence[f"venue_{name}"] or "-"
                self.stdout.write(f"  {name:10} {ours:>16} {theirs:>16}")
        for decision in Decision:
            try:
                effect = decisions.preview(review_id=row.public_id, decision=decision, at=now())
                self.stdout.write(f"  {decision}: {' '.join(effect.lines)}")
            except NexusError as exc:
                self.stdout.write(f"  {decision}: not now. {exc.detail}")

    def _take(self, options: dict[str, Any]) -> None:
        row = reviews.claim(review_id=options["review"], by=self._operator(options["email"]), at=now())
        self.stdout.write(f"It is yours until {row.leased_until:%H:%M} UTC.")

    def _decide(self, options: dict[str, Any]) -> None:
        decided = decisions.decide(
            review_id=options["review"],
            decision=Decision(options["decision"]),
            version=options["seen"],
            reason=options["reason"],
            by=self._operator(options["email"]),
            at=now(),
        )
        row, outcome = decided.review, decided.outcome
        if decided.approval is not None:
            self.stdout.write(f"{_worth(row)}: a second operator has to agree. Nothing is done before that.")
            self.stdout.write(f"manage.py reviews agree {row.public_id} --reason … --as …")
            return
        after = "" if outcome is None else f" The run ended {outcome.status}."
        self.stdout.write(f"The review is {row.state}.{after}")

    def _agree(self, options: dict[str, Any]) -> None:
        by = self._operator(options["email"])
        row = decisions.agree(review_id=options["review"], reason=options["reason"], by=by, at=now())
        self.stdout.write(f"The review is {row.state}.")

    def _operator(self, email: str) -> Principal:
        password = getpass.getpass(f"Password of {email}: ")
        code = getpass.getpass("Code: ").strip()
        return entrances.enter_command(email=email, password=password, command="reviews", code=code)


def _worth(row: Review) -> str:
    return "not to be valued" if row.value_usd is None else f"{money.as_text(row.value_usd)} USD"
