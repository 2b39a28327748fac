"""`manage.py audit_export`: write a bundle of sealed events to a file, verifiable by nexus_audit_verify.py."""

import os
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils.timezone import now

from nexus.audit.services import bundling, exports
from nexus.audit.types import Actor, Selection
from nexus.core.errors import NexusError


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ArgumentTypeError(f"{text} is no moment: write 2026-01-31 or 2026-01-31T12:00:00Z") from exc
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Command(BaseCommand):
    """Export by hand."""

    help = "Write a bundle of sealed events to FILE. Without a filter it proves that no event of its time is missing."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define what is chosen."""
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--reason", required=True, help="what it is for; it stands in the log")
        parser.add_argument("--from", dest="from_at", type=_moment, metavar="TIME", help="UTC unless it says otherwise")
        parser.add_argument(
            "--to", dest="to_at", type=_moment, metavar="TIME", help="the first moment that is not meant"
        )
        for name in ("action", "actor-id", "object-type", "object-id"):
            parser.add_argument(f"--{name}", default="", metavar="WORD")
        parser.add_argument("--csv", dest="with_csv", action="store_true", help="a table for spreadsheets beside it")
        parser.add_argument(
            "--parquet", dest="with_parquet", action="store_true", help="and one as Parquet (requirements-parquet.txt)"
        )
        parser.add_argument("--pii", dest="with_pii", action="store_true", help="personal data, as the auditor's role")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Write the file whole or not at all, and append who did it."""
        path: Path = options["file"]
        selection = Selection(**{name: options[name] for name in Selection.__slots__})
        draft = path.with_name(f"{path.name}.part")
        asked_by = f"manage.py by {getuser()}"
        try:
            exports.check(selection, reason=options["reason"])
            if path.exists():
                raise CommandError(f"{path} exists already.")
            with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as file:
                made = bundling.write(
                    selection, file, folder=path.parent, asked_by=asked_by, at=now(), progress=self._say,
                    using=settings.AUDIT_READER,
                )  # fmt: skip
            with transaction.atomic(durable=True):
                actor = Actor.system(asked_by)
                exports.note(made, selection, by=actor, target=path.name, reason=options["reason"])
            draft.replace(path)
        except NexusError as exc:
            raise CommandError(exc.detail) from exc
        except OSError as exc:
            raise CommandError(f"{path}: {exc.strerror}") from exc
        finally:
            draft.unlink(missing_ok=True)
        self.stdout.write(
            f"{made.events} events of the batches {made.first} to {made.last} are in {path}."
            f" SHA-256 of its manifest: {made.manifest_sha256}"
        )

    def _say(self, done: int, total: int) -> None:
        self.stderr.write(f"\r{done} of {total}", ending="\n" if done >= total else "")
