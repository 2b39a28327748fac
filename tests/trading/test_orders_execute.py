"""One order, from its intent to its last row."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DataError
from django.utils.timezone import now

from nexus.audit.models import Event
from nexus.audit.services import trail
from nexus.core.errors import Invalid
from nexus.idempotency.models import IdempotencyRecord
from risk.models import AccountDay, TradingControl, UserDailyStats
from risk.services import control
from risk.states import ControlScope, LimitKind, StopLevel
from tests.trading.conftest import TESTER, brief, limit
from trading.brokers import ids
from trading.models import BrokerPosition, Fill, OrderEvent, TradeLedger
from trading.services import storing
from trading.states import Delivery, OrderStatus, RejectedBy, Side


def test_fills_at_the_ask_and_leaves_every_row(execute, paper, account, new_events):
    order = execute()

    assert (order.status, order.delivery) == (OrderStatus.FILLED, Delivery.DONE)
    assert (order.filled_quantity, order.average_price) == (Decimal("0.1"), Decimal("1.08500"))
    assert (order.reserved, order.attempts, order.rejected_by) == (0, 1, "")
    fill = Fill.objects.get()
    assert (fill.order_id, fill.price, fill.quantity) == (order.pk, Decimal("1.08500"), Decimal("0.1"))
    assert fill.slippage == 0
    position = BrokerPosition.objects.get()
    assert (position.quantity, position.price_open, position.closed_at) == (Decimal("0.1"), Decimal("1.08500"), None)
    assert (position.stop_loss, position.take_profit) == (Decimal("1.0800"), Decimal("1.0900"))
    assert list(OrderEvent.objects.order_by("pk").values_list("came_from", "to")) == [
        ("", "PENDING/QUEUED"),
        ("PENDING/QUEUED", "PENDING/SENDING"),
        ("PENDING/SENDING", "FILLED/DONE"),
    ]
    told = [event.action for event in new_events() if event.object_id == str(order.public_id)]
    assert told == ["order.admitted", "order.filled"]
    (deal,) = paper.deals()
    assert (deal["magic"], deal["order_ticket"]) == (_magic(order), int(order.venue_order_id))
    day = UserDailyStats.objects.get()
    assert (day.orders_admitted, day.orders_rejected) == (1, 0)
    assert AccountDay.objects.get().equity_start == 100_000


def _magic(order: TradeLedger) -> int:
    return ids.magic(order.client_order_id)


def test_reserves_the_worst_case_to_the_cent(execute, settings):
    """Buy 0.1 at ask 1.08500: deviation ceil(1.085·0.0002) = 0.00022, worst entry 1.08522, worst exit 1.0800·0.9995."""
    order = execute()

    # (1.08522 − 1.07946)·0.1·100000 + 7·0.1 = 57.6 + 0.7
    assert order.risk == Decimal("58.30")
    assert order.value == Decimal("10852.20")


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (LimitKind.DAILY_LOSS, "58.29", "DAILY_LOSS_EXCEEDS_LIMIT"),
        (LimitKind.POSITION_SIZE, "9999", "POSITION_SIZE_EXCEEDS_LIMIT"),
        (LimitKind.TRADE_VALUE_MAX, "10852.19", "TRADE_VALUE_MAX_EXCEEDS_LIMIT"),
        (LimitKind.TRADE_VALUE_MIN, "10852.21", "TRADE_VALUE_BELOW_MINIMUM"),
    ],
)
def test_rejects_what_is_one_cent_or_unit_too_much(execute, trader, paper, kind, value, reason):
    limit(kind, value, user=trader)

    order = execute()

    assert (order.status, order.rejected_by, order.reason) == (OrderStatus.REJECTED, RejectedBy.LOCAL, reason)
    assert (order.reserved, order.attempts, order.sent_at) == (0, 0, None)
    assert paper.deals() == []
    assert not Fill.objects.exists()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (LimitKind.DAILY_LOSS, "58.30"),
        (LimitKind.POSITION_SIZE, "10000"),
        (LimitKind.TRADE_VALUE_MAX, "10852.20"),
        (LimitKind.TRADE_VALUE_MIN, "10852.20"),
    ],
)
def test_admits_what_just_fits(execute, trader, kind, value):
    limit(kind, value, user=trader)

    assert execute().status == OrderStatus.FILLED


def test_a_limit_that_nobody_set_refuses(execute, settings):
    settings.DAILY_LOSS_LIMIT = None

    assert execute().reason == "DAILY_LOSS_NOT_SET"


def test_a_user_limit_never_loosens_the_platform_ceiling(execute, trader, settings):
    settings.MAX_POSITION_SIZE = Decimal(9999)
    limit(LimitKind.POSITION_SIZE, "1000000", user=trader)

    assert execute().reason == "POSITION_SIZE_EXCEEDS_LIMIT"


def test_refuses_an_order_without_a_stop_whose_loss_is_not_bounded(execute, paper):
    order = execute(brief(stop_loss=None))

    assert (order.status, order.reason) == (OrderStatus.REJECTED, "STOP_LOSS_REQUIRED")
    assert paper.deals() == []


def test_a_configured_move_bounds_an_order_without_a_stop(execute, settings):
    settings.UNSTOPPED_MOVE = Decimal("0.05")

    order = execute(brief(stop_loss=None))

    assert order.status == OrderStatus.FILLED
    assert order.risk == Decimal("543.31")  # 0.05 · 10000 · 1.08522 + 0.70


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"entry_price": Decimal("1.0901")}, "STOP"),
        ({"entry_price": Decimal("1.0794")}, "PRICE_OUTSIDE_COLLAR"),
        ({"entry_price": Decimal("1.0905")}, "PRICE_OUTSIDE_COLLAR"),
        ({"stop_loss": Decimal("1.0900")}, "STOP_LOSS_WRONG_SIDE"),
        ({"take_profit": Decimal("1.0800")}, "TAKE_PROFIT_WRONG_SIDE"),
        ({"side": Side.SELL}, "STOP_LOSS_WRONG_SIDE"),
    ],
)
def test_rejects_prices_that_do_not_fit_the_market(execute, paper, changes, reason):
    order = execute(brief(**changes))

    if reason == "STOP":
        assert order.status == OrderStatus.FILLED  # 1.0901 is 0.47 % away: inside the collar
        return
    assert (order.status, order.reason) == (OrderStatus.REJECTED, reason)
    assert paper.deals() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"quantity": Decimal("0.001")}, "/quantity"),
        ({"quantity": Decimal("0.015")}, "/quantity"),
        ({"quantity": Decimal(101)}, "/quantity"),
        ({"stop_loss": Decimal("1.080001")}, "/stop_loss"),
        ({"symbol": "NOSUCH"}, "/symbol"),
    ],
)
def test_refuses_what_can_never_be_an_order_and_writes_nothing(execute, changes, field):
    with pytest.raises(Invalid) as refusal:
        execute(brief(**changes))

    assert [error.pointer for error in refusal.value.errors] == [field]
    assert not TradeLedger.objects.exists()
    assert not IdempotencyRecord.objects.exists()


@pytest.mark.parametrize("level", [StopLevel.REDUCE_ONLY, StopLevel.HALTED])
@pytest.mark.parametrize("scope", [ControlScope.SYSTEM, ControlScope.USER, ControlScope.ACCOUNT])
def test_a_stop_of_any_scope_admits_nothing(execute, trader, account, paper, level, scope):
    key = {ControlScope.SYSTEM: "", ControlScope.USER: str(trader.pk), ControlScope.ACCOUNT: str(account.pk)}[scope]
    control.set_level(scope=scope, key=key, level=level, reason="A test.", actor=TESTER, at=now())

    order = execute()

    assert (order.status, order.reason) == (OrderStatus.REJECTED, f"TRADING_{level.name}")
    assert paper.deals() == []


def test_a_switch_without_a_row_is_a_stop(execute):
    TradingControl.objects.all().delete()

    assert execute().reason == "TRADING_HALTED"


def test_a_stale_quote_is_refused(execute, settings):
    order = execute(at=now() + timedelta(seconds=11))

    assert (order.status, order.reason) == (OrderStatus.REJECTED, "QUOTE_STALE")


def test_the_broker_refusing_releases_everything(execute, paper):
    paper.control.inject("retcode", retcode=10019)

    order = execute()

    assert (order.status, order.rejected_by, order.reserved) == (OrderStatus.REJECTED, RejectedBy.BROKER, 0)
    assert order.reason.startswith("BROKER_")
    assert paper.deals() == []


def test_no_audit_row_no_order(execute, paper, monkeypatch):
    """The audit event stands in the same transaction: when it cannot be written, nothing is, and nothing is sent."""
    before = Event.objects.count()
    monkeypatch.setattr(storing, "_text", storing._text.__wrapped__)  # unremembered
    monkeypatch.setattr(trail, "APPEND", "1 / (SELECT 0)")  # in the place where the black box is written

    with pytest.raises(DataError):
        execute()

    assert not TradeLedger.objects.exists()
    assert not IdempotencyRecord.objects.exists()
    assert Event.objects.count() == before
    assert paper.deals() == []
