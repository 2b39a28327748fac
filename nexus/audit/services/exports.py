"""Exports as jobs: asked for, written with progress by one worker at a time, kept for a while, and handed over once.

The row is the queue: a job that is lost, or whose worker died, is handed out again once its lease is over.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet

from nexus.audit import selectors
from nexus.audit.models import Export
from nexus.audit.rules import bundle
from nexus.audit.services import bundling, trail
from nexus.audit.services.bundling import Bundle
from nexus.audit.states import ExportState
from nexus.audit.types import Actor, Outcome, Selection, Target
from nexus.core.errors import Conflict, Invalid, NexusError
from nexus.core.http import TooManyRequests
from nexus.core.jobs import enqueue

EXPORT = "audit.export"
LEASE = timedelta(minutes=2)
TOLD_EVERY = timedelta(seconds=1)
HANDED_OUT_AGAIN = timedelta(seconds=60)
ATTEMPTS_MAX = 3
DUE_MAX = 20
AN_HOUR, ASKED_AN_HOUR_MAX = timedelta(hours=1), 5  # of one person: security reference §12
ASKING_LOCK = 0x41455850  # beside a hash of who asks: one request of one person at a time

log = structlog.get_logger(__name__)


class SelectionEmpty(Invalid):
    """Its end comes before its beginning, or nobody says what it is for."""

    code = "audit_selection_invalid"
    title = "This cannot be exported"


class ExportNotReady(Conflict):
    """Its file is not there yet, or not any more."""

    code = "audit_export_not_ready"
    title = "The export has no file"


class ExportBusy(Conflict):
    """Whoever asks has one that is not done yet."""

    code = "audit_export_busy"
    title = "You have exports enough for now"


class _Superseded(Exception):
    """Another worker has this export now."""


@transaction.atomic(durable=True)
def request(*, selection: Selection, asked_by: Actor, reason: str, at: datetime) -> Export:
    """Ask for a bundle. Whether they may, with personal data or without, is for the door to know.

    Raises: SelectionEmpty, ExportBusy, TooManyRequests.
    """
    check(selection, reason=reason)
    _require_room(asked_by, at=at)
    row = Export.objects.create(
        asked_by=asked_by.id[:64],
        asked_at=at,
        reason=reason[:500],
        **{name: getattr(selection, name) for name in Selection.__slots__},
    )
    trail.record(
        action="audit.export_requested",
        actor=asked_by,
        target=Target("audit_export", str(row.pk)),
        detail={"reason": reason, "with_pii": selection.with_pii, "filter": bundle.filter_of(selection)},
    )
    enqueue(EXPORT, export_id=row.pk)
    return row


def _require_room(asked_by: Actor, *, at: datetime) -> None:
    """Let a person have one export at a time, and so many an hour. Raises: ExportBusy, TooManyRequests."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [ASKING_LOCK, asked_by.id])
    own = Export.objects.filter(asked_by=asked_by.id[:64])
    if own.filter(state__in=(ExportState.QUEUED, ExportState.RUNNING)).exists():
        raise ExportBusy("Your last export is not done yet. Wait for it; you may ask for the next one then.")
    recent = own.filter(asked_at__gt=at - AN_HOUR).order_by("-asked_at").values_list("asked_at", flat=True)
    oldest = recent[ASKED_AN_HOUR_MAX - 1 : ASKED_AN_HOUR_MAX].first()
    if oldest is not None:
        raise TooManyRequests.until(
            f"You have asked for {ASKED_AN_HOUR_MAX} exports within an hour. Ask for wider ones, or wait.",
            policy="exports", most=ASKED_AN_HOUR_MAX, window=AN_HOUR, wait=oldest + AN_HOUR - at,
        )  # fmt: skip


def check(selection: Selection, *, reason: str) -> None:
    """Refuse what makes no sense. Raises: SelectionEmpty."""
    if not reason.strip():
        raise SelectionEmpty("Say what the export is for.")
    if selection.from_at and selection.to_at and selection.from_at >= selection.to_at:
        raise SelectionEmpty("The end must come after the beginning.")
    if bool(selection.object_id) > bool(selection.object_type):
        raise SelectionEmpty("An object is named by its type and its id.")


def run(*, export_id: int, clock: Callable[[], datetime]) -> None:
    """Write one bundle, unless another worker does, or it is done."""
    row = _claim(export_id, at=clock())
    if row is None:
        return
    try:
        _write(row, clock)
    except _Superseded:
        log.warning("audit.export.superseded", export_id=export_id, attempt=row.attempts)
    except (NexusError, OSError) as exc:
        _fail(row, fault=exc.detail if isinstance(exc, NexusError) else str(exc), at=clock())


def due(*, at: datetime) -> list[int]:
    """Return the exports whose job was lost, or whose worker has died."""
    forgotten = Q(state=ExportState.QUEUED, asked_at__lt=at - HANDED_OUT_AGAIN)
    orphaned = Q(state=ExportState.RUNNING, lease_until__lt=at)
    return list(Export.objects.filter(forgotten | orphaned).order_by("pk").values_list("pk", flat=True)[:DUE_MAX])


def sweep(*, at: datetime) -> None:
    """Hand out what was lost, and remove the files that were kept long enough."""
    for export_id in due(at=at):
        enqueue(EXPORT, expires_s=int(HANDED_OUT_AGAIN.total_seconds()), export_id=export_id)
    kept_since = at - timedelta(hours=settings.AUDIT_EXPORT_KEEP_HOURS)
    over = Export.objects.filter(state__in=(ExportState.READY, ExportState.TAKEN), finished_at__lt=kept_since)
    for row in over.order_by("pk")[:DUE_MAX]:
        _path(row).unlink(missing_ok=True)  # also what a crash between taking and removing has left
        Export.objects.filter(pk=row.pk, state=row.state).update(state=ExportState.EXPIRED)


