"""What operators see: tables that they read and act on, and never edit."""

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

ROWS_COUNTED_MAX = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Count no further than `ROWS_COUNTED_MAX`: beyond that a person searches, and the database need not count."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, or the cap."""
        rows = self.object_list
        if isinstance(rows, QuerySet):
            return int(rows.order_by()[:ROWS_COUNTED_MAX].count())
        return len(rows)


class RecordAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A read-only table. Repairs go through the owner's services, never through a form."""

    show_full_result_count = False
    list_per_page = 50
    paginator = CappedPaginator
    actions: Any = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: records are made by services."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: records are not edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: records are not deleted."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Name every field that is shown."""
        shown = self.fields or [field.name for field in self.opts.concrete_fields]
        return (*shown, *(name for name in self.readonly_fields if name not in shown))

    def get_actions(self, request: HttpRequest) -> Any:
        """Offer what the class lists, and never the site's `delete_selected`."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}
