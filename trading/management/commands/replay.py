"""`manage.py replay FILE --orders FILE`: a recorded market through the whole system, and the books of both sides after.

It makes a database of its own and removes it at the end; the books of this installation are not touched.
"""

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from django.utils.timezone import now

from accounts.services import users
from accounts.states import Role
from nexus.audit.types import Actor
from trading.brokers import registry
from trading.brokers.mt5.emulator import instruments
from trading.brokers.mt5.emulator.recordings import BadRecordingError
from trading.management.replay import playing, script
from trading.management.replay.stage import LOGIN, SERVER, Stage, stage
from trading.services import accounts

ACTOR = Actor.system("replay")
DIFFERENCES_MAX = 50


class Command(BaseCommand):
    """Replay a recording with the orders of a file, and compare the books of both sides to the cent."""

    help = "Replay a day of ticks or a month of minutes through the whole system; exit code 1 on any difference."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define what may be said."""
        parser.add_argument("recording", type=Path, help="ticks (own format, HistData, TrueFX) or HistData's minutes")
        parser.add_argument("--orders", type=Path, required=True, help="a CSV file; see trading/management/replay")
        parser.add_argument("--symbol", help="of the recording; the only one that the orders name when left out")
        parser.add_argument("--balance", default="10000", help="at the beginning; 10000")
        parser.add_argument("--currency", default="USD", help="of the account; USD")
        parser.add_argument("--commission", default="0", help="for each lot, in the account's currency; 0")
        parser.add_argument("--netting", action="store_true", help="an account that nets; hedging when left out")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Play it, print what it came to, and exit with code 1 when the books differ."""
        try:
            steps = script.read(options["orders"])
        except script.BadScript as exc:
            raise CommandError(str(exc)) from exc
        symbol = self._symbol(options["symbol"], steps)
        if not options["recording"].is_file():
            raise CommandError(f"{options['recording']} is not a file.")
        with _quiet(), tempfile.TemporaryDirectory(prefix="nexus-replay-") as folder, _database():
            try:
                with stage(
                    Path(folder), {symbol: options["recording"]}, balance=options["balance"],
                    currency=options["currency"], commission=options["commission"], netting=options["netting"],
                ) as running:  # fmt: skip
                    report = self._play(running, steps)
            except (BadRecordingError, LookupError, ArithmeticError) as exc:
                raise CommandError(f"This cannot be replayed: {exc}") from exc
        self._print(report, options["recording"])
        if report.differences:
            sys.exit(1)

    def _symbol(self, named: str | None, steps: list[script.Step]) -> str:
        traded = sorted({step.intent.symbol for step in steps if step.intent is not None})
        if named is None and len(traded) != 1:
            raise CommandError(f"The orders name {', '.join(traded)}: say with --symbol which one was recorded.")
        symbol = named or traded[0]
        if symbol not in instruments.BUILT_IN:
            raise CommandError(f"{symbol} is not among {', '.join(instruments.BUILT_IN)}.")
        return symbol

    def _play(self, running: Stage, steps: list[script.Step]) -> playing.Report:
        settings.MT5_GATEWAY_URL, settings.GATEWAY_TOKEN = running.url, running.token
        settings.ORDERS_PER_SECOND = Decimal(1_000_000)  # counted by the machine's clock, which a replay outruns
        user = users.create(
            email="replay@replay.example", password=secrets.token_urlsafe(24), role=Role.TRADER, actor=ACTOR
        )
        try:
            account = accounts.link(
                user_id=user.pk, name="Replay", venue="mt5", venue_account=str(LOGIN), server=SERVER, is_live=False,
                actor=ACTOR, at=running.now,
            )  # fmt: skip
            return playing.play(running, account, user, steps)
        finally:
            registry.close()

    def _print(self, report: playing.Report, recording: Path) -> None:
        for outcome, count in sorted(report.steps.items()):
            self.stdout.write(f"{count:>6}  {outcome}")
        self.stdout.write(
            f"{report.ticks} ticks of {recording.name} in {report.seconds:.2f} s: {report.speed:,.0f} ticks a second, "
            f"orders and books included ({report.market_seconds:.2f} s in the emulated market)."
        )
        if not report.differences:
            self.stdout.write("The books of both sides agree, to the cent.")
            return
        for line in report.differences[:DIFFERENCES_MAX]:
            self.stdout.write(f"DIFFERENCE  {line}")
        self.stdout.write(f"{len(report.differences)} difference(s).")


@contextmanager
def _database() -> Iterator[None]:
    """Make a database of its own, with every table, and remove it at the end. Raises: CommandError."""
    usual = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = f"replay_{now():%Y%m%d}_{secrets.token_hex(4)}"
    # Its jobs name rows of that database, and are for no worker. CELERY_BROKER_URL in the environment wins over the
    # first of these: this installation's workers would be given the replay's numbers.
    current_app.conf.update(broker_url="memory://", broker_write_url="memory://", broker_transport_options={})
    try:
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    except (DatabaseError, SystemExit) as exc:
        raise CommandError("A database for the replay cannot be made: the database's user needs CREATEDB.") from exc
    try:
        yield
    finally:
        connection.creation.destroy_test_db(usual, verbosity=0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log of the gateway, which writes to standard output, out of the report."""
    real = sys.stdout
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        sys.stdout = nowhere
        try:
            yield
        finally:
            sys.stdout = real
