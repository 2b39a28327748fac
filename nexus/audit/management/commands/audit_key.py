"""`manage.py audit_key`: make a signing key, show its public half, let the old key introduce a new one."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from nexus.audit.services import keys
from nexus.core.errors import NexusError


class Command(BaseCommand):
    """Keys of the sealer."""

    help = "Make a signing key, show its public half, or let the present key introduce the next one."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make a private key in FILE; it is never overwritten")
        create.add_argument("file", type=Path)
        public = verbs.add_parser("public", help="print the public half of the private key in FILE")
        public.add_argument("file", type=Path)
        introduce = verbs.add_parser(
            "introduce", help="let the key of AUDIT_SIGNING_KEY_FILE vouch for the one in FILE"
        )
        introduce.add_argument("file", type=Path)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do what the verb says."""
        try:
            getattr(self, f"_{options['verb']}")(options["file"])
        except NexusError as exc:
            raise CommandError(exc.detail) from exc

    def _create(self, file: Path) -> None:
        signer = keys.create(file)
        self.stdout.write(f"Key {signer.key_id} is in {file}. Keep its public half where the database is not:")
        self.stdout.write(keys.as_public_pem(signer.public))

    def _public(self, file: Path) -> None:
        self.stdout.write(keys.as_public_pem(keys.load(file).public), ending="")

    def _introduce(self, file: Path) -> None:
        if not settings.AUDIT_SIGNING_KEY_FILE:
            raise CommandError("AUDIT_SIGNING_KEY_FILE must name the key that seals now.")
        old, new = keys.load(Path(settings.AUDIT_SIGNING_KEY_FILE)), keys.load(file)
        keys.stand(old)
        keys.introduce(new.public, by=old)
        self.stdout.write(
            f"{old.key_id} has introduced {new.key_id}. Once the sealer has sealed that (seconds), stop it and start it"
            f" with AUDIT_SIGNING_KEY_FILE={file}. Give the new public half to whoever verifies:"
        )
        self.stdout.write(keys.as_public_pem(new.public))
