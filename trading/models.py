"""The tables of trading. A row of `TradeLedger` is the order, and code calls it `order`."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ClassVar, Self

from django.db import models

from trading.states import (
    OPEN_DELIVERIES,
    TRANSITIONS,
    CancelState,
    Delivery,
    FillKind,
    OrderStatus,
    OrderType,
    PositionMode,
    RejectedBy,
    Side,
    State,
)
from trading.types import Conversion, Instrument, OrderIntent


def _choices(values: type) -> list[tuple[str, str]]:
    return [(value, value) for value in values]  # type: ignore[attr-defined]


def _price(**options: Any) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(max_digits=24, decimal_places=10, **options)


def _quantity(**options: Any) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(max_digits=20, decimal_places=8, **options)


def _money(**options: Any) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(max_digits=24, decimal_places=8, **options)


class IllegalTransition(AssertionError):
    """A move that the table of transitions does not know, or that somebody else made first. Nothing was changed."""


class TradingAccount(models.Model):
    """One account at one venue, and whose it is."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=80)
    venue = models.CharField(max_length=16)
    venue_account = models.CharField(max_length=32)
    server = models.CharField(max_length=64)
    gateway_url = models.CharField(max_length=200, blank=True)
    currency = models.CharField(max_length=8)
    mode = models.CharField(max_length=8, choices=_choices(PositionMode))
    is_live = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    usd_symbol = models.CharField(max_length=32, blank=True, help_text="the pair that turns its currency into USD")
    usd_is_base = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "trading_account"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["venue", "server", "venue_account"], name="trading_account_one_link"),
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
    contract_size = _quantity()
    tick_size = _price()
    digits = models.PositiveSmallIntegerField()
    quantity_min = _quantity()
    quantity_max = _quantity()
    quantity_step = _quantity()
    stops_distance_min = _price()
    is_tradable = models.BooleanField()
    usd_symbol = models.CharField(max_length=32, blank=True, help_text="the pair that turns its profit into USD")
    usd_is_base = models.BooleanField(default=False)
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

    def as_instrument(self) -> Instrument:
        """Return the instrument in the words of the broker protocol."""
        names = Instrument.__dataclass_fields__
        return Instrument(**{name: getattr(self, name) for name in names})


class OrderQuerySet(models.QuerySet["TradeLedger"]):
    """Query words of orders."""

    def locked(self) -> "OrderQuerySet":
        """Lock the orders until the transaction ends. Read anything else in the next statement."""
        return self.order_by("pk").select_for_update(of=("self",), no_key=True)

    def open(self) -> "OrderQuerySet":
        """Orders that may still fill."""
        return self.filter(delivery__in=OPEN_DELIVERIES)

    def unresolved(self) -> "OrderQuerySet":
        """Orders of which the broker has something to tell: sent, and not closed."""
        return self.filter(delivery__in=[Delivery.SENDING, Delivery.ACKED, Delivery.UNKNOWN])


