"""The orders. A row of `TradeLedger` is the order, and code calls it `order`."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ClassVar, LiteralString, NamedTuple, Self

from django.db import models
from psycopg.types.json import Jsonb

from nexus.core import statements
from trading.models import columns
from trading.models.accounts import TradingAccount
from trading.states import (
    CANCEL_TRANSITIONS,
    OPEN_DELIVERIES,
    TRANSITIONS,
    CancelState,
    ChangeKind,
    ChangeState,
    DecisionState,
    Delivery,
    OrderStatus,
    OrderType,
    RejectedBy,
    Side,
    State,
    TimeInForce,
)
from trading.types import OrderIntent


class IllegalTransition(AssertionError):
    """A move that the table of transitions does not know, or that somebody else made first. Nothing was changed."""


NOWHERE_FOR = timedelta(seconds=60)  # between complete searches that show an order nowhere which the broker took

MOVE: LiteralString = """
WITH moved AS (
    UPDATE trade_ledger SET status = %(to_status)s, delivery = %(to_delivery)s{facts}
    WHERE id = %(order)s AND status = %(from_status)s AND delivery = %(from_delivery)s
    RETURNING id, stop_loss, take_profit, sent_at
), told AS (
    INSERT INTO order_event (order_id, came_from, "to", reason, evidence, at)
    SELECT id, %(came_from)s, %(to)s, %(event_reason)s, %(evidence)s, %(event_at)s FROM moved
){beside}
SELECT id{columns} FROM moved
"""


class Beside(NamedTuple):
    """What is written in the statement of a move, and only when it is made: named parts, columns, their values."""

    parts: LiteralString
    columns: LiteralString
    given: Mapping[str, Any]


ALONE = Beside("", "", MappingProxyType({}))


class OrderQuerySet(models.QuerySet["TradeLedger"]):
    """Query words of orders."""

    def locked(self) -> "OrderQuerySet":
        """Lock the orders until the transaction ends. Read anything else in the next statement."""
        return self.order_by("pk").select_for_update(of=("self",), no_key=True)

    def open(self) -> "OrderQuerySet":
        """Orders that may still fill."""
        return self.filter(delivery__in=OPEN_DELIVERIES)

    def unfound(self) -> "OrderQuerySet":
        """Orders that nobody can find: the answer was lost, or the broker took them and shows them nowhere, or no more
        of them than what has filled.
        """
        nowhere = models.Q(absent_at__gte=models.F("absent_since") + NOWHERE_FOR)
        return self.open().filter(models.Q(delivery=Delivery.UNKNOWN) | models.Q(nowhere, delivery=Delivery.ACKED))

    def unresolved(self) -> "OrderQuerySet":
        """Orders of which the broker has something to tell: sent, and not closed."""
        return self.filter(delivery__in=[Delivery.SENDING, Delivery.ACKED, Delivery.UNKNOWN])


class TradeLedger(models.Model):
    """One order, from its intent to its last fill."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    # No index of their own: others begin with them, and a planner that takes the short one reads a whole history.
    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="+", db_index=False)
    user = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    client_order_id = models.CharField(max_length=32, help_text="ours, made first, sent once")
    venue_order_id = models.CharField(max_length=64, blank=True)
    symbol = models.CharField(max_length=32)
    side = models.CharField(max_length=4, choices=columns.choices_of(Side))
    order_type = models.CharField(max_length=16, choices=columns.choices_of(OrderType), default=OrderType.MARKET)
    quantity = columns.quantity(help_text="lots")
    entry_price = columns.price(null=True, help_text="what the client saw; the collar of a market order")
    limit_price = columns.price(null=True)
    stop_price = columns.price(null=True, help_text="the trigger")
    time_in_force = models.CharField(max_length=3, choices=columns.choices_of(TimeInForce), blank=True)
    expires_at = models.DateTimeField(null=True)
    venue_position_id = models.CharField(max_length=64, blank=True, help_text="the position that it only reduces")
    other_position_id = models.CharField(max_length=64, blank=True, help_text="the opposite one that it closes it by")
    stop_loss = columns.price(null=True)
    take_profit = columns.price(null=True)

    status = models.CharField(max_length=16, choices=columns.choices_of(OrderStatus))
    delivery = models.CharField(max_length=8, choices=columns.choices_of(Delivery))
    cancel = models.CharField(max_length=9, choices=columns.choices_of(CancelState), default=CancelState.NONE)
    rejected_by = models.CharField(max_length=6, choices=columns.choices_of(RejectedBy), blank=True)
    reason = models.CharField(max_length=64, blank=True, help_text="SUBJECT_CONDITION")
    reason_detail = models.CharField(max_length=300, blank=True, help_text="the venue's own words")
    checks = models.JSONField(default=list, help_text="every check with its figures, as judged")

    risk = columns.money(default=0, help_text="USD, the worst it can cost")
    restopped = columns.money(default=0, help_text="USD, of that what it does to stops of what it is netted with")
    reserved = columns.money(default=0, help_text="USD, of that what is not filled yet")
    value = columns.money(default=0, help_text="USD")
    filled_quantity = columns.quantity(default=0, help_text="the sum of its fills")
    average_price = columns.price(null=True)
    overfill_quantity = columns.quantity(default=0)
    late_fill = models.BooleanField(default=False)
    reference_bid = columns.price(null=True, help_text="when it was sent")
    reference_ask = columns.price(null=True)
    deviation = columns.price(default=0)

    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, help_text="by the database's clock, in the transaction that marks it")
    asked_at = models.DateTimeField(null=True, help_text="when the broker was last asked what became of it")
    absent_since = models.DateTimeField(null=True, help_text="the first complete search without a trace")
    absent_at = models.DateTimeField(null=True, help_text="the last complete search without a trace, of that row")
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
            models.Index(
                fields=["account", "closed_at"], condition=models.Q(reason="NOT_AT_BROKER"), name="order_absent"
            ),
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
    def is_unfound(self) -> bool:
        """Tell whether nobody can find the order, as `unfound` does."""
        if self.delivery != Delivery.ACKED:
            return self.delivery == Delivery.UNKNOWN
        if self.absent_at is None or self.absent_since is None:
            return False
        return self.absent_at >= self.absent_since + NOWHERE_FOR

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
            order_type=OrderType(self.order_type),
            limit_price=self.limit_price,
            stop_price=self.stop_price,
            time_in_force=TimeInForce(self.time_in_force) if self.time_in_force else None,
            expires_at=self.expires_at,
            venue_position_id=self.venue_position_id,
            other_position_id=self.other_position_id,
        )

    @property
    def leaves(self) -> Decimal:
        """Return what may still fill, in lots."""
        return max(Decimal(0), self.quantity - self.filled_quantity) if self.delivery != Delivery.DONE else Decimal(0)

    def move(
        self,
        to: State,
        *,
        at: datetime,
        reason: str = "",
        evidence: Mapping[str, Any] = MappingProxyType({}),
        facts: Mapping[str, Any] = MappingProxyType({}),
        beside: Beside = ALONE,
    ) -> Self:
        """Move to `to`, write `facts`, the OrderEvent and `beside`, or raise IllegalTransition and change nothing.

        A closed order reserves nothing, whoever closes it. One that fills once more is closed anew: what it fills
        counts on that day, and is found by when it was closed.
        """
        came_from = self.state
        facts = dict(facts)
        if to.delivery is Delivery.DONE:
            facts |= {"reserved": Decimal(0), "closed_at": at}
        is_known = to in TRANSITIONS[came_from] and self._may_wish(facts.get("cancel", self.cancel))
        if not is_known or not self._compare_and_set(came_from, to, facts, reason, evidence, at, beside):
            raise IllegalTransition(f"{self}: {came_from} → {to}")
        self.status, self.delivery = to.status, to.delivery
        for name, fact in facts.items():
            setattr(self, name, fact)
        return self

    def wish(self, to: CancelState) -> None:
        """Move along the cancel axis, or raise IllegalTransition and change nothing; the same again is no move."""
        came_from = self.cancel
        moved = self._may_wish(to) and TradeLedger.objects.filter(pk=self.pk, cancel=came_from).update(cancel=to)
        if not moved:
            raise IllegalTransition(f"{self}: cancel {came_from} → {to}")
        self.cancel = to

    def _may_wish(self, to: str) -> bool:
        return to == self.cancel or CancelState(to) in CANCEL_TRANSITIONS[CancelState(self.cancel)]

    def _compare_and_set(
        self,
        came_from: State,
        to: State,
        facts: Mapping[str, Any],
        reason: str,
        evidence: Mapping[str, Any],
        at: datetime,
        beside: Beside,
    ) -> bool:
        """Write the move and its event in one statement, unless the order stands elsewhere by now."""
        names = sorted(facts)
        moved = statements.fetch(
            MOVE.replace("{facts}", "".join(f', "{name}" = %({name})s' for name in names))
            .replace("{beside}", beside.parts)
            .replace("{columns}", beside.columns),
            {name: facts[name] for name in names}
            | dict(beside.given)
            | {"order": self.pk, "from_status": came_from.status.value, "from_delivery": came_from.delivery.value}
            | {"to_status": to.status.value, "to_delivery": to.delivery.value, "to": str(to), "event_at": at}
            | {"came_from": str(came_from), "event_reason": reason, "evidence": Jsonb(dict(evidence))},
        )
        return bool(moved)


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


