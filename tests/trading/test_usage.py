"""What a user has done so far: the one SQL statement against plain arithmetic, and what the gate makes of it."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from risk.models import UserDailyStats
from risk.services import stats
from tests.factories.accounts import UserFactory
from trading.models import Fill, TradableInstrument, TradeLedger, TradingAccount
from trading.services import evidence, usage
from trading.services.facts import Facts
from trading.states import OrderType, Side
from trading.types import OrderIntent, Quote

D = Decimal
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
DAY = NOON.replace(hour=0)
pytestmark = pytest.mark.django_db
ENTERED = iter(range(1, 10_000))


@pytest.fixture
def account() -> TradingAccount:
    user = UserFactory.create()
    return TradingAccount.objects.create(
        user=user, name="Paper", venue="mt5", venue_account="1", server="S", currency="USD", mode="HEDGING",
        created_at=DAY,
    )  # fmt: skip


def order(account: TradingAccount, **changes: Any) -> TradeLedger:
    """Store an order of 1 lot worth 1,000 USD, filled at noon unless said otherwise."""
    usual = {
        "account": account, "user_id": account.user_id, "client_order_id": f"N{next(ENTERED)}", "symbol": "EURUSD",
        "side": "BUY", "quantity": D(1), "filled_quantity": D(1), "value": D(1000), "status": "FILLED",
        "delivery": "DONE", "attempts": 1, "created_at": NOON, "closed_at": NOON,
    }  # fmt: skip
    return TradeLedger.objects.create(**(usual | changes))


def fill(account: TradingAccount, of: TradeLedger | None, quantity: str, *, at: datetime, **changes: Any) -> Fill:
    usual = {
        "account": account, "order": of, "venue_fill_id": uuid.uuid4().hex, "symbol": "EURUSD", "side": "BUY",
        "quantity": D(quantity), "price": D("1.1"), "kind": "ORDER", "filled_at": at, "booked_at": at,
    }  # fmt: skip
    return Fill.objects.create(**(usual | changes))


def count(account: TradingAccount, intent: OrderIntent | None = None, *, at: datetime = NOON) -> usage.Counts:
    return usage.count(
        user_id=account.user_id, account_id=account.pk, account_ids=[account.pk], intent=intent, at=at
    )  # fmt: skip


def used(account: TradingAccount, *, admitted: int = 0, quotes: dict[str, Quote] | None = None) -> tuple[Any, Any]:
    """Return lots and value of the day after `admitted` orders of 1 lot and 1,000 USD."""
    day = UserDailyStats(
        user_id=account.user_id, trading_date=NOON.date(), orders_admitted=admitted,
        value_admitted=D(1000 * admitted), quantity_admitted=D(admitted),
    )  # fmt: skip
    past = stats.History(0, D(0))
    found = evidence.usage_of(count(account), past=past, day=day, facts=Facts((), {}, quotes or {}, NOON, NOON))
    return found.quantity_today, found.value_today


def instrument(account: TradingAccount, **changes: Any) -> TradableInstrument:
    usual = {
        "account": account, "symbol": "EURUSD", "base_currency": "EUR", "profit_currency": "USD",
        "margin_currency": "EUR", "contract_size": D(100_000), "tick_size": D("0.00001"), "digits": 5,
        "quantity_min": D("0.01"), "quantity_max": D(100), "quantity_step": D("0.01"), "stops_distance_min": D(0),
        "is_tradable": True, "read_at": DAY,
    }  # fmt: skip
    return TradableInstrument.objects.create(**(usual | changes))


def test_a_filled_order_counts_as_it_was_admitted(account):
    order(account)

    assert used(account, admitted=1) == (1, 1000)


def test_what_ended_unfilled_is_given_back_and_never_more(account):
    order(account, status="CANCELED", filled_quantity=D("0.3"))
    order(account, status="EXPIRED", filled_quantity=D(0))
    order(account, status="REJECTED", rejected_by="BROKER", filled_quantity=D("0"), value=D("1000.00"))

    assert used(account, admitted=3) == (D("0.3"), 300)


def test_a_third_of_a_cent_is_not_given_back(account):
    order(account, status="CANCELED", quantity=D(3), filled_quantity=D(1), value=D(1000))

    assert used(account, admitted=1)[1] == D("333.34")


def test_an_order_that_we_refused_gives_nothing_back(account):
    order(account, status="REJECTED", rejected_by="LOCAL", filled_quantity=D(0), value=D(0), attempts=0)

    assert used(account, admitted=1) == (1, 1000)


def test_an_order_admitted_and_never_sent_is_given_back(account):
    order(account, status="REJECTED", rejected_by="LOCAL", reason="INTENT_TOO_OLD", filled_quantity=D(0), attempts=0)

    assert used(account, admitted=1) == (0, 0)


def test_an_order_of_tomorrow_gives_nothing_back_of_today(account):
    """Around midnight another server's clock may be ahead of ours: it was counted on its own day."""
    order(account)
    order(account, status="CANCELED", filled_quantity=D(0), created_at=DAY + timedelta(days=1))

    assert used(account, admitted=1) == (1, 1000)


