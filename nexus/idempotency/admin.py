"""What operators read of idempotent requests."""

from django.contrib import admin

from nexus.core.operator import RecordAdmin
from nexus.idempotency.models import IdempotencyRecord


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(RecordAdmin):
    """Which key made which object."""

    list_display = ("created_at", "principal", "account", "key", "object_type", "object_id", "expires_at")
    search_fields = ("=key", "=object_id")
    ordering = ("-id",)
