"""`manage.py audit_verify`: is the log what was sealed? Exit 0 clean, 1 tampered, 2 unsealed backlog, 3 usage."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from nexus.audit import selectors
from nexus.audit.rules.findings import Report
from nexus.audit.services import anchored, keys, verification
from nexus.core.errors import NexusError

USAGE = 3


class _Parser(CommandParser):
    """A wrong word is 3: 1 and 2 are verdicts."""

    def error(self, message: str) -> NoReturn:
        if self.called_from_command_line:
            self.print_usage(sys.stderr)
            self.exit(USAGE, f"{self.prog}: {message}\n")
        raise CommandError(message, returncode=USAGE)


class Command(BaseCommand):
    """Verify the log."""

    help = "Verify the log, or a range of batches. Exit code 0: clean, 1: tampered, 2: unsealed backlog, 3: usage."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Build a parser whose own errors are 3."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.__class__ = _Parser
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define the range, the outside evidence and the form of the answer."""
        parser.add_argument("--from-batch", type=int, metavar="N")
        parser.add_argument("--to-batch", type=int, metavar="N")
        parser.add_argument("--anchor", type=Path, action="append", default=[], metavar="FILE", help="may be repeated")
        parser.add_argument(
            "--public-key", type=Path, metavar="FILE", help="known from outside; the log's own otherwise"
        )
        parser.add_argument("--json", action="store_true", help="one JSON document instead of words")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Verify, say what was found, and end with the verdict's code."""
        using = settings.AUDIT_READER
        _check_range(options["from_batch"], options["to_batch"])
        try:
            trusted = keys.load_public(options["public_key"]) if options["public_key"] else None
            for path in options["anchor"]:
                next(anchored.kept(path), None)
            report = verification.verify(
                using=using, from_batch=options["from_batch"], to_batch=options["to_batch"], trusted=trusted
            )
            for path in options["anchor"]:
                anchored.compare(report, path, using=using, trusted=trusted)
        except NexusError as exc:
            raise CommandError(exc.detail, returncode=USAGE) from exc
        self.stdout.write(json.dumps(report.as_dict(), indent=2) if options["json"] else _words(report))
        if report.verdict.code:
            sys.exit(report.verdict.code)


def _check_range(first: int | None, last: int | None) -> None:
    head = selectors.head()
    newest = head.batch_no if head else -1
    for name, number in (("--from-batch", first), ("--to-batch", last)):
        if number is not None and not 0 <= number <= newest:
            raise CommandError(f"{name} {number}: the log has the batches 0 to {newest}.", returncode=USAGE)
    if first is not None and last is not None and first > last:
        raise CommandError(f"--from-batch {first} comes after --to-batch {last}.", returncode=USAGE)


def _words(report: Report) -> str:
    lines = [*(str(found) for found in report.findings), *report.notes]
    more = sum(report.counts.values()) - len(report.findings)
    if more:
        lines.append(f"… and {more} more.")
    counts = ", ".join(f"{name} {count}" for name, count in sorted(report.counts.items()))
    lines.append(
        f"{report.verdict.upper()}: {report.events} events in {report.batches} batches,"
        f" {report.unsealed} not sealed yet" + (f"; {counts}" if counts else "")
    )
    return "\n".join(lines)
