"""What operators read of orders, fills and positions."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from nexus.core.operator import RecordAdmin, found_keys
from trading.models import (
    AccountFigures,
    BookCorrection,
    BrokerPosition,
    CashMovement,
    ChangeDecision,
    ChangeRequest,
    Fill,
    OrderDecision,
    OrderEvent,
    SweepRun,
    TradableInstrument,
    TradeLedger,
    TradingAccount,
)


def orders_named(words: str) -> list[QuerySet[TradeLedger]]:
    """Return what finds an order by each of its names. The indexes begin with the account, so each is asked about."""
    orders = TradeLedger.objects.filter(account__in=TradingAccount.objects.all())
    ways: list[QuerySet[TradeLedger]] = [
        orders.filter(client_order_id=words),
        orders.filter(venue_order_id=words).exclude(venue_order_id=""),
    ]
    with suppress(ValueError):
        ways.append(TradeLedger.objects.filter(public_id=UUID(words)))
    return ways


@admin.register(TradeLedger)
class OrderAdmin(RecordAdmin):
    """Every order, the newest first."""

    list_display = (
        "timeline", "created_at", "user", "status", "delivery", "symbol", "side", "quantity", "average_price",
        "reserved", "reason",
    )  # fmt: skip
    list_display_links = None
    list_filter: ClassVar = ["status", "delivery", "rejected_by", "side"]
    list_select_related = ("user",)
    search_fields = ("=client_order_id", "=venue_order_id", "=public_id")
    search_help_text = "Our name of the order, the broker's ticket, or the order's id, whole."
    is_looked_up = True
    ordering = ("-id",)

    def lookups(self, words: str) -> Sequence[QuerySet[Any]]:
        """Find an order by each of its names."""
        return orders_named(words)

    @admin.display(description="order")
    def timeline(self, order: TradeLedger) -> SafeString:
        """Lead to everything that happened to the order."""
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:console_order", args=[order.public_id]), order.client_order_id
        )


@admin.register(OrderEvent)
class OrderEventAdmin(RecordAdmin):
    """Every move of every order."""

    list_display = ("at", "order", "came_from", "to", "reason")
    list_select_related = ("order",)
    search_fields = ("=order__client_order_id",)
    search_help_text = "Our name of the order, the broker's ticket, or the order's id, whole."
    is_looked_up = True
    ordering = ("-id",)

    def lookups(self, words: str) -> Sequence[QuerySet[Any]]:
        """Find the moves of an order by each of its names."""
        return [OrderEvent.objects.filter(order__in=found_keys(orders_named(words)))]


@admin.register(ChangeRequest)
class ChangeRequestAdmin(RecordAdmin):
    """Every request to cancel or change what stands."""

    list_display = ("change_id", "kind", "state", "order", "position", "reason", "answer", "requested_by", "sent_at")
    list_filter: ClassVar = ["kind", "state"]
    list_select_related = ("order", "position")
    search_fields = ("=change_id",)
    ordering = ("-id",)


@admin.register(OrderDecision)
class OrderDecisionAdmin(RecordAdmin):
    """What operators have decided of unknown orders."""

    list_display = ("order", "to", "state", "evidence", "proposed_by", "proposed_at", "decided_by", "decided_at")
    list_filter: ClassVar = ["state"]
    list_select_related = ("order",)
    ordering = ("-id",)


@admin.register(ChangeDecision)
class ChangeDecisionAdmin(RecordAdmin):
    """What operators have decided of changes whose answer was lost."""

    list_display = ("change", "to", "state", "evidence", "proposed_by", "proposed_at", "decided_by", "decided_at")
    list_filter: ClassVar = ["state"]
    list_select_related = ("change",)
    ordering = ("-id",)


@admin.register(Fill)
class FillAdmin(RecordAdmin):
    """Every execution, ours or not."""

    list_display = (
        "venue_fill_id", "filled_at", "account", "order", "symbol", "side", "quantity", "price", "commission", "profit",
        "kind", "slippage",
    )  # fmt: skip
    list_filter: ClassVar = ["kind", "side"]
    list_select_related = ("account", "order")
    search_fields = ("=venue_fill_id", "=venue_order_id", "=venue_position_id")
    search_help_text = "The broker's number of the deal, or any name of its order, whole."
    is_looked_up = True
    ordering = ("-id",)

    def lookups(self, words: str) -> Sequence[QuerySet[Any]]:
        """Find a fill by the deal's number, by its order, and one that was not ours by what the broker calls it."""
        strangers = Fill.objects.filter(order__isnull=True)
        return [
            Fill.objects.filter(account__in=TradingAccount.objects.all(), venue_fill_id=words),
            Fill.objects.filter(order__in=found_keys(orders_named(words))),
            strangers.filter(Q(venue_order_id=words) | Q(venue_position_id=words)),
        ]


