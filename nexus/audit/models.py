"""The black box as Django sees it: tables that it may read and does not manage. Migration 0001 holds the real ones.

What is managed here is no evidence: how far the anchors are, what verifications came to, and what was exported.
"""

from django.db import models

from nexus.audit.states import ExportState
from nexus.audit.types import Selection


class Event(models.Model):
    """One thing that was done, or refused. `canonical` holds the exact bytes that will be sealed."""

    id = models.BigAutoField(primary_key=True)
    recorded_at = models.DateTimeField()
    action = models.TextField()
    outcome = models.TextField()
    actor_type = models.TextField()
    actor_id = models.TextField()
    object_type = models.TextField()
    object_id = models.TextField()
    request_id = models.TextField()
    canonical = models.TextField()

    class Meta:
        managed = False
        db_table = '"audit"."event"'

    def __str__(self) -> str:
        return f"{self.action} #{self.pk}"


class Pii(models.Model):
    """Personal data of an event, kept apart so that it can be erased; the event holds only a salted commitment."""

    event = models.OneToOneField(Event, models.DO_NOTHING, primary_key=True, related_name="+")
    salt = models.BinaryField()
    data = models.TextField()

    class Meta:
        managed = False
        db_table = '"audit"."pii"'
        verbose_name_plural = "pii"

    def __str__(self) -> str:
        return f"personal data of event #{self.pk}"


class Batch(models.Model):
    """A sealed run of events: a Merkle root, chained to the batch before and signed."""

    batch_no = models.BigIntegerField(primary_key=True)
    first_index = models.BigIntegerField(unique=True)
    leaf_count = models.IntegerField()
    merkle_root = models.BinaryField()
    prev_hash = models.BinaryField(unique=True)
    sealed_at = models.DateTimeField()
    batch_hash = models.BinaryField(unique=True)
    key_id = models.TextField()
    signature = models.BinaryField()

    class Meta:
        managed = False
        db_table = '"audit"."batch"'
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return f"batch {self.batch_no}"


class Leaf(models.Model):
    """An event's place in the sealed log. `log_index` is dense: a gap is evidence."""

    log_index = models.BigIntegerField(primary_key=True)
    event = models.OneToOneField(Event, models.DO_NOTHING, related_name="+")
    batch = models.ForeignKey(Batch, models.DO_NOTHING, db_column="batch_no", related_name="+")
    leaf_hash = models.BinaryField()

    class Meta:
        managed = False
        db_table = '"audit"."leaf"'
        verbose_name_plural = "leaves"

    def __str__(self) -> str:
        return f"leaf {self.log_index}"


class AnchorMark(models.Model):
    """How far one anchor has come. Written by the sealer alone."""

    name = models.CharField(max_length=300, primary_key=True)
    is_set = models.BooleanField(help_text="the sealer's settings name it")
    kept_to = models.BigIntegerField(default=-1, help_text="the newest batch that it has taken")
    kept_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)
    fault = models.CharField(max_length=300, blank=True)

    class Meta:
        db_table = "audit_anchor"

    def __str__(self) -> str:
        return f"{self.name}: batch {self.kept_to}"


class Verification(models.Model):
    """One verification of the whole log, and what it came to."""

    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    asked_by = models.CharField(max_length=64, help_text="id of whoever asked")
    verdict = models.CharField(max_length=8)
    to_batch = models.BigIntegerField(help_text="the newest batch then; -1: none")
    batches = models.BigIntegerField()
    events = models.BigIntegerField()
    unsealed = models.BigIntegerField()
    counts = models.JSONField(help_text="findings by their name")
    findings = models.JSONField(help_text="the first hundred")
    notes = models.JSONField()

    class Meta:
        db_table = "audit_verification"

    def __str__(self) -> str:
        return f"verification #{self.pk}: {self.verdict}"


class Export(models.Model):
    """A bundle that somebody asked for. `done` of `total` leaves are written; the file is named by the row's id."""

    asked_by = models.CharField(max_length=64, help_text="id of whoever asked")
    asked_at = models.DateTimeField()
    reason = models.CharField(max_length=500)
    from_at = models.DateTimeField(null=True)
    to_at = models.DateTimeField(null=True)
    action = models.CharField(max_length=200, blank=True)
    actor_id = models.CharField(max_length=200, blank=True)
    object_type = models.CharField(max_length=200, blank=True)
    object_id = models.CharField(max_length=200, blank=True)
    with_csv = models.BooleanField()
    with_pii = models.BooleanField()
    with_parquet = models.BooleanField(default=False, db_default=False)
    state = models.CharField(max_length=8, default=ExportState.QUEUED)
    attempts = models.IntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    finished_at = models.DateTimeField(null=True)
    fault = models.CharField(max_length=500, blank=True)
    events = models.BigIntegerField(default=0)
    size = models.BigIntegerField(default=0)
    manifest_sha256 = models.CharField(max_length=64, blank=True)

    class Meta:
        db_table = "audit_export"

    def __str__(self) -> str:
        return f"export #{self.pk}: {self.state}"

    @property
    def selection(self) -> Selection:
        """Return what was asked for."""
        return Selection(
            from_at=self.from_at,
            to_at=self.to_at,
            action=self.action,
            actor_id=self.actor_id,
            object_type=self.object_type,
            object_id=self.object_id,
            with_csv=self.with_csv,
            with_pii=self.with_pii,
            with_parquet=self.with_parquet,
        )

    @property
    def progress(self) -> float:
        """Return how far it is, from 0 to 1."""
        if self.state in {ExportState.READY, ExportState.TAKEN, ExportState.EXPIRED}:
            return 1.0
        return min(self.done / self.total, 1.0) if self.total else 0.0
