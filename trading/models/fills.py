"""Executions, and the positions that they make."""

import uuid
from typing import ClassVar

from django.db import models

from trading.models import columns
from trading.models.accounts import TradingAccount
from trading.states import CashKind, FillKind, Side


class Fill(models.Model):
    """One execution at the venue, ours or not. Never changed: a correction is another row."""

    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+", db_index=False)
    order = models.ForeignKey("trading.TradeLedger", null=True, on_delete=models.PROTECT, related_name="fills")
    venue_fill_id = models.CharField(max_length=64)
    venue_order_id = models.CharField(max_length=64, blank=True)
    venue_position_id = models.CharField(max_length=64, blank=True)
    symbol = models.CharField(max_length=32)
    side = models.CharField(max_length=4, choices=columns.choices_of(Side))
    quantity = columns.quantity(help_text="lots")
    price = columns.price()
    commission = columns.money(default=0)
    swap = columns.money(default=0)
    fee = columns.money(default=0)
    profit = columns.money(default=0)
    reverses = models.CharField(max_length=64, blank=True, help_text="the fill that this one takes back")
    kind = models.CharField(max_length=12, choices=columns.choices_of(FillKind))
    slippage = models.DecimalField(max_digits=16, decimal_places=10, null=True, help_text="adverse, of the reference")
    filled_at = models.DateTimeField()
    venue_time_ms = models.BigIntegerField(null=True, help_text="as the venue's own clock wrote it")
    venue_offset_s = models.IntegerField(null=True, help_text="taken off to get UTC")
    is_nameless = models.BooleanField(
        default=False, db_default=False, help_text="the venue shows nobody as the one who asked for it"
    )
    booked_at = models.DateTimeField(help_text="by the database's clock")

    class Meta:
        db_table = "fill"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "venue_fill_id"], name="fill_one_a_deal"),
            models.CheckConstraint(condition=models.Q(quantity__gt=0), name="fill_quantity_above_zero"),
        ]
        indexes: ClassVar = [models.Index(fields=["account", "booked_at"], name="fill_by_booking")]

    def __str__(self) -> str:
        return f"{self.side} {self.quantity.normalize():f} {self.symbol} at {self.price.normalize():f}"


class BrokerPosition(models.Model):
    """A position as our fills make it. Its price now comes from the broker when somebody looks."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+", db_index=False)
    venue_position_id = models.CharField(max_length=64)
    symbol = models.CharField(max_length=32)
    quantity = columns.quantity(help_text="lots, negative when short")
    price_open = columns.price(help_text="average")
    stop_loss = columns.price(null=True)
    take_profit = columns.price(null=True)
    stops_unseen = models.BooleanField(
        default=False, db_default=False, help_text="an order brought them, and no list has shown them yet"
    )
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "broker_positions"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "venue_position_id"], name="position_one_an_identifier"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["account"], condition=models.Q(closed_at__isnull=True), name="position_open"),
        ]

    def __str__(self) -> str:
        return f"{self.side} {abs(self.quantity).normalize():f} {self.symbol}"

    @property
    def side(self) -> Side:
        """Return which way the position looks."""
        return Side.SELL if self.quantity < 0 else Side.BUY


class CashMovement(models.Model):
    """One movement of money at the venue without a trade. Never changed."""

    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+", db_index=False)
    venue_cash_id = models.CharField(max_length=64)
    kind = models.CharField(max_length=10, choices=columns.choices_of(CashKind))
    amount = columns.money(help_text="account currency, negative when it leaves")
    words = models.CharField(max_length=100, blank=True, help_text="the venue's own")
    moved_at = models.DateTimeField()
    venue_time_ms = models.BigIntegerField(null=True, help_text="as the venue's own clock wrote it")
    venue_offset_s = models.IntegerField(null=True, help_text="taken off to get UTC")
    booked_at = models.DateTimeField()

    class Meta:
        db_table = "cash_movement"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "venue_cash_id"], name="cash_movement_one_a_deal"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount.normalize():f}"