class ChangeRequest(models.Model):
    """One request about an order or a position that stands: to cancel it or to change its terms or stops. Sent once."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    change_id = models.CharField(max_length=40, unique=True, help_text="ours, made first, sent once")
    kind = models.CharField(max_length=8, choices=columns.choices_of(ChangeKind))
    state = models.CharField(max_length=8, choices=columns.choices_of(ChangeState))
    order = models.ForeignKey(TradeLedger, null=True, on_delete=models.PROTECT, related_name="changes")
    position = models.ForeignKey("trading.BrokerPosition", null=True, on_delete=models.PROTECT, related_name="changes")
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    extra_risk = columns.money(default=0, help_text="USD, counted until the change is known")
    risk_before = columns.money(null=True, help_text="USD, of a position; empty where it has no bound, or no price")
    risk_after = columns.money(null=True, help_text="the same, with the new stops")
    reason = models.CharField(max_length=500, blank=True)
    answer = models.CharField(max_length=300, blank=True, help_text="the venue's own words")
    requested_by = models.CharField(max_length=64)
    requested_at = models.DateTimeField()
    sent_at = models.DateTimeField(help_text="by the database's clock")
    settled_at = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(
        null=True, help_text="of a cancel refused for the moment: when another is sent, by the database's clock"
    )

    class Meta:
        db_table = "change_request"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(order__isnull=True) ^ models.Q(position__isnull=True), name="change_of_one_thing"
            ),
            models.UniqueConstraint(
                fields=["order", "kind"],
                condition=models.Q(state__in=[ChangeState.SENDING, ChangeState.UNKNOWN]),
                name="change_one_open_of_an_order",
            ),
            models.UniqueConstraint(
                fields=["position", "kind"],
                condition=models.Q(state__in=[ChangeState.SENDING, ChangeState.UNKNOWN]),
                name="change_one_open_of_a_position",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["settled_at"], name="change_settled")]

    def __str__(self) -> str:
        return f"{self.kind} {self.change_id}"


class OrderDecision(models.Model):
    """What two operators have decided of an order that nobody could find."""

    order = models.ForeignKey(TradeLedger, on_delete=models.PROTECT, related_name="decisions")
    to = models.CharField(max_length=16, choices=columns.choices_of(OrderStatus))
    evidence = models.TextField(max_length=2000)
    state = models.CharField(max_length=8, choices=columns.choices_of(DecisionState))
    proposed_by = models.CharField(max_length=64)
    proposed_at = models.DateTimeField()
    decided_by = models.CharField(max_length=64, blank=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "order_decision"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=~models.Q(decided_by=models.F("proposed_by")), name="decision_by_a_second_person"
            ),
            models.UniqueConstraint(
                fields=["order"],
                condition=models.Q(state=DecisionState.PROPOSED),
                name="decision_one_open_of_an_order",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.order}: {self.to}, {self.state}"
