"""What operators read of limits and their changes, days, adjustments and the stop switch."""

from typing import ClassVar

from django.contrib import admin

from nexus.core.operator import RecordAdmin
from risk.models import (
    AccountDay,
    AccountSight,
    ControlRelease,
    LimitChange,
    RiskAdjustment,
    RiskLimit,
    SuspicionClearance,
    TradingControl,
    UserDailyStats,
)


@admin.register(TradingControl)
class TradingControlAdmin(RecordAdmin):
    """The stop switch, one row a scope."""

    list_display = ("scope", "key", "level", "sweep", "reason", "set_by", "set_at", "has_lock", "listed_at")
    list_filter: ClassVar = ["scope", "level"]
    ordering = ("scope", "key")


@admin.register(ControlRelease)
class ControlReleaseAdmin(RecordAdmin):
    """Every proposal to ease a stop: who proposed, who decided, and what was looked at."""

    list_display = ("control", "before", "level", "reason", "state", "proposed_by", "decided_by", "expires_at")
    list_filter: ClassVar = ["state"]
    list_select_related = ("control", "proposed_by", "decided_by")
    ordering = ("-id",)


@admin.register(RiskLimit)
class RiskLimitAdmin(RecordAdmin):
    """Every version of every limit; those without an end are in force."""

    list_display = ("scope", "key", "kind", "value", "reason", "set_by", "created_at", "ended_at")
    list_filter: ClassVar = ["scope", "kind"]
    search_fields = ("=key",)
    ordering = ("-id",)


@admin.register(UserDailyStats)
class UserDailyStatsAdmin(RecordAdmin):
    """What each user has done on each trading day."""

    list_display = ("user", "trading_date", "orders_admitted", "orders_rejected", "value_admitted", "quantity_admitted")
    list_filter: ClassVar = ["trading_date"]
    list_select_related = ("user",)
    ordering = ("-id",)


@admin.register(AccountDay)
class AccountDayAdmin(RecordAdmin):
    """The equity each account began its day with."""

    list_display = ("account_id", "trading_date", "equity_start", "currency", "created_at")
    list_filter: ClassVar = ["trading_date"]
    search_fields = ("=account_id",)
    ordering = ("-id",)


@admin.register(LimitChange)
class LimitChangeAdmin(RecordAdmin):
    """Every proposal to raise a limit: who proposed and who decided, which `manage.py limit` does."""

    list_display = ("scope", "key", "kind", "before", "value", "state", "proposed_by", "decided_by", "expires_at")
    list_filter: ClassVar = ["state", "kind"]
    list_select_related = ("proposed_by", "decided_by")
    ordering = ("-id",)


@admin.register(AccountSight)
class AccountSightAdmin(RecordAdmin):
    """When each account was last looked at with success."""

    list_display = ("account_id", "seen_at")
    search_fields = ("=account_id",)
    ordering = ("seen_at",)


@admin.register(RiskAdjustment)
class RiskAdjustmentAdmin(RecordAdmin):
    """What changed the risk of something that already stood."""

    list_display = ("kind", "account_id", "order_id", "before", "after", "reason", "created_at")
    list_filter: ClassVar = ["kind"]
    search_fields = ("=order_id", "=account_id")
    ordering = ("-id",)


@admin.register(SuspicionClearance)
class SuspicionClearanceAdmin(RecordAdmin):
    """Whose orders were let pass although they look suspicious, how, until when, by whom and why."""

    list_display = ("user", "suspicion", "until", "reason", "cleared_by", "created_at")
    list_filter: ClassVar = ["suspicion"]
    list_select_related = ("user", "cleared_by")
    ordering = ("-id",)
