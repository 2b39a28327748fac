"""What people are told: one row a condition, however often it is seen."""

from typing import ClassVar

from django.db import models

from nexus.alerts.states import Severity


class Alert(models.Model):
    """A condition that somebody must know of. Open alerts are unique by their dedupe key."""

    severity = models.CharField(max_length=8, choices=[(s.value, s.value) for s in Severity])
    kind = models.CharField(max_length=48, help_text="SUBJECT_CONDITION")
    dedupe_key = models.CharField(max_length=160)
    text = models.CharField(max_length=500)
    object_type = models.CharField(max_length=32, blank=True)
    object_id = models.CharField(max_length=64, blank=True)
    seen_count = models.PositiveIntegerField(default=1)
    opened_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "alert"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["dedupe_key"], condition=models.Q(closed_at__isnull=True), name="alert_one_open_a_key"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.severity} {self.kind}: {self.text}"
