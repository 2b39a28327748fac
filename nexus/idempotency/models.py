"""The table behind idempotent requests."""

from typing import ClassVar

from django.db import models


class IdempotencyRecord(models.Model):
    """What one key of one principal on one account has made. Kept while that is open, and 48 h beyond its making."""

    principal = models.CharField(max_length=64)
    account = models.CharField(max_length=64)
    key = models.CharField(max_length=128)
    fingerprint = models.BinaryField(max_length=32, help_text="SHA-256 of the canonical request")
    object_type = models.CharField(max_length=32)
    object_id = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True, help_text="empty while the object is open")

    class Meta:
        db_table = "idempotency_record"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["principal", "account", "key"], name="idempotency_record_one_a_key"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["expires_at"], name="idempotency_record_expiry"),
            models.Index(fields=["object_id"], name="idempotency_record_object"),
        ]

    def __str__(self) -> str:
        return f"{self.key} → {self.object_type} {self.object_id}"
