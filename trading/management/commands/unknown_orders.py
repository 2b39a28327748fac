"""`manage.py unknown_orders`: list orders that nobody can find, and decide them, two people together."""

import getpass
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from accounts.services import entrances
from accounts.types import Principal
from nexus.core.errors import NexusError
from nexus.core.logs import correlated
from trading import selectors
from trading.services import decisions
from trading.states import OrderStatus


class Command(BaseCommand):
    """List unknown orders, propose how one has ended, and decide a proposal as a second person."""

    help = "List orders that nobody can find; propose how one has ended; decide a proposal as a second person."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the three verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="unknown orders and their open proposals")
        propose = verbs.add_parser("propose", help="propose how an order has ended")
        propose.add_argument("order", type=uuid.UUID)
        propose.add_argument("to", choices=[end.value for end in decisions.ENDS])
        propose.add_argument("--evidence", required=True, help="what shows it, for the audit")
        propose.add_argument("--as", dest="email", required=True, help="your operator's email")
        decide = verbs.add_parser("decide", help="apply or refuse a proposal")
        decide.add_argument("decision", type=int)
        decide.add_argument("answer", choices=["approve", "refuse"])
        decide.add_argument("--as", dest="email", required=True, help="your operator's email")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do what the verb says."""
        with correlated():
            try:
                getattr(self, f"_{options['verb']}")(options)
            except NexusError as exc:
                raise CommandError(exc.detail) from exc

    def _list(self, _options: dict[str, Any]) -> None:
        orders = selectors.unknown_orders()
        if not orders:
            self.stdout.write("No order is unknown.")
        alike = selectors.look_alikes(orders)
        for order in orders:
            self.stdout.write(f"{order.public_id}  {order}  sent {order.sent_at:%Y-%m-%d %H:%M:%S} UTC")
            for fill in alike.get(order.pk, []):
                when = f"{fill.filled_at:%H:%M:%S} UTC"
                self.stdout.write(f"    may be it, nobody's name on it: deal {fill.venue_fill_id}, {fill}, {when}")
            for decision in order.decisions.all():
                self.stdout.write(f"    proposal {decision.pk}: {decision.to}, {decision.state}: {decision.evidence}")

    def _propose(self, options: dict[str, Any]) -> None:
        operator = self._operator(options["email"])
        order = selectors.order_of(operator, public_id=options["order"])
        to, evidence = OrderStatus(options["to"]), options["evidence"]
        decision = decisions.propose(order_id=order.pk, to=to, evidence=evidence, by=operator, at=now())
        self.stdout.write(f"Proposal {decision.pk} is stored. Another operator has to decide it.")

    def _decide(self, options: dict[str, Any]) -> None:
        operator = self._operator(options["email"])
        approve = options["answer"] == "approve"
        decision = decisions.decide(decision_id=options["decision"], approve=approve, by=operator, at=now())
        self.stdout.write(f"Proposal {decision.pk} is {decision.state}.")

    def _operator(self, email: str) -> Principal:
        password = getpass.getpass(f"Password of {email}: ")
        code = getpass.getpass("Code: ").strip()
        return entrances.enter_command(email=email, password=password, command="unknown_orders", code=code)
