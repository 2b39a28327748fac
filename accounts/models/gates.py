"""Tables of what is counted before it is tried: one row a bucket, and the pairs that are known to be genuine."""

from typing import ClassVar

from django.db import models


class LoginGate(models.Model):
    """How often something was tried in the window, and until when it may not be. Written by `services.gates` alone."""

    bucket = models.BinaryField(primary_key=True, max_length=32, help_text="SHA-256 of what is counted")
    kind = models.TextField()
    subject = models.BinaryField(null=True, max_length=32, help_text="SHA-256 of whom it is about, to unlock by")
    failures = models.IntegerField()
    max_failures = models.IntegerField()
    window_s = models.IntegerField()
    lock_s = models.IntegerField()
    window_started_at = models.DateTimeField()
    locked_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "login_gate"
        indexes: ClassVar = [
            models.Index(fields=["subject"], name="login_gate_subject", condition=models.Q(subject__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {bytes(self.bucket).hex()[:16]}"


class RequestRate(models.Model):
    """How often somebody has asked in the minute that began then. Unlogged, and written by `services.rates` alone."""

    bucket = models.BinaryField(primary_key=True, max_length=32, help_text="SHA-256 of who asks")
    window_started_at = models.DateTimeField()
    used = models.IntegerField()

    class Meta:
        db_table = "request_rate"

    def __str__(self) -> str:
        return bytes(self.bucket).hex()[:16]


class KnownPair(models.Model):
    """A name and a network from which its owner has come in: strangers cannot lock the owner out there."""

    bucket = models.BinaryField(primary_key=True, max_length=32)
    last_success_at = models.DateTimeField()

    class Meta:
        db_table = "login_known_pair"

    def __str__(self) -> str:
        return bytes(self.bucket).hex()[:16]
