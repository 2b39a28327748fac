"""`manage.py audit_seal`: the sealer. One process of its own, the only one that holds the signing key."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, connection
from django.utils.timezone import now

from nexus.audit.rules.keys import Signer
from nexus.audit.services import anchoring, heartbeat, keys, sealing
from nexus.audit.services.anchoring import Way
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
        if settings.NEXUS_ENV == "production" and not settings.AUDIT_ANCHORS:
            raise CommandError(
                "AUDIT_ANCHORS is not set. Without a copy of the seals elsewhere, nobody can tell that the end of the"
                " log was cut off: name at least one place that is not on the database's host."
            )
        try:
            signer = keys.load(Path(settings.AUDIT_SIGNING_KEY_FILE))
            keys.stand(signer)
            ways = anchoring.open_ways(settings.AUDIT_ANCHORS)
        except NexusError as exc:
            raise CommandError(exc.detail) from exc
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        if options["loop"]:
            _Loop(signer, ways).run()
            return
        count = sum(done.count for done in sealing.seal_all(signer=signer))
        for way in ways:
            while anchoring.carry(way, at=now()):
                pass
        self.stdout.write(f"{count} events sealed.")


class _Loop:
    """The sealer's rounds. A database that is gone is waited for."""

    def __init__(self, signer: Signer, ways: list[Way]) -> None:
        self._signer = signer
        self._ways = ways
        self._stopped = threading.Event()
        self._carrier_failed = False
        self._full_at = self._heartbeat_at = 0.0

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        log.info("audit.sealer.started", signer=self._signer.key_id, anchors=[way.anchor.name for way in self._ways])
        carrier = threading.Thread(target=self._carry, name="anchors")
        carrier.start()
        try:
            self._repeat(self._round)
        finally:
            self._stopped.set()
            carrier.join()
        if self._carrier_failed:
            raise CommandError("The anchors' thread ended by itself. See the log.")
        log.info("audit.sealer.stopped")

    def _carry(self) -> None:
        """Bring seals to the anchors, in a thread of its own: a place that hangs holds up no seal."""
        try:
            self._repeat(self._carry_round)
        except Exception:
            log.exception("audit.sealer.anchors_failed")
            self._carrier_failed = True
        finally:
            connection.close()
            self._stopped.set()

    def _carry_round(self, _at_s: float) -> None:
        for way in self._ways:
            while anchoring.carry(way, at=now()) and not self._stopped.is_set():
                pass

    def _repeat(self, act: Callable[[float], None]) -> None:
        while not self._stopped.is_set():
            try:
                act(time.monotonic())
            except (OperationalError, InterfaceError) as exc:
                log.error("audit.sealer.database_gone", detail=str(exc))  # noqa: TRY400 — its trace says no more
                connection.close()
            self._stopped.wait(PASS_S)

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
