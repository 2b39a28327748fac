"""`manage.py alerts`: what is open, how well people are told, and who takes an alert in hand."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from accounts import selectors as people
from nexus.alerts import selectors
from nexus.core.errors import NexusError
from nexus.core.logs import correlated
from trading.services import notices

SHOWN = 50


class Command(BaseCommand):
    """List alerts, show how well people are told, and take an alert in hand."""

    help = "List open alerts, show whether their messages get through, and take an alert in hand."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help=f"the newest {SHOWN} open alerts")
        listing.add_argument("--all", action="store_true", help="closed ones too")
        verbs.add_parser("channels", help="where messages go, and whether they get through")
        take = verbs.add_parser("acknowledge", help="take an alert in hand: it is not escalated any more")
        take.add_argument("alert", type=int)
        take.add_argument("--note", default="", help="what you do about it")
        take.add_argument("--as", dest="email", required=True, help="your operator's email")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do what the verb says."""
        with correlated():
            try:
                getattr(self, f"_{options['verb']}")(options)
            except NexusError as exc:
                raise CommandError(exc.detail) from exc

    def _list(self, options: dict[str, Any]) -> None:
        found = selectors.page(limit=SHOWN, is_open=None if options["all"] else True)
        for alert in found:
            taken = f"  taken: {alert.note or alert.acknowledged_by}" if alert.acknowledged_at else ""
            self.stdout.write(f"{alert.pk:>6}  {alert.opened_at:%m-%d %H:%M:%S}  x{alert.seen_count}  {alert}{taken}")
        if not found:
            self.stdout.write("No alert is open.")

    def _channels(self, _options: dict[str, Any]) -> None:
        telling = notices.state()
        for channel in telling.channels:
            since = f"failing since {channel.failing_since:%m-%d %H:%M:%S} UTC: {channel.fault}"
            how = since if channel.failing_since else "no failure is known"
            last = f"{channel.last_sent_at:%m-%d %H:%M:%S}" if channel.last_sent_at else "never"
            gone = "" if channel.is_set else "  (not set any more)"
            self.stdout.write(
                f"{channel.name}{gone}  last sent {last}, {channel.waiting} waiting, {channel.given_up} given up; {how}"
            )
        if not telling.channels:
            self.stdout.write("No channel is set: alerts stand in the console and the log only. See ALERT_CRITICAL.")

    def _acknowledge(self, options: dict[str, Any]) -> None:
        person = people.user_by_email(options["email"])
        if person is None:
            raise CommandError(f"There is no user {options['email']}.")
        alert = notices.acknowledge(alert_id=options["alert"], by=person, note=options["note"], at=now())
        self.stdout.write(f"Taken in hand since {alert.acknowledged_at:%m-%d %H:%M:%S} UTC: {alert}")