@admin.register(CashMovement)
class CashMovementAdmin(RecordAdmin):
    """Money that moved at the venues without a trade."""

    list_display = ("venue_cash_id", "moved_at", "account", "kind", "amount", "words")
    list_filter: ClassVar = ["kind"]
    list_select_related = ("account",)
    search_fields = ("=venue_cash_id",)
    ordering = ("-id",)


@admin.register(BookCorrection)
class BookCorrectionAdmin(RecordAdmin):
    """Entries that moved our books to the broker's without a deal."""

    list_display = (
        "created_at", "account", "kind", "venue_position_id", "symbol", "quantity", "price", "amount", "reason",
        "made_by",
    )  # fmt: skip
    list_filter: ClassVar = ["kind"]
    list_select_related = ("account",)
    search_fields = ("=correction_id", "=venue_position_id", "=symbol")
    ordering = ("-id",)


@admin.register(BrokerPosition)
class PositionAdmin(RecordAdmin):
    """Positions as our fills make them."""

    list_display = (
        "venue_position_id", "account", "symbol", "quantity", "price_open", "stop_loss", "take_profit", "opened_at",
        "closed_at",
    )  # fmt: skip
    list_filter: ClassVar = [("closed_at", admin.EmptyFieldListFilter)]
    list_select_related = ("account",)
    search_fields = ("=venue_position_id", "=symbol")
    ordering = ("-id",)


@admin.register(TradingAccount)
class TradingAccountAdmin(RecordAdmin):
    """Accounts at venues."""

    list_display = (
        "name", "user", "venue", "venue_account", "server", "currency", "mode", "is_live", "armed_until", "is_active"
    )  # fmt: skip
    list_filter: ClassVar = ["venue", "is_live", "is_active"]
    list_select_related = ("user",)
    search_fields = ("=venue_account", "name")
    ordering = ("id",)


@admin.register(TradableInstrument)
class InstrumentAdmin(RecordAdmin):
    """Instruments as venues define them."""

    list_display = (
        "symbol", "account", "contract_size", "tick_size", "quantity_min", "quantity_step", "quantity_max",
        "is_tradable", "read_at",
    )  # fmt: skip
    list_filter: ClassVar = ["is_tradable"]
    list_select_related = ("account",)
    search_fields = ("=symbol",)
    ordering = ("symbol",)


@admin.register(SweepRun)
class SweepRunAdmin(RecordAdmin):
    """The sweeps of stops, with their proofs."""

    list_display = ("account", "scope", "key", "kind", "state", "rounds", "detail", "started_at", "ended_at")
    list_filter: ClassVar = ["state", "kind"]
    list_select_related = ("account",)
    ordering = ("-id",)


@admin.register(AccountFigures)
class AccountFiguresAdmin(RecordAdmin):
    """What the watch last read of every account."""

    list_display = ("account", "equity", "currency", "loss_today", "open_risk", "margin_level", "fault", "read_at")
    list_select_related = ("account",)
    ordering = ("account_id",)
