"""What operators read of alerts."""

from typing import ClassVar

from django.contrib import admin

from nexus.alerts.models import Alert
from nexus.core.operator import RecordAdmin


@admin.register(Alert)
class AlertAdmin(RecordAdmin):
    """Conditions that somebody must know of, the newest first."""

    list_display = ("severity", "kind", "text", "seen_count", "opened_at", "last_seen_at", "closed_at")
    list_filter: ClassVar = ["severity"]  # the kinds would be read off the whole table, each time
    search_fields = ("=kind", "=object_id")
    ordering = ("-id",)
