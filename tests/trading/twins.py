"""The steps that trading runs as SQL of its own, the ORM's way: slower, plainer, and held to the same rows by tests."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Q

from nexus.audit.services import trail
from nexus.core import money, statements
from nexus.idempotency.models import IdempotencyRecord
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.services import control, stats
from trading import rules
from trading.models import BrokerPosition, Fill, OrderEvent, TradableInstrument, TradeLedger, TradingAccount
from trading.services import arming, storing
from trading.services.facts import database_clock
from trading.services.settling import PRICE_STEP, Booked, Held
from trading.services.storing import Beginning, Mark
from trading.states import Side, State
from trading.types import FillReport, Holding


def begin(*, key: RequestKey, public_id: uuid.UUID, user_id: int, at: datetime) -> Beginning:
    """Do as `storing.begin`, one statement for each lock."""
    made = _claim(key, object_id=str(public_id), at=at)
    if made != str(public_id):
        return Beginning(made, 0, stats.Day())
    day = stats.lock(user_id=user_id, trading_date=at.date())
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('order_number')")
        (number,) = cursor.fetchone()
    return Beginning(made, number, day)


def _claim(request: RequestKey, *, object_id: str, at: datetime) -> str:
    """Do as `idempotency_claim`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"idem|{request.principal}|{request.account}|{request.key}"],
        )
        if not cursor.fetchone()[0]:
            raise records.in_progress()
    existing = records.find(request)
    if existing is not None:
        return existing
    IdempotencyRecord.objects.create(
        principal=request.principal,
        account=request.account,
        key=request.key,
        fingerprint=request.fingerprint,
        object_type="order",
        object_id=object_id,
        created_at=at,
    )
    return object_id


def store(
    order: TradeLedger, *, path: tuple[State, ...], event: Mapping[str, Any], mark: Mark | None, at: datetime
) -> None:
    """Do as `storing.store`: the lock, the stop, the rows, the count."""
    if mark is not None:
        control.lock_shared()
        if control.state(scopes=mark.scopes).level > mark.most:
            raise storing.StopCame
        if mark.armed is not None and not arming.is_armed(TradingAccount.objects.get(pk=mark.armed)):
            raise storing.StopCame
        stats.count_admitted(mark.day, value=mark.value, quantity=mark.quantity)
        if mark.price:
            kept = {"last_mid": mark.price["noted_mid"], "last_mid_at": mark.price["noted_at"]}
            TradableInstrument.objects.filter(pk=mark.price["noted_id"]).update(**kept)
    if order.attempts:
        order.sent_at = database_clock()
    order.save(force_insert=True)
    steps = zip(("", *map(str, path)), path, strict=False)
    for came_from, to in steps:
        OrderEvent.objects.create(order=order, came_from=came_from, to=str(to), reason=order.reason, at=at)
    statements.fetch_only(f"SELECT {trail.APPEND}", event)


