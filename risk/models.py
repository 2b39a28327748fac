"""The tables of risk: the locked day of a user, the limits, and the stop switch."""

from typing import Any, ClassVar

from django.db import models

from risk.states import (
    AdjustmentKind,
    ChangeState,
    ControlScope,
    LimitKind,
    LimitScope,
    StopLevel,
    Suspicion,
    Sweep,
)


class LockingQuerySet(models.QuerySet[Any]):
    """Rows that are taken under a lock, always in the order of their keys."""

    def locked(self) -> "LockingQuerySet":
        """Lock the rows until the transaction ends. Read anything else in the next statement."""
        return self.order_by("pk").select_for_update(of=("self",), no_key=True)


class UserDailyStats(models.Model):
    """A user's trading day: the row that every admission of that user locks, and its counters."""

    user = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    trading_date = models.DateField(help_text="UTC")
    orders_admitted = models.PositiveIntegerField(default=0)
    reductions_admitted = models.PositiveIntegerField(
        default=0, help_text="of the admitted: what only reduces, and counts no value"
    )
    orders_rejected = models.PositiveIntegerField(default=0)
    value_admitted = models.DecimalField(max_digits=24, decimal_places=8, default=0, help_text="USD")
    quantity_admitted = models.DecimalField(max_digits=20, decimal_places=8, default=0, help_text="lots")
    hour_started_at = models.DateTimeField(null=True, blank=True, help_text="by the database's clock")
    orders_this_hour = models.PositiveIntegerField(default=0, help_text="admitted since `hour_started_at`")

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
    cash_flow = models.DecimalField(
        max_digits=24, decimal_places=8, default=0, help_text="deposits less withdrawals since then: no result"
    )
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


class LimitChange(models.Model):
    """A wish to raise a limit: one person proposes, another decides. A decided one is never changed."""

    scope = models.CharField(max_length=16, choices=[(s.value, s.value) for s in LimitScope])
    key = models.CharField(max_length=64, blank=True)
    kind = models.CharField(max_length=24, choices=[(k.value, k.value) for k in LimitKind])
    before = models.DecimalField(max_digits=24, decimal_places=8, null=True, help_text="when it was proposed")
    value = models.DecimalField(max_digits=24, decimal_places=8)
    reason = models.CharField(max_length=500)
    state = models.CharField(max_length=8, choices=[(s.value, s.value) for s in ChangeState])
    proposed_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey("accounts.User", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)
    decision = models.CharField(max_length=500, blank=True, help_text="why it was applied or refused")

    objects = LockingQuerySet.as_manager()

    class Meta:
        db_table = "limit_change"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["scope", "key", "kind"],
                condition=models.Q(state=ChangeState.PROPOSED.value),
                name="limit_change_one_proposed",
            ),
            models.CheckConstraint(condition=models.Q(value__gt=0), name="limit_change_above_zero"),
            models.CheckConstraint(condition=~models.Q(reason=""), name="limit_change_has_a_reason"),
            models.CheckConstraint(
                condition=models.Q(decided_by__isnull=True) | ~models.Q(decided_by=models.F("proposed_by")),
                name="limit_change_second_person",
            ),
            models.CheckConstraint(
                condition=~models.Q(state__in=[ChangeState.APPLIED.value, ChangeState.REFUSED.value])
                | models.Q(decided_by__isnull=False, decided_at__isnull=False),
                name="limit_change_decided_by_someone",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.scope} {self.key}: {self.before} → {self.value}"


class AccountSight(models.Model):
    """When an account was last looked at with success: the base of the freshness check."""

    account_id = models.BigIntegerField(primary_key=True)
    seen_at = models.DateTimeField(help_text="by the database's clock")
    discrepancy = models.DecimalField(
        max_digits=24, decimal_places=8, null=True, default=0, help_text="USD; empty when not all of it can be valued"
    )

    class Meta:
        db_table = "account_sight"

    def __str__(self) -> str:
        return f"account {self.account_id} at {self.seen_at}"


class RiskAdjustment(models.Model):
    """One change of the risk of something that already stands, and why. Never changed."""

    kind = models.CharField(max_length=16, choices=[(k.value, k.value) for k in AdjustmentKind])
    account_id = models.BigIntegerField()
    order_id = models.BigIntegerField(null=True, help_text="the key of the order in the ledger, when there is one")
    before = models.DecimalField(
        max_digits=24, decimal_places=8, null=True, help_text="USD at risk; empty where it has no bound, or no price"
    )
    after = models.DecimalField(max_digits=24, decimal_places=8, null=True, help_text="the same, afterwards")
    reason = models.CharField(max_length=500)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "risk_adjustments"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(before__gte=0, after__gte=0), name="risk_adjustments_not_negative"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["order_id"], name="risk_adjustments_by_order")]

    def __str__(self) -> str:
        return f"{self.kind} {self.before} → {self.after} USD"


