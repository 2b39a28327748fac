"""The black box on the console: read, search by what is indexed, change nothing."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from nexus.audit.models import Batch, Event
from nexus.core.operator import RecordAdmin


@admin.register(Event)
class EventAdmin(RecordAdmin):
    """Events, newest first. Personal data is not shown here: revealing it is an action of its own."""

    list_display = ("id", "recorded_at", "action", "outcome", "actor_type", "actor_id", "object_type", "object_id")
    ordering = ("-id",)
    search_fields = ("action", "actor_id")
    is_looked_up = True
    search_help_text = "An action, an actor's id, or an object as type:id. Exact words: only these are indexed."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by object when the words look like `order:123`, by action when one is called so, else by actor."""
        words = search_term.strip()
        object_type, colon, object_id = words.partition(":")
        if colon:
            return queryset.filter(object_type=object_type, object_id=object_id), False
        if not words:
            return queryset, False
        # Of both at once the database would read every event, the newest first, until enough fit.
        is_action = Event.objects.filter(action=words).exists()
        return queryset.filter(**{"action" if is_action else "actor_id": words}), False


@admin.register(Batch)
class BatchAdmin(RecordAdmin):
    """Sealed batches, newest first."""

    list_display = ("batch_no", "first_index", "leaf_count", "sealed_at", "key_id")
    fields = ("batch_no", "first_index", "leaf_count", "sealed_at", "key_id")
    ordering = ("-batch_no",)