def compare_and_set(
    order: TradeLedger,
    came_from: State,
    to: State,
    *,
    facts: Mapping[str, Any],
    reason: str,
    evidence: Mapping[str, Any],
    at: datetime,
    beside: Mapping[str, Any],
) -> bool:
    """Do as the statement of `TradeLedger.move`. Takes: `beside` as `settling.beside` is asked for it."""
    standing = TradeLedger.objects.filter(pk=order.pk, status=came_from.status, delivery=came_from.delivery)
    if not standing.update(status=to.status, delivery=to.delivery, **facts):
        return False
    OrderEvent.objects.create(
        order=order, came_from=str(came_from), to=str(to), reason=reason, evidence=dict(evidence), at=at
    )
    if beside["only"] is not None:
        only, stops_unseen = beside["only"]
        only.order, only.booked_at = order, database_clock()
        only.save(force_insert=True)
        signed = only.quantity * Side(only.side).direction
        opened = {
            "symbol": only.symbol, "quantity": 0, "price_open": only.price, "stop_loss": order.stop_loss,
            "take_profit": order.take_profit, "opened_at": only.filled_at,
        }  # fmt: skip
        position, _ = BrokerPosition.objects.get_or_create(
            account_id=order.account_id, venue_position_id=only.venue_position_id, defaults=opened
        )
        after = rules.apply_fill(
            Holding(Decimal(position.quantity), position.price_open), signed_quantity=signed, price=only.price
        )
        if position.quantity * after.quantity < 0:
            position.stop_loss, position.take_profit = order.stop_loss, order.take_profit
        position.quantity, position.price_open = after.quantity, money.half_even_to(after.price, PRICE_STEP)
        position.closed_at = only.filled_at if after.quantity == 0 else None
        position.stops_unseen |= stops_unseen and after.quantity * signed > 0
        position.save()
    for held in beside["held"]:
        BrokerPosition.objects.filter(pk=held.position_id).update(
            quantity=held.quantity, price_open=held.price_open, closed_at=held.closed_at,
            **({"stop_loss": held.stop_loss, "take_profit": held.take_profit} if held.is_turned else {}),
        )  # fmt: skip
    statements.fetch_only(f"SELECT {trail.APPEND}", beside["event"])
    if beside["closing"]:
        close_key(object_id=str(order.public_id), at=at)
    return True


def book(account_id: int, report: FillReport, *, order: TradeLedger, slippage: Decimal | None) -> Booked | None:
    """Do as `settling.book`."""
    fill, is_new = Fill.objects.get_or_create(
        account_id=account_id,
        venue_fill_id=report.venue_fill_id,
        defaults={
            "order": order, "venue_order_id": report.venue_order_id, "venue_position_id": report.venue_position_id,
            "symbol": report.symbol, "side": report.side, "quantity": report.quantity, "price": report.price,
            "commission": report.commission, "swap": report.swap, "fee": report.fee, "profit": report.profit,
            "kind": report.kind, "reverses": report.reverses, "filled_at": report.filled_at,
            "venue_time_ms": report.venue_time_ms, "venue_offset_s": report.venue_offset_s,
            "is_nameless": report.is_nameless,
            "slippage": None if slippage is None else money.half_even_to(slippage, PRICE_STEP),
            "booked_at": database_clock(),
        },
    )  # fmt: skip
    if not is_new:
        return None
    position, _ = BrokerPosition.objects.select_for_update(no_key=True).get_or_create(
        account_id=account_id,
        venue_position_id=report.venue_position_id,
        defaults={
            "symbol": report.symbol, "quantity": 0, "price_open": report.price, "stop_loss": order.stop_loss,
            "take_profit": order.take_profit, "opened_at": report.filled_at,
        },
    )  # fmt: skip
    after = rules.apply_fill(
        Holding(Decimal(position.quantity), position.price_open),
        signed_quantity=report.quantity * report.side.direction,
        price=report.price,
    )
    closed_at = report.filled_at if after.quantity == 0 else None
    is_turned = position.quantity * after.quantity < 0
    stops = (order.stop_loss, order.take_profit) if is_turned else (None, None)
    price = money.half_even_to(after.price, PRICE_STEP)
    return Booked(fill, Held(position.pk, after.quantity, price, closed_at, is_turned, *stops))


def in_doubt(*, user_id: int, since: datetime) -> list[TradeLedger]:
    """Do as `selectors.in_doubt`."""
    later = Fill.objects.filter(account__user_id=user_id, booked_at__gte=since, order__isnull=False)
    rows = TradeLedger.objects.filter(user_id=user_id).filter(Q(reserved__gt=0) | Q(pk__in=later.values("order_id")))
    return list(rows.order_by("pk"))


def close_key(*, object_id: str, at: datetime) -> None:
    """Do as `records.close`."""
    row = IdempotencyRecord.objects.filter(object_id=object_id, expires_at__isnull=True).first()
    if row is not None:
        row.expires_at = max(at, row.created_at + records.KEPT)
        row.save(update_fields=["expires_at"])