def test_an_overfill_counts_too(account):
    order(account, filled_quantity=D("1.5"), overfill_quantity=D("0.5"))

    assert used(account, admitted=1) == (D("1.5"), 1500)


def test_an_order_of_yesterday_counts_what_it_may_fill_and_has_filled_today(account):
    yesterday = DAY - timedelta(hours=1)
    working = order(
        account, status="PARTIALLY_FILLED", delivery="ACKED", closed_at=None, created_at=yesterday, quantity=D(2),
        filled_quantity=D("0.8"), value=D(2000), reserved=D(1),
    )  # fmt: skip
    fill(account, working, "0.5", at=yesterday)
    fill(account, working, "0.3", at=DAY)

    assert used(account) == (D("1.5"), 1500)  # 1.2 to come and 0.3 of today, not the 0.5 of yesterday


def test_an_order_of_yesterday_that_closed_today_counts_its_fills_of_today(account):
    yesterday = DAY - timedelta(hours=1)
    closed = order(account, created_at=yesterday, closed_at=DAY, filled_quantity=D(1))
    fill(account, closed, "0.4", at=yesterday)
    fill(account, closed, "0.6", at=DAY)
    over = order(account, created_at=yesterday, closed_at=yesterday)
    fill(account, over, "1", at=yesterday)

    assert used(account) == (D("0.6"), 600)


def test_a_fill_that_nobody_here_asked_for_counts_at_its_price(account):
    instrument(account)
    fill(account, None, "0.5", at=DAY)
    fill(account, None, "9", at=DAY - timedelta(microseconds=1))

    assert used(account) == (D("0.5"), 55_000)


def test_a_fill_at_an_account_that_was_put_aside_counts_too(account):
    other = TradingAccount.objects.create(
        user=account.user, name="Old", venue="mt5", venue_account="2", server="S", currency="USD", mode="HEDGING",
        created_at=DAY, is_active=False,
    )  # fmt: skip
    instrument(other)
    fill(other, None, "0.5", at=NOON)

    assert used(account) == (D("0.5"), 55_000)


def test_what_the_broker_has_taken_back_was_not_done(account):
    instrument(account)
    old = order(account, created_at=NOON - timedelta(days=2), quantity=D(3), filled_quantity=D(2), status="CANCELED")
    for of in (old, None):
        kept, gone = (fill(account, of, "1", at=NOON, price=D("1.1")) for _ in range(2))
        assert kept.venue_fill_id != gone.venue_fill_id
        fill(account, of, "1", at=NOON, price=D("1.1"), side="SELL", kind="BUST", reverses=gone.venue_fill_id)
    stop = fill(account, None, "1", at=NOON, kind="STOP_LOSS")
    fill(account, None, "1", at=NOON, side="BUY", kind="BUST", reverses=stop.venue_fill_id)

    quantity, value = used(account)

    assert (quantity, value) == (2, D("333.34") + 110_000)


def test_a_stop_that_was_hit_and_an_order_that_reduces_do_not_count(account):
    instrument(account)
    fill(account, None, "0.5", at=DAY, kind="STOP_LOSS")
    order(account, value=D(0), status="CANCELED", filled_quantity=D(0), venue_position_id="7")

    assert used(account) == (0, 0)


def test_a_strange_fill_is_converted_at_the_side_that_costs_more(account):
    instrument(account, symbol="EURGBP", profit_currency="GBP", usd_symbol="GBPUSD")
    fill(account, None, "1", at=DAY, symbol="EURGBP", price=D("0.8"))

    rates = {"GBPUSD": Quote("GBPUSD", D("1.25"), D("1.26"), NOON)}

    assert used(account, quotes=rates)[1] == 100_800
    assert used(account)[1].reason == "EXTERNAL_VALUE_UNKNOWN"


def test_a_strange_fill_below_zero_takes_nothing_off(account):
    instrument(account)
    fill(account, None, "1", at=DAY, price=D("-0.5"))

    assert used(account)[1] == 50_000


def test_a_strange_fill_in_an_unknown_instrument_has_no_value(account):
    fill(account, None, "0.5", at=DAY, symbol="NOSUCH")

    quantity, value = used(account)

    assert quantity == D("0.5")
    assert value.reason == "EXTERNAL_VALUE_UNKNOWN"


def test_requests_of_the_last_second_count_refused_or_not(account):
    order(account, created_at=NOON - timedelta(seconds=1))
    order(account, created_at=NOON - timedelta(milliseconds=999))
    order(account, created_at=NOON, status="REJECTED", rejected_by="LOCAL", value=D(0))

    assert count(account).requests == 2