class TradeLedger(models.Model):
    """One order, from its intent to its last fill."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    client_order_id = models.CharField(max_length=32, help_text="ours, made first, sent once")
    venue_order_id = models.CharField(max_length=32, blank=True)
    symbol = models.CharField(max_length=32)
    side = models.CharField(max_length=4, choices=_choices(Side))
    order_type = models.CharField(max_length=16, choices=_choices(OrderType), default=OrderType.MARKET)
    quantity = _quantity(help_text="lots")
    entry_price = _price(null=True, help_text="what the client saw; the collar of a market order")
    stop_loss = _price(null=True)
    take_profit = _price(null=True)

    status = models.CharField(max_length=16, choices=_choices(OrderStatus))
    delivery = models.CharField(max_length=8, choices=_choices(Delivery))
    cancel = models.CharField(max_length=9, choices=_choices(CancelState), default=CancelState.NONE)
    rejected_by = models.CharField(max_length=6, choices=_choices(RejectedBy), blank=True)
    reason = models.CharField(max_length=64, blank=True, help_text="SUBJECT_CONDITION")
    reason_detail = models.CharField(max_length=300, blank=True, help_text="the venue's own words")
    checks = models.JSONField(default=list, help_text="every check with its figures, as judged")

    risk = _money(default=0, help_text="USD, the worst it can cost")
    reserved = _money(default=0, help_text="USD, of that what is not filled yet")
    value = _money(default=0, help_text="USD")
    filled_quantity = _quantity(default=0, help_text="the sum of its fills")
    average_price = _price(null=True)
    overfill_quantity = _quantity(default=0)
    late_fill = models.BooleanField(default=False)
    reference_bid = _price(null=True, help_text="when it was sent")
    reference_ask = _price(null=True)
    deviation = _price(default=0)

    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, help_text="by the database's clock, in the transaction that marks it")
    absent_since = models.DateTimeField(null=True, help_text="the first complete search without a trace")
    closed_at = models.DateTimeField(null=True)
    correlation_id = models.CharField(max_length=64, blank=True)

    objects = OrderQuerySet.as_manager()

    class Meta:
        db_table = "trade_ledger"
        verbose_name = "order"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "client_order_id"], name="order_one_a_client_order_id"),
            models.UniqueConstraint(
                fields=["account", "venue_order_id"], condition=~models.Q(venue_order_id=""), name="order_one_a_ticket"
            ),
            models.CheckConstraint(condition=models.Q(quantity__gt=0), name="order_quantity_above_zero"),
            models.CheckConstraint(condition=models.Q(filled_quantity__gte=0), name="order_filled_not_negative"),
            models.CheckConstraint(condition=models.Q(reserved__gte=0), name="order_reserved_not_negative"),
            models.CheckConstraint(condition=models.Q(attempts__in=[0, 1]), name="order_sent_at_most_once"),
            models.CheckConstraint(
                condition=~models.Q(delivery=Delivery.DONE) | models.Q(reserved=0), name="order_closed_reserves_nothing"
            ),
            models.CheckConstraint(
                condition=models.Q(status=OrderStatus.REJECTED) ^ models.Q(rejected_by=""),
                name="order_rejected_by_someone",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["user", "-id"], name="order_by_user"),
            models.Index(fields=["user"], condition=models.Q(reserved__gt=0), name="order_reserving"),
            models.Index(fields=["id"], condition=models.Q(delivery__in=OPEN_DELIVERIES), name="order_open"),
            models.Index(fields=["symbol", "-id"], name="order_by_symbol"),
        ]

    def __str__(self) -> str:
        return f"{self.client_order_id} {self.side} {self.quantity.normalize():f} {self.symbol}"

    @property
    def state(self) -> State:
        """Return where the order stands."""
        return State(OrderStatus(self.status), Delivery(self.delivery))

    @property
    def public_status(self) -> str:
        """Return the status as people see it: UNKNOWN while the delivery is."""
        return Delivery.UNKNOWN.value if self.delivery == Delivery.UNKNOWN else self.status

    @property
    def intent(self) -> OrderIntent:
        """Return what was asked for."""
        return OrderIntent(
            symbol=self.symbol,
            side=Side(self.side),
            quantity=self.quantity,
            entry_price=self.entry_price,
            stop_loss=self.stop_loss,
            take_profit=self.take_profit,
        )

    def move(
        self,
        to: State,
        *,
        at: datetime,
        reason: str = "",
        evidence: Mapping[str, Any] = MappingProxyType({}),
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> Self:
        """Move to `to`, write `facts` beside it and the OrderEvent, or raise IllegalTransition and change nothing.

        A closed order reserves nothing, whoever closes it.
        """
        came_from = self.state
        facts = dict(facts)
        if to.delivery is Delivery.DONE:
            facts |= {"reserved": Decimal(0), "closed_at": self.closed_at or at}
        allowed = to in TRANSITIONS[came_from]
        standing = TradeLedger.objects.filter(pk=self.pk, status=came_from.status, delivery=came_from.delivery)
        if not allowed or not standing.update(status=to.status, delivery=to.delivery, **facts):
            raise IllegalTransition(f"{self}: {came_from} → {to}")
        OrderEvent.objects.create(
            order=self, came_from=str(came_from), to=str(to), reason=reason, evidence=dict(evidence), at=at
        )
        self.status, self.delivery = to.status, to.delivery
        for name, fact in facts.items():
            setattr(self, name, fact)
        return self


class OrderEvent(models.Model):
    """One move of one order: from where, to where, why and on what evidence. Never changed."""

    order = models.ForeignKey(TradeLedger, on_delete=models.PROTECT, related_name="events")
    came_from = models.CharField(max_length=32, blank=True)
    to = models.CharField(max_length=32)
    reason = models.CharField(max_length=64, blank=True)
    evidence = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        db_table = "order_event"

    def __str__(self) -> str:
        return f"{self.came_from} → {self.to}"


class Fill(models.Model):
    """One execution at the venue, ours or not. Never changed: a correction is another row."""

    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+")
    order = models.ForeignKey(TradeLedger, null=True, on_delete=models.PROTECT, related_name="fills")
    venue_fill_id = models.CharField(max_length=32)
    venue_order_id = models.CharField(max_length=32, blank=True)
    venue_position_id = models.CharField(max_length=32, blank=True)
    symbol = models.CharField(max_length=32)
    side = models.CharField(max_length=4, choices=_choices(Side))
    quantity = _quantity(help_text="lots")
    price = _price()
    commission = _money(default=0)
    swap = _money(default=0)
    fee = _money(default=0)
    profit = _money(default=0)
    kind = models.CharField(max_length=12, choices=_choices(FillKind))
    slippage = models.DecimalField(max_digits=16, decimal_places=10, null=True, help_text="adverse, of the reference")
    filled_at = models.DateTimeField()
    booked_at = models.DateTimeField(help_text="by the database's clock")

    class Meta:
        db_table = "fill"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "venue_fill_id"], name="fill_one_a_deal"),
            models.CheckConstraint(condition=models.Q(quantity__gt=0), name="fill_quantity_above_zero"),
            models.CheckConstraint(condition=models.Q(price__gt=0), name="fill_price_above_zero"),
        ]
        indexes: ClassVar = [models.Index(fields=["account", "booked_at"], name="fill_by_booking")]

    def __str__(self) -> str:
        return f"{self.side} {self.quantity.normalize():f} {self.symbol} at {self.price.normalize():f}"


class BrokerPosition(models.Model):
    """A position as our fills make it. Its price now comes from the broker when somebody looks."""

    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+")
    venue_position_id = models.CharField(max_length=32)
    symbol = models.CharField(max_length=32)
    quantity = _quantity(help_text="lots, negative when short")
    price_open = _price(help_text="average")
    stop_loss = _price(null=True)
    take_profit = _price(null=True)
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
