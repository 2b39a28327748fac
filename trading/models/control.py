"""What the brake works with: the sweeps of stops, and what the watch reads of every account, now and over time."""

from typing import ClassVar

from django.db import models

from risk.states import ControlScope, Sweep
from trading.models import columns
from trading.models.accounts import TradingAccount
from trading.states import SweepState


class SweepRun(models.Model):
    """The sweep of one stop on one account: until the broker's own view proves that nothing is left."""

    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+")
    scope = models.CharField(max_length=16, choices=columns.choices_of(ControlScope), help_text="of the stop")
    key = models.CharField(max_length=64, blank=True)
    version = models.PositiveIntegerField(help_text="of the stop that asked last")
    symbol = models.CharField(max_length=32, blank=True, help_text="the only instrument; empty for all")
    kind = models.CharField(max_length=8, choices=columns.choices_of(Sweep))
    state = models.CharField(max_length=9, choices=columns.choices_of(SweepState))
    reason = models.CharField(max_length=500)
    requested_by = models.CharField(max_length=64)
    rounds = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0, help_text="rounds in a row that got nowhere")
    detail = models.CharField(max_length=500, blank=True, help_text="why it is not over yet")
    left = models.JSONField(default=dict, help_text="what the last round has left")
    proof = models.JSONField(default=dict, help_text="what the broker's own view showed at the end")
    started_at = models.DateTimeField(help_text="all times by the database's clock")
    due_at = models.DateTimeField()
    canceled_at = models.DateTimeField(null=True, help_text="the first look without a working order")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "sweep_run"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "scope", "key"],
                condition=models.Q(state=SweepState.RUNNING.value),
                name="sweep_one_running_a_stop",
            ),
            models.CheckConstraint(
                condition=models.Q(state=SweepState.RUNNING.value) ^ models.Q(ended_at__isnull=False),
                name="sweep_ended_when_over",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["failures", "due_at"], condition=models.Q(state=SweepState.RUNNING.value), name="sweep_running"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.account}: {self.state}"


class AccountFigures(models.Model):
    """What the watch last read of an account, and what it means in USD. What nobody knows is empty, and says why."""

    account = models.OneToOneField(TradingAccount, primary_key=True, on_delete=models.PROTECT, related_name="figures")
    trading_date = models.DateField(null=True, help_text="UTC; whose loss it is")
    currency = models.CharField(max_length=8, blank=True)
    balance = columns.money(null=True)
    equity = columns.money(null=True)
    margin_level = models.DecimalField(max_digits=24, decimal_places=2, null=True, help_text="percent")
    loss_today = columns.money(null=True, help_text="USD")
    loss_known = columns.money(
        default=0, help_text="USD, the last loss of that day that was known: while none is, it counts"
    )
    open_risk = columns.money(null=True, help_text="USD, from the mark to the stops")
    fault = models.CharField(max_length=300, blank=True, help_text="why something of it is not known")
    read_at = models.DateTimeField(null=True, help_text="by the database's clock")
    failing_since = models.DateTimeField(null=True, help_text="since when the account cannot be read")
    explained = columns.money(default=0, help_text="what our books explain of the balance, by what they held at a time")
    explained_until = models.DateTimeField(null=True, help_text="that time, by the database's clock")
    unexplained_before = columns.money(default=0, help_text="what the balance had more when the day began")
    journal_run = models.CharField(
        max_length=32, blank=True, help_text="of the gateway with its journal, the last seen"
    )
    journal_beats = models.BigIntegerField(default=0, help_text="how far that run has come")
    exposure = models.JSONField(default=dict, help_text="by symbol: lots and USD, long and short, at the broker's mark")

    class Meta:
        db_table = "account_figures"
        verbose_name_plural = "account figures"

    def __str__(self) -> str:
        return f"{self.account} at {self.read_at}"


class AccountReading(models.Model):
    """What the watch saw of an account in one minute, for charts: the last equity, and the worst of everything else.

    Nothing is decided by it. Rows older than `READINGS_DAYS` are deleted.
    """

    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+", db_index=False)
    minute = models.DateTimeField()
    equity = columns.money(null=True, help_text="account currency, the last of the minute")
    equity_low = columns.money(null=True, help_text="account currency, the lowest of the minute")
    loss_today = columns.money(null=True, help_text="USD, of this account, the most of the minute")
    lost = columns.money(help_text="USD, of all accounts of its owner: what the limit is held against")
    loss_limit = columns.money(null=True, help_text="USD, the tightest that was in force; empty without one")

    class Meta:
        db_table = "account_reading"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "minute"], name="account_reading_one_a_minute"),
        ]

    def __str__(self) -> str:
        return f"account {self.account_id} at {self.minute}"
