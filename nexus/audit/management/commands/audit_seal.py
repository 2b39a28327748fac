"""`manage.py audit_seal`: the sealer. One process of its own, the only one that holds the signing key."""

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, connection

from nexus.audit.rules.keys import Signer
from nexus.audit.services import heartbeat, keys, sealing
from nexus.audit.services.sealing import Idle
from nexus.core.errors import NexusError

PASS_S = 2.0
FULL_PASS_S = 600.0
HEARTBEAT_S = 60.0

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    """Seal what waits, once or for ever."""

    help = "Seal the events that wait: once, or with --loop every two seconds until it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the one switch."""
        parser.add_argument("--loop", action="store_true", help="go on until stopped; beside another sealer, stand by")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Seal with the key that AUDIT_SIGNING_KEY_FILE names."""
        if not settings.AUDIT_SIGNING_KEY_FILE:
            raise CommandError("AUDIT_SIGNING_KEY_FILE is not set. Make a key: manage.py audit_key create FILE.")
        try:
            signer = keys.load(Path(settings.AUDIT_SIGNING_KEY_FILE))
            keys.stand(signer)
        except NexusError as exc:
            raise CommandError(exc.detail) from exc
        if options["loop"]:
            _Loop(signer).run()
            return
        count = sum(done.count for done in sealing.seal_all(signer=signer))
        self.stdout.write(f"{count} events sealed.")


class _Loop:
    """The sealer's rounds. A database that is gone is waited for."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._stopped = threading.Event()
        self._full_at = self._heartbeat_at = 0.0

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        log.info("audit.sealer.started", key_id=self._signer.key_id)
        while not self._stopped.is_set():
            try:
                self._round(time.monotonic())
            except (OperationalError, InterfaceError) as exc:
                log.error("audit.sealer.database_gone", detail=str(exc))  # noqa: TRY400 — its trace says no more
                connection.close()
            self._stopped.wait(PASS_S)
        log.info("audit.sealer.stopped")

    def _round(self, at_s: float) -> None:
        is_busy = self._full_pass(at_s) if at_s >= self._full_at else self._quick_pass()
        if not is_busy and at_s >= self._heartbeat_at:
            heartbeat.beat()
            self._heartbeat_at = at_s + HEARTBEAT_S

    def _full_pass(self, at_s: float) -> bool:
        for done in sealing.seal_all(signer=self._signer):
            log.info("audit.sealed", batch_no=done.header.batch_no, count=done.count, is_full_pass=True)
            if self._stopped.is_set():
                return False
        self._full_at = at_s + FULL_PASS_S
        return self._quick_pass()

    def _quick_pass(self) -> bool:
        """Seal until nothing waits; tell whether another sealer is at it."""
        while not self._stopped.is_set():
            done = sealing.seal(signer=self._signer)
            if isinstance(done, Idle):
                return done is Idle.BUSY
            log.info("audit.sealed", batch_no=done.header.batch_no, count=done.count, is_full_pass=False)
            if not done.is_full:
                return False
        return False

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopped.set()
