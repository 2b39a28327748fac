"""`manage.py audit_recovered`: after a recovery to an earlier moment, say in the log which seals were lost."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from nexus.audit import selectors
from nexus.audit.rules import header
from nexus.audit.services import anchored, keys, recovery
from nexus.audit.services.anchoring import header_of
from nexus.core.errors import NexusError


class Command(BaseCommand):
    """Say which seals a recovery has lost."""

    help = "After a recovery, before the sealer starts: append which seals the anchor has and the log lost."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define what is needed."""
        parser.add_argument("--anchor", type=Path, required=True, metavar="FILE")
        parser.add_argument("--reason", required=True, help="what happened, and who decided")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Find the lost head in the anchor, and append the event, signed by the key of AUDIT_SIGNING_KEY_FILE."""
        newest = selectors.head()
        head = newest.batch_no if newest else -1
        last, lost = head, b""
        try:
            signer = keys.load(Path(settings.AUDIT_SIGNING_KEY_FILE))
            keys.stand(signer)
            for number, text, _ in anchored.kept(options["anchor"]):
                if number == head and newest and text != header.to_bytes(header_of(newest)):
                    raise CommandError(f"Batch {head} is not the one in the anchor: this is no recovery. Investigate.")
                if number > last:
                    last, lost = number, text
        except NexusError as exc:
            raise CommandError(exc.detail) from exc
        if last == head:
            raise CommandError("The anchor has no seal that the log lacks: nothing was lost.")
        lost_head = sha256(lost).hexdigest()
        recovery.note(first_lost=head + 1, last_lost=last, head_hash=lost_head, reason=options["reason"], by=signer)
        self.stdout.write(f"Batches {head + 1} to {last} are noted as lost. Start the sealer now.")
