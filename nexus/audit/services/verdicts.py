"""Verify the whole log on behalf of the clock or a person, and keep what it came to."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import connection, transaction

from nexus.audit import providers, selectors
from nexus.audit.models import Verification
from nexus.audit.providers import File
from nexus.audit.rules.findings import Report
from nexus.audit.services import anchored, keys, trail, verification
from nexus.audit.services.anchored import AnchorUnreadable
from nexus.audit.types import Actor, Outcome, Target
from nexus.core.errors import Conflict
from nexus.core.jobs import enqueue

VERIFIER = Actor.system("verifier")
FINDINGS_STORED = 100
NIGHT_BEGINS_HOUR = 2  # UTC
VERIFY = "audit.verify_log"
ASKING_LOCK = 0x41564552  # one person at a time asks
GIVEN_UP_AFTER = timedelta(minutes=30)  # a job that was lost is asked for anew


class VerificationBusy(Conflict):
    """Somebody has asked already, and has no answer yet."""

    code = "audit_verification_busy"
    title = "The log is being verified"


@transaction.atomic(durable=True)
def request(*, asked_by: Actor, reason: str, at: datetime) -> None:
    """Have the whole log verified now, by a worker. Raises: VerificationBusy."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ASKING_LOCK])
    asked = selectors.verification_asked()
    if asked is not None and at - asked.recorded_at < GIVEN_UP_AFTER:
        raise VerificationBusy("Somebody has asked for it already. The answer comes on the page of verifications.")
    trail.record(
        action=selectors.ASKED,
        actor=asked_by,
        target=Target("audit_verification", ""),
        detail={"reason": reason},
    )
    enqueue(VERIFY, asked_by=asked_by.id)


def verify_nightly(*, at: datetime, clock: Callable[[], datetime]) -> Verification | None:
    """Verify the whole log, once since the last night began: a job may come twice, or late. Raises: KeyUnusable."""
    night = at.replace(hour=NIGHT_BEGINS_HOUR, minute=0, second=0, microsecond=0)
    night -= timedelta(days=1) if night > at else timedelta()
    if Verification.objects.filter(asked_by=VERIFIER.id, started_at__gte=night).exists():
        return None
    return verify_all(asked_by=VERIFIER, at=at, clock=clock)


def verify_all(*, asked_by: Actor, at: datetime, clock: Callable[[], datetime]) -> Verification:
    """Verify the log against its keys and the anchors that are files here, and store the verdict with its event.

    Raises: KeyUnusable.
    """
    using = settings.AUDIT_READER
    path = settings.AUDIT_PUBLIC_KEY_FILE
    trusted = keys.load_public(Path(path)) if path else None
    report = verification.verify(using=using, trusted=trusted)
    _ask_anchors(report, using=using, trusted=trusted)
    return _store(report, asked_by=asked_by, started_at=at, finished_at=clock())


def _ask_anchors(report: Report, *, using: str, trusted: dict[str, Ed25519PublicKey] | None) -> None:
    named = [providers.named(word) for word in settings.AUDIT_ANCHORS]
    files = [each for each in named if isinstance(each, File)]
    for file in files:
        try:
            anchored.compare(report, file.path, using=using, trusted=trusted, kept_to=selectors.kept_to(file.name))
        except AnchorUnreadable as exc:
            anchored.note_absent(report, file.path, why=exc.detail)
    if not files:
        report.notes.append("No anchor can be read here: that the end of the log was cut off would not be seen.")


@transaction.atomic(durable=True)
def _store(report: Report, *, asked_by: Actor, started_at: datetime, finished_at: datetime) -> Verification:
    said = report.as_dict()
    row = Verification.objects.create(
        started_at=started_at,
        finished_at=finished_at,
        asked_by=asked_by.id[:64],
        to_batch=-1 if report.to_batch is None else report.to_batch,
        findings=said["findings"][:FINDINGS_STORED],
        **{name: said[name] for name in ("verdict", "batches", "events", "unsealed", "counts", "notes")},
    )
    trail.record(
        action="audit.verified",
        actor=asked_by,
        target=Target("audit_verification", str(row.pk)),
        outcome=Outcome.FAILURE if report.counts else Outcome.SUCCESS,
        detail={"verdict": row.verdict, "events": row.events, "to_batch": row.to_batch, "counts": row.counts},
    )
    return row