def test_the_same_order_within_the_window_is_a_twin(account, settings):
    settings.DUPLICATE_WINDOW_S = 2
    same = OrderIntent("EURUSD", Side.BUY, D(1), entry_price=D("1.085"))
    order(account, entry_price=D("1.0850"), created_at=NOON - timedelta(milliseconds=1999))
    for changed in (
        {"side": "SELL"}, {"symbol": "GBPUSD"}, {"quantity": D(2)}, {"entry_price": None}, {"value": D(0)},
        {"created_at": NOON - timedelta(seconds=2)},
    ):  # fmt: skip
        order(account, **({"entry_price": D("1.0850")} | changed))

    assert count(account, same).twins == 1
    settings.DUPLICATE_WINDOW_S = 0
    assert count(account, same).twins == 0


def test_orders_that_wait_at_other_prices_are_no_twins(account, settings):
    settings.DUPLICATE_WINDOW_S = 2
    stop_limit = {"order_type": "STOP_LIMIT", "stop_price": D("1.09"), "limit_price": D("1.0910")}
    for kind in (
        {"order_type": "LIMIT", "limit_price": D("1.0840")}, {"order_type": "STOP", "stop_price": D("1.0840")},
        stop_limit, {"order_type": "MARKET"},
    ):  # fmt: skip
        order(account, **kind)

    def twins(**wanted: Any) -> int:
        return count(account, OrderIntent("EURUSD", Side.BUY, D(1), **wanted)).twins

    assert twins(order_type=OrderType.LIMIT, limit_price=D("1.08400")) == 1
    assert twins(order_type=OrderType.LIMIT, limit_price=D("1.0839")) == 0
    assert twins(order_type=OrderType.STOP, stop_price=D("1.0840")) == 1
    assert twins(order_type=OrderType.STOP, stop_price=D("1.0841")) == 0
    assert twins(order_type=OrderType.STOP_LIMIT, stop_price=D("1.0900"), limit_price=D("1.0910")) == 1
    assert twins(order_type=OrderType.STOP_LIMIT, stop_price=D("1.0900"), limit_price=D("1.0911")) == 0
    assert twins() == 1


def test_failures_are_counted_back_to_the_last_order_that_did_not_fail(account):
    failed = {"status": "REJECTED", "rejected_by": "BROKER", "filled_quantity": D(0)}
    order(account, closed_at=NOON - timedelta(minutes=9), **failed)
    order(account, closed_at=NOON - timedelta(minutes=8))
    order(account, closed_at=NOON - timedelta(minutes=7), **failed)
    order(account, closed_at=NOON - timedelta(minutes=6), **failed)
    order(account, closed_at=NOON, **(failed | {"rejected_by": "LOCAL", "value": D(0), "attempts": 0}))

    found = count(account)
    assert (found.failures, found.failed_at) == (2, NOON - timedelta(minutes=6))

    order(account, closed_at=NOON - timedelta(minutes=5), **failed)
    assert count(account).failures == 3
    order(account, closed_at=NOON - timedelta(minutes=4), status="CANCELED", filled_quantity=D(0))
    assert count(account).failures == 0


def test_an_order_of_the_other_side_is_opposite(account):
    sell = OrderIntent("EURUSD", Side.SELL, D(1))
    order(account, created_at=NOON - timedelta(seconds=4))
    order(account, created_at=NOON - timedelta(seconds=4), symbol="GBPUSD")
    order(account, created_at=NOON - timedelta(seconds=4), value=D(0), status="REJECTED", rejected_by="LOCAL")

    assert count(account, sell).opposites == 1
    assert count(account, OrderIntent("EURUSD", Side.BUY, D(1))).opposites == 0
    assert count(account, sell, at=NOON + timedelta(seconds=2)).opposites == 0
    assert count(account, sell).burst == 3


def test_others_orders_are_others(account):
    other = TradingAccount.objects.create(
        user=UserFactory.create(), name="Paper", venue="mt5", venue_account="2", server="S", currency="USD",
        mode="HEDGING", created_at=DAY,
    )  # fmt: skip
    order(other, status="CANCELED", filled_quantity=D(0))
    fill(other, None, "5", at=DAY)

    assert used(account) == (0, 0)
    assert (count(account).requests, count(account).burst) == (0, 0)


def test_a_day_that_nobody_has_opened_is_empty_and_looking_opens_none(account):
    assert stats.today(user_id=account.user_id, trading_date=NOON.date()).orders_admitted == 0
    assert not UserDailyStats.objects.exists()


def test_a_burst_is_seen_however_many_orders_make_one(account, settings):
    settings.BURST_ORDERS = 120
    for _ in range(119):
        order(account)

    assert count(account, at=NOON + timedelta(seconds=1)).burst == 119
