"""The tables of risk: the locked day of a user, the limits, and the stop switch."""

from typing import Any, ClassVar

from django.db import models

from risk.states import ControlScope, LimitKind, LimitScope, StopLevel, Sweep


class LockingQuerySet(models.QuerySet[Any]):
    """Rows that are taken under a lock, always in the order of their keys."""

    def locked(self) -> "LockingQuerySet":
        """Lock the rows until the transaction ends. Read anything else in the next statement."""
        return self.order_by("pk").select_for_update(of=("self",), no_key=True)


class UserDailyStats(models.Model):
    """A user's trading day: the row that every admission of that user locks, and its counters."""

    user = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    trading_date = models.DateField(help_text="UTC")
    orders_admitted = models.PositiveIntegerField(default=0)
    orders_rejected = models.PositiveIntegerField(default=0)
    value_admitted = models.DecimalField(max_digits=24, decimal_places=8, default=0, help_text="USD")
    quantity_admitted = models.DecimalField(max_digits=20, decimal_places=8, default=0, help_text="lots")

    objects = LockingQuerySet.as_manager()

    class Meta:
        db_table = "user_daily_stats"
        verbose_name_plural = "user daily stats"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "trading_date"], name="user_daily_stats_one_a_day"),
        ]

    def __str__(self) -> str:
        return f"user {self.user_id} on {self.trading_date}"


class AccountDay(models.Model):
    """An account's equity when its trading day began: what the daily loss is measured from."""

    account_id = models.BigIntegerField()
    trading_date = models.DateField(help_text="UTC")
    currency = models.CharField(max_length=8)
    equity_start = models.DecimalField(max_digits=24, decimal_places=8)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "account_day"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account_id", "trading_date"], name="account_day_one_a_day"),
        ]

    def __str__(self) -> str:
        return f"account {self.account_id} on {self.trading_date}"


class RiskLimit(models.Model):
    """One version of one limit. A change is a new row; the row it replaces keeps the time it ended."""

    scope = models.CharField(max_length=16, choices=[(s.value, s.value) for s in LimitScope])
    key = models.CharField(max_length=64, blank=True, help_text="user or account id, or symbol; empty for the platform")
    kind = models.CharField(max_length=24, choices=[(k.value, k.value) for k in LimitKind])
    value = models.DecimalField(max_digits=24, decimal_places=8)
    reason = models.CharField(max_length=500)
    set_by = models.ForeignKey("accounts.User", null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "risk_limit"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["scope", "key", "kind"],
                condition=models.Q(ended_at__isnull=True),
                name="risk_limit_one_in_force",
            ),
            models.CheckConstraint(condition=models.Q(value__gt=0), name="risk_limit_above_zero"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value} of {self.scope} {self.key}".rstrip()


class TradingControl(models.Model):
    """How far trading is allowed in one scope, since when, by whom and why."""

    scope = models.CharField(max_length=16, choices=[(s.value, s.value) for s in ControlScope])
    key = models.CharField(max_length=64, blank=True, help_text="which one of the scope; empty for the system")
    level = models.SmallIntegerField(choices=[(level.value, level.name) for level in StopLevel])
    sweep = models.CharField(max_length=8, choices=[(s.value, s.value) for s in Sweep], default=Sweep.NONE.value)
    reason = models.CharField(max_length=500)
    set_by = models.CharField(max_length=64, help_text="a user's public id, or the name of a process")
    set_at = models.DateTimeField()

    objects = LockingQuerySet.as_manager()

    class Meta:
        db_table = "trading_control"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["scope", "key"], name="trading_control_one_a_scope"),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.key}: {StopLevel(self.level).name}"
