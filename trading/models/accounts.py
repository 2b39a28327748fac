"""Accounts at venues, and what can be traded there."""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from django.db import models

from trading.models import columns
from trading.states import (
    OrderType,
    PositionMode,
    TimeInForce,
)
from trading.types import Conversion, Instrument


class TradingAccount(models.Model):
    """One account at one venue, and whose it is."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=80)
    venue = models.CharField(max_length=16)
    venue_account = models.CharField(max_length=32)
    server = models.CharField(max_length=64)
    gateway_url = models.CharField(max_length=200, blank=True)
    moved_at = models.DateTimeField(
        null=True, blank=True, help_text="by the database's clock: since when it is reached by this gateway"
    )
    currency = models.CharField(max_length=8)
    mode = models.CharField(max_length=8, choices=columns.choices_of(PositionMode))
    is_live = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    armed_until = models.DateTimeField(
        null=True, blank=True, help_text="of an account with real money: until when it takes orders"
    )
    usd_symbol = models.CharField(max_length=32, blank=True, help_text="the pair that turns its currency into USD")
    usd_is_base = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "trading_account"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["venue", "server", "venue_account"], name="trading_account_one_link"),
            models.CheckConstraint(
                condition=models.Q(armed_until__isnull=True) | models.Q(is_live=True),
                name="trading_account_armed_is_live",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.venue} {self.venue_account})"

    @property
    def conversion(self) -> Conversion:
        """Return how the account's currency becomes USD."""
        return Conversion(self.usd_symbol, self.usd_is_base)


class TradableInstrument(models.Model):
    """What a venue says of one instrument of one account, as last read."""

    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+")
    symbol = models.CharField(max_length=32)
    base_currency = models.CharField(max_length=8)
    profit_currency = models.CharField(max_length=8)
    margin_currency = models.CharField(max_length=8)
    contract_size = columns.quantity()
    tick_size = columns.price()
    digits = models.PositiveSmallIntegerField()
    quantity_min = columns.quantity()
    quantity_max = columns.quantity()
    quantity_step = columns.quantity()
    stops_distance_min = columns.price()
    is_tradable = models.BooleanField()
    freeze_distance = columns.price(default=0)
    order_types = models.JSONField(default=list)
    times_in_force = models.JSONField(default=list)
    takes_stops = models.BooleanField(default=True, help_text="its positions carry a stop and a target")
    commission_per_lot = columns.money(null=True, help_text="USD, round trip; empty where the setting counts")
    one_way_max = columns.quantity(null=True, help_text="lots held and waiting on one side; empty for no limit")
    usd_symbol = models.CharField(max_length=32, blank=True, help_text="the pair that turns its profit into USD")
    usd_is_base = models.BooleanField(default=False)
    last_mid = columns.price(null=True, help_text="the last price that could be trusted")
    last_mid_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField()

    class Meta:
        db_table = "instrument"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "symbol"], name="instrument_one_a_symbol"),
        ]

    def __str__(self) -> str:
        return self.symbol

    @property
    def conversion(self) -> Conversion:
        """Return how the instrument's profit currency becomes USD."""
        return Conversion(self.usd_symbol, self.usd_is_base)

    def commission(self, usual: Decimal) -> Decimal:
        """Return the commission of a round trip per lot, in USD: the venue's own, or the usual one."""
        return usual if self.commission_per_lot is None else self.commission_per_lot

    @property
    def last_good(self) -> tuple[Decimal, datetime] | None:
        """Return the last mid price that could be trusted and its time, or None."""
        return None if self.last_mid is None or self.last_mid_at is None else (self.last_mid, self.last_mid_at)

    def as_instrument(self) -> Instrument:
        """Return the instrument in the words of the broker protocol."""
        facts = {name: getattr(self, name) for name in Instrument.__dataclass_fields__}
        facts |= {
            "order_types": frozenset(map(OrderType, self.order_types)),
            "times_in_force": frozenset(map(TimeInForce, self.times_in_force)),
        }
        return Instrument(**facts)
