"""`manage.py audit_witness`: look at the log's head, remember it, and fail when it does not continue the last."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from nexus.audit.services import keys, witness
from nexus.core.errors import NexusError


class Command(BaseCommand):
    """Witness the log."""

    help = "Look at the log's head and remember it in FILE; fail when it went back, was changed, or stands still."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define where the memory is."""
        parser.add_argument(
            "--state", type=Path, required=True, metavar="FILE", help="on a machine of the witness's own"
        )
        parser.add_argument("--public-key", type=Path, metavar="FILE", help="else the log is asked for its own keys")
        parser.add_argument("--stale-after", type=int, default=300, metavar="SECONDS", help="default: 300")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Look once."""
        state: Path = options["state"]
        try:
            remembered = json.loads(state.read_text(encoding="utf-8")) if state.exists() else None
            trusted = keys.load_public(options["public_key"]) if options["public_key"] else None
            known = keys.introduced_keys(trusted)
        except NexusError as exc:
            raise CommandError(exc.detail, returncode=3) from exc
        except (OSError, ValueError) as exc:
            raise CommandError(f"The memory {state} cannot be read: {exc}", returncode=3) from exc
        stale_after = timedelta(seconds=options["stale_after"])
        sight = witness.look(remembered, known=known, stale_after=stale_after, at=now())
        if sight.wrong:
            raise CommandError("\n".join(sight.wrong))  # what was remembered stays, as evidence
        _write(state, json.dumps(sight.head) + "\n")
        assert sight.head is not None
        self.stdout.write(f"Batch {sight.head['batch_no']} continues what was seen before.")


def _write(path: Path, text: str) -> None:
    """Replace the memory whole or not at all."""
    draft = path.with_name(path.name + ".new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