class SuspicionClearance(models.Model):
    """An operator's word that orders of a user may look suspicious in one way for a while. It is never changed."""

    user = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    suspicion = models.CharField(max_length=24, choices=[(s.value, s.value) for s in Suspicion])
    until = models.DateTimeField()
    reason = models.CharField(max_length=500)
    cleared_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "suspicion_clearance"
        constraints: ClassVar = [
            models.CheckConstraint(condition=~models.Q(reason=""), name="suspicion_clearance_has_a_reason"),
            models.CheckConstraint(
                condition=~models.Q(cleared_by=models.F("user")), name="suspicion_clearance_not_by_its_user"
            ),
            models.CheckConstraint(
                condition=models.Q(until__gt=models.F("created_at")), name="suspicion_clearance_runs_out"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["user", "until"], name="suspicion_clearance_in_force")]

    def __str__(self) -> str:
        return f"{self.suspicion} of user {self.user_id} until {self.until}"


class TradingControl(models.Model):
    """How far trading is allowed in one scope, since when, by whom and why. Only two people ease it."""

    scope = models.CharField(max_length=16, choices=[(s.value, s.value) for s in ControlScope])
    key = models.CharField(max_length=64, blank=True, help_text="which one of the scope; empty for the system")
    level = models.SmallIntegerField(choices=[(level.value, level.name) for level in StopLevel])
    sweep = models.CharField(max_length=8, choices=[(s.value, s.value) for s in Sweep], default=Sweep.NONE.value)
    reason = models.CharField(max_length=500)
    set_by = models.CharField(max_length=64, help_text="a user's public id, or the name of a process")
    set_at = models.DateTimeField()
    version = models.PositiveIntegerField(default=0, help_text="counts every stop and release")
    changed_at = models.DateTimeField(null=True, help_text="the last of them, by the database's clock")
    has_lock = models.BooleanField(default=True, help_text="whether the stop waited for every submitter")
    followed_version = models.PositiveIntegerField(default=0, help_text="whose orders on the way are listed")
    in_flight = models.JSONField(default=list, help_text="what might still reach the broker when it was listed")
    listed_at = models.DateTimeField(null=True)

    objects = LockingQuerySet.as_manager()

    class Meta:
        db_table = "trading_control"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["scope", "key"], name="trading_control_one_a_scope"),
            models.CheckConstraint(
                condition=models.Q(sweep=Sweep.NONE.value) | models.Q(level=StopLevel.HALTED.value),
                name="trading_control_sweeps_halted",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.place}: {StopLevel(self.level).name}"

    @property
    def place(self) -> str:
        """Return the scope with its key, as people read it."""
        return f"{self.scope} {self.key}".strip()


class ControlRelease(models.Model):
    """A wish to ease a stop: one person proposes, another decides. A decided one is never changed."""

    control = models.ForeignKey(TradingControl, on_delete=models.PROTECT, related_name="+")
    version = models.PositiveIntegerField(help_text="of the stop that it is about: another stop makes it stale")
    before = models.SmallIntegerField(choices=[(level.value, level.name) for level in StopLevel])
    level = models.SmallIntegerField(choices=[(level.value, level.name) for level in StopLevel])
    reason = models.CharField(max_length=500)
    state = models.CharField(max_length=8, choices=[(s.value, s.value) for s in ChangeState])
    proposed_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey("accounts.User", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)
    decision = models.CharField(max_length=500, blank=True, help_text="why it was applied or refused")
    checks = models.JSONField(default=list, help_text="what was looked at when it was applied, and what it showed")

    objects = LockingQuerySet.as_manager()

    class Meta:
        db_table = "control_release"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["control"],
                condition=models.Q(state=ChangeState.PROPOSED.value),
                name="control_release_one_proposed",
            ),
            models.CheckConstraint(condition=models.Q(level__lt=models.F("before")), name="control_release_eases"),
            models.CheckConstraint(condition=~models.Q(reason=""), name="control_release_has_a_reason"),
            models.CheckConstraint(
                condition=models.Q(decided_by__isnull=True) | ~models.Q(decided_by=models.F("proposed_by")),
                name="control_release_second_person",
            ),
            models.CheckConstraint(
                condition=~models.Q(state__in=[ChangeState.APPLIED.value, ChangeState.REFUSED.value])
                | models.Q(decided_by__isnull=False, decided_at__isnull=False),
                name="control_release_decided_by_someone",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.control.place}: {StopLevel(self.before).name} → {StopLevel(self.level).name}"
