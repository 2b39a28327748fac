"""What operators read of reconciliation; decisions are made at `/admin/reviews/` or by `manage.py reviews`."""

from typing import ClassVar

from django.contrib import admin

from nexus.core.operator import RecordAdmin
from reconciliation.models import Cycle, ReconciliationLog, Review, Sighting


@admin.register(Cycle)
class CycleAdmin(RecordAdmin):
    """Where each account stands in its cycle."""

    list_display = (
        "account", "succeeded_at", "ran_at", "due_at", "failures", "discrepancy_usd", "is_unvalued", "handed_at",
    )  # fmt: skip
    list_filter: ClassVar = ["is_unvalued"]
    list_select_related = ("account",)
    search_fields = ("=account__venue_account",)
    ordering = ("-discrepancy_usd", "account_id")


@admin.register(ReconciliationLog)
class ReconciliationLogAdmin(RecordAdmin):
    """Every run, difference and decision, the newest first."""

    list_display = (
        "at", "entry", "account", "status", "key", "symbol", "quantity_discrepancy", "cash_discrepancy", "value_usd",
        "risk_impact", "action", "reason", "trigger", "made_by",
    )  # fmt: skip
    list_filter: ClassVar = ["entry", "action", "risk_impact", "status"]
    list_select_related = ("account",)
    search_fields = ("=key", "=symbol", "=account__venue_account")
    ordering = ("-id",)


@admin.register(Review)
class ReviewAdmin(RecordAdmin):
    """Differences that wait, or waited, for a person."""

    list_display = (
        "opened_at", "state", "account", "key", "symbol", "value_usd", "risk_impact", "owner", "leased_until",
        "seen_at", "decision", "decided_by", "reason",
    )  # fmt: skip
    list_filter: ClassVar = ["state", "risk_impact", "decision"]
    list_select_related = ("account",)
    search_fields = ("=key", "=symbol", "=public_id")
    ordering = ("-id",)


@admin.register(Sighting)
class SightingAdmin(RecordAdmin):
    """What the newest run of each account has seen, and how often in a row."""

    list_display = ("account", "key", "sightings", "excluded", "signature", "kept")
    list_select_related = ("account",)
    search_fields = ("=key",)
    ordering = ("account_id", "key")