def take(*, export_id: int, by: Actor) -> BinaryIO:
    """Hand a finished bundle over, open, and write down to whom. It is taken once: its file is gone from then on.

    Raises: NotFound, ExportNotReady.
    """
    path = _path(selectors.export(export_id))
    with ExitStack() as unless_taken:
        try:
            file = unless_taken.enter_context(path.open("rb"))
        except FileNotFoundError:  # none yet, not any more, in another machine's folder, or somebody has tidied up
            file = None
        _mark_taken(export_id, by=by, is_there=file is not None)
        assert file is not None
        unless_taken.pop_all()
    path.unlink(missing_ok=True)  # whoever has it open reads on
    return file


@transaction.atomic(durable=True)
def _mark_taken(export_id: int, *, by: Actor, is_there: bool) -> None:
    row = Export.objects.select_for_update(no_key=True).get(pk=export_id)
    if row.state != ExportState.READY:
        raise ExportNotReady(f"Export {export_id} is {row.state}.")
    if not is_there:
        raise ExportNotReady(f"The file of export {export_id} is not where AUDIT_EXPORT_DIR says.")
    row.state = ExportState.TAKEN
    row.save(update_fields=["state"])
    detail = {"manifest_sha256": row.manifest_sha256, "with_pii": row.with_pii}
    trail.record(action="audit.export_taken", actor=by, target=Target("audit_export", str(row.pk)), detail=detail)


def note(
    made: Bundle, selection: Selection, *, by: Actor, target: str, reason: str, outcome: Outcome = Outcome.SUCCESS
) -> None:
    """Append that a bundle was made; its manifest can be told by the hash that this event holds."""
    detail: dict[str, Any] = {
        "manifest_sha256": made.manifest_sha256, "events": made.events, "hidden": made.hidden,
        "missing": made.missing, "from_batch": made.first, "to_batch": made.last, "with_pii": selection.with_pii,
        "filter": bundle.filter_of(selection), "reason": reason,
    }  # fmt: skip
    trail.record(
        action="audit.exported", actor=by, target=Target("audit_export", target), outcome=outcome, detail=detail
    )


@transaction.atomic(durable=True)
def _claim(export_id: int, *, at: datetime) -> Export | None:
    row = Export.objects.select_for_update(no_key=True).filter(pk=export_id).first()
    if row is None or row.state not in {ExportState.QUEUED, ExportState.RUNNING}:
        return None
    if row.state == ExportState.RUNNING and row.lease_until is not None and row.lease_until >= at:
        return None
    if row.attempts >= ATTEMPTS_MAX:
        _close(row, ExportState.FAILED, at=at, fault="The workers that wrote it died.")
        return None
    row.state, row.lease_until, row.attempts = ExportState.RUNNING, at + LEASE, row.attempts + 1
    row.save(update_fields=["state", "lease_until", "attempts"])
    return row


def _write(row: Export, clock: Callable[[], datetime]) -> None:
    path = _path(row)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left_behind in path.parent.glob(f"{path.name}.*.part"):
        left_behind.unlink()  # of a worker that died
    draft = path.with_name(f"{path.name}.{row.attempts}.part")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            made = bundling.write(
                row.selection, file, folder=path.parent, asked_by=row.asked_by, at=clock(),
                progress=_Teller(row, clock), using=settings.AUDIT_READER,
            )  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
        _finish(row, made, draft, at=clock())
    finally:
        draft.unlink(missing_ok=True)


class _Teller:
    """Tells the row how far it is, now and then, and holds its lease."""

    def __init__(self, row: Export, clock: Callable[[], datetime]) -> None:
        self._row = row
        self._clock = clock
        self._told_at: datetime | None = None

    def __call__(self, done: int, total: int) -> None:
        at = self._clock()
        if self._told_at is not None and at - self._told_at < TOLD_EVERY:
            return
        self._told_at = at
        if not _mine(self._row).update(done=done, total=total, lease_until=at + LEASE):
            raise _Superseded


def _mine(row: Export) -> QuerySet[Export]:
    return Export.objects.filter(pk=row.pk, state=ExportState.RUNNING, attempts=row.attempts)


@transaction.atomic(durable=True)
def _finish(row: Export, made: Bundle, draft: Path, *, at: datetime) -> None:
    size = draft.stat().st_size
    found = {"size": size, "events": made.events, "manifest_sha256": made.manifest_sha256}
    if not _mine(row).update(state=ExportState.READY, finished_at=at, lease_until=None, done=F("total"), **found):
        raise _Superseded
    by = Actor.system("exporter")
    note(made, row.selection, by=by, target=str(row.pk), reason=row.reason)
    draft.replace(_path(row))


@transaction.atomic(durable=True)
def _fail(row: Export, *, fault: str, at: datetime) -> None:
    log.error("audit.export.failed", export_id=row.pk, detail=fault)
    _close(row, ExportState.FAILED, at=at, fault=fault)


def _close(row: Export, state: ExportState, *, at: datetime, fault: str) -> None:
    if not _mine(row).update(state=state, finished_at=at, lease_until=None, fault=fault[:500]):
        return
    trail.record(
        action="audit.exported",
        actor=Actor.system("exporter"),
        target=Target("audit_export", str(row.pk)),
        outcome=Outcome.FAILURE,
        detail={"fault": fault, "asked_by": row.asked_by},
    )


def _path(row: Export) -> Path:
    return Path(settings.AUDIT_EXPORT_DIR) / f"nexus-audit-{row.pk}.zip"
