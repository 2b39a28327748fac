"""What people are told: one row a condition, however often it is seen, and one a message to each channel."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from nexus.alerts import rules
from nexus.alerts.rules import Runbook
from nexus.alerts.states import DeliveryState, Severity, Word


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
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=64, blank=True, help_text="id of the person")
    note = models.CharField(max_length=500, blank=True, help_text="what the person does about it")

    class Meta:
        db_table = "alert"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["dedupe_key"], condition=models.Q(closed_at__isnull=True), name="alert_one_open_a_key"
            ),
            models.CheckConstraint(
                condition=models.Q(acknowledged_at__isnull=True) ^ ~models.Q(acknowledged_by=""),
                name="alert_acknowledged_by_somebody",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["-id"], condition=models.Q(closed_at__isnull=True), name="alert_open"),
        ]

    def __str__(self) -> str:
        return f"{self.severity} {self.kind}: {self.text}"

    @property
    def is_over_when_taken(self) -> bool:
        """Whether it tells of what has happened and does not go on, so that nothing else would close it."""
        return rules.has_happened(self.kind)

    @property
    def explained(self) -> Runbook:
        """Return where it is written what to do."""
        return rules.runbook(self.kind)

    @property
    def runbook(self) -> str:
        """Return the same as a link: to the console, where this installation knows its own address."""
        place = self.explained
        if not settings.PUBLIC_URL:
            return place.file
        page = "" if place == rules.INDEX else f"{place.name}/#{place.anchor}"
        return f"{settings.PUBLIC_URL.rstrip('/')}/admin/runbooks/{page}"


class Delivery(models.Model):
    """One message about one alert to one channel: made with the alert, in its transaction, and sent after it."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    channel = models.CharField(max_length=48, help_text="its name; the address is in the settings alone")
    word = models.CharField(max_length=9, choices=[(w.value, w.value) for w in Word])
    state = models.CharField(max_length=7, choices=[(s.value, s.value) for s in DeliveryState])
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(help_text="not to be tried before")
    leased_until = models.DateTimeField(null=True, help_text="somebody is at it")
    sent_at = models.DateTimeField(null=True)
    fault = models.CharField(max_length=300, blank=True, help_text="why the last attempt failed")

    class Meta:
        db_table = "alert_delivery"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["alert", "channel", "word"], name="delivery_one_a_word"),
            models.CheckConstraint(
                condition=models.Q(state=DeliveryState.SENT) ^ models.Q(sent_at__isnull=True), name="delivery_sent_once"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["next_at"], condition=models.Q(state=DeliveryState.WAITING), name="delivery_waiting"),
            models.Index(fields=["channel"], condition=models.Q(state=DeliveryState.QUIET), name="delivery_quiet"),
        ]

    def __str__(self) -> str:
        return f"{self.alert.kind} to {self.channel}: {self.state}"
