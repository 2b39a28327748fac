"""The tables of reconciliation: where each account stands, everything that was found, and what waits for a person."""

import uuid
from typing import Any, ClassVar

from django.db import models

from reconciliation.states import Action, Decision, Entry, Impact, ReviewState, Status, Trigger


def _choices(values: Any) -> list[tuple[str, str]]:
    return [(value.value, value.value) for value in values]


def _usd(**options: Any) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(max_digits=24, decimal_places=8, **options)


def _quantity(**options: Any) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(max_digits=20, decimal_places=8, **options)


def _price(**options: Any) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(max_digits=24, decimal_places=10, **options)


class Cycle(models.Model):
    """Where one account stands in its cycle: when it is due, what its last runs have said."""

    account = models.OneToOneField(
        "trading.TradingAccount", primary_key=True, on_delete=models.PROTECT, related_name="+"
    )
    due_at = models.DateTimeField()
    handed_at = models.DateTimeField(null=True, help_text="when its slot was last handed to a worker")
    ran_at = models.DateTimeField(null=True, help_text="when a run last ended, however it did")
    succeeded_at = models.DateTimeField(null=True, help_text="when a complete run last ended")
    full_at = models.DateTimeField(null=True, help_text="when its whole history was last read")
    last_run = models.UUIDField(null=True, help_text="the newest complete run")
    failures = models.PositiveIntegerField(default=0, help_text="in a row")
    discrepancy_usd = _usd(default=0, help_text="D of the newest complete run, as far as it can be valued")
    is_unvalued = models.BooleanField(default=False)

    class Meta:
        db_table = "reconciliation_cycle"
        indexes: ClassVar = [models.Index(fields=["due_at"], name="reconciliation_due")]

    def __str__(self) -> str:
        return f"account {self.account_id}, due {self.due_at}"


class Sighting(models.Model):
    """A difference that the newest complete run has seen under one key, and how often in a row."""

    account = models.ForeignKey("trading.TradingAccount", on_delete=models.PROTECT, related_name="+")
    key = models.CharField(max_length=32)
    signature = models.CharField(max_length=200, blank=True)
    sightings = models.PositiveIntegerField(default=0)
    excluded = models.PositiveIntegerField(default=0, help_text="runs in a row that left it out")
    kept = models.CharField(max_length=200, blank=True, help_text="the signature that an operator keeps")
    counted_at = models.DateTimeField(null=True, help_text="the newest run that counted: those just after it do not")

    class Meta:
        db_table = "reconciliation_sighting"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "key"], name="reconciliation_sighting_one_a_key"),
        ]

    def __str__(self) -> str:
        return f"{self.key} of account {self.account_id}: {self.sightings}"


class ReconciliationLog(models.Model):
    """One run, one difference that it found, or one decision about it. Never changed."""

    run_id = models.UUIDField()
    entry = models.CharField(max_length=10, choices=_choices(Entry))
    account = models.ForeignKey("trading.TradingAccount", on_delete=models.PROTECT, related_name="+")
    trigger = models.CharField(max_length=8, choices=_choices(Trigger))
    status = models.CharField(max_length=9, choices=_choices(Status))
    key = models.CharField(max_length=32, blank=True, help_text="symbol (netting), identifier (hedging), or CASH")
    symbol = models.CharField(max_length=32, blank=True)
    our_quantity = _quantity(null=True, help_text="lots, negative when short")
    broker_quantity = _quantity(null=True)
    quantity_discrepancy = _quantity(default=0, help_text="lots: the broker's less ours; of a run, their absolute sum")
    our_price = _price(null=True)
    broker_price = _price(null=True)
    cash_discrepancy = _usd(default=0, help_text="account currency: the broker's balance less what our books explain")
    value_usd = _usd(null=True, help_text="of a run, D; empty when it cannot be valued")
    risk_impact = models.CharField(max_length=6, choices=_choices(Impact))
    action = models.CharField(max_length=16, choices=_choices(Action))
    reason = models.CharField(max_length=500, blank=True)
    evidence = models.JSONField(default=dict)
    made_by = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        db_table = "reconciliation_log"
        indexes: ClassVar = [
            models.Index(fields=["account", "at"], name="reconciliation_log_recent"),
            models.Index(fields=["at"], name="reconciliation_log_by_time"),
            models.Index(
                fields=["account", "at"],
                include=["value_usd", "status"],
                condition=models.Q(entry=Entry.RUN.value),
                name="reconciliation_log_runs",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.entry} {self.key} {self.action}".replace("  ", " ")


class Review(models.Model):
    """A difference that waits for a person, with both sides as the newest run saw them."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey("trading.TradingAccount", on_delete=models.PROTECT, related_name="+")
    key = models.CharField(max_length=32)
    symbol = models.CharField(max_length=32, blank=True)
    state = models.CharField(max_length=6, choices=_choices(ReviewState), default=ReviewState.OPEN.value)
    version = models.PositiveIntegerField(default=1, help_text="goes up when a run sees other figures")
    signature = models.CharField(max_length=200)
    evidence = models.JSONField()
    value_usd = _usd(null=True)
    risk_impact = models.CharField(max_length=6, choices=_choices(Impact))
    owner = models.CharField(max_length=64, blank=True, help_text="who looks at it")
    leased_until = models.DateTimeField(null=True)
    opened_at = models.DateTimeField()
    seen_run = models.UUIDField(help_text="the newest run that saw it")
    seen_at = models.DateTimeField()
    decision = models.CharField(max_length=13, choices=_choices(Decision), blank=True)
    decided_by = models.CharField(max_length=64, blank=True)
    decided_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        db_table = "reconciliation_review"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "key"],
                condition=models.Q(state=ReviewState.OPEN.value),
                name="reconciliation_review_one_open",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=[ReviewState.OPEN.value, ReviewState.GONE.value])
                | (~models.Q(decided_by="") & models.Q(decided_at__isnull=False)),
                name="reconciliation_review_decided_by_someone",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} of account {self.account_id}: {self.state}"
