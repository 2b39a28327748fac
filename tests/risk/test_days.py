"""The user's day, the hour in it, sights of accounts, and adjustments."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction

from risk.models import AccountDay, AccountSight, RiskAdjustment, UserDailyStats
from risk.services import adjustments, sights, stats
from risk.states import AdjustmentKind
from risk.types import Unknown

TODAY = date(2026, 1, 5)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def test_counts_orders_of_the_day_and_of_the_databases_hour(user):
    day = stats.lock(user_id=user.pk, trading_date=TODAY)
    for _ in range(2):
        stats.count_admitted(day, value=Decimal("1.50"), quantity=Decimal("0.1"))

    day = stats.lock(user_id=user.pk, trading_date=TODAY)

    assert (day.orders_admitted, day.value_admitted, day.quantity_admitted) == (2, Decimal(3), Decimal("0.2"))
    assert day.hour_started_at is not None
    assert stats.orders_this_hour(day, clock=day.hour_started_at + timedelta(minutes=59, seconds=59)) == 2
    assert stats.orders_this_hour(day, clock=day.hour_started_at + timedelta(hours=1)) == 0


def test_a_new_hour_begins_to_count_anew(user):
    day = stats.lock(user_id=user.pk, trading_date=TODAY)
    UserDailyStats.objects.filter(pk=day.pk).update(
        orders_admitted=90, orders_this_hour=90, hour_started_at=NOON - timedelta(days=1)
    )

    stats.count_admitted(day, value=Decimal(1), quantity=Decimal(1))

    day.refresh_from_db()
    assert (day.orders_admitted, day.orders_this_hour) == (91, 1)


def test_the_history_is_of_the_30_days_before(user):
    for back, orders in ((0, 100), (1, 2), (30, 3), (31, 1000)):
        UserDailyStats.objects.create(
            user=user, trading_date=TODAY - timedelta(days=back), orders_admitted=orders, value_admitted=10 * orders
        )

    found = stats.history(user_id=user.pk, trading_date=TODAY)

    assert (found.orders, found.value) == (5, Decimal(50))


def test_what_only_reduces_is_no_part_of_what_is_usual(user):
    """Each round trip is an order and a close: counted both, the usual size would be half of what it is."""
    day = stats.lock(user_id=user.pk, trading_date=TODAY)
    stats.count_admitted(day, value=Decimal(50), quantity=Decimal("0.1"))
    stats.count_admitted(day, value=Decimal(0), quantity=Decimal(0))

    found = stats.history(user_id=user.pk, trading_date=TODAY + timedelta(days=1))

    assert (found.orders, found.value) == (1, Decimal(50))
    day.refresh_from_db()
    assert (day.orders_admitted, day.reductions_admitted) == (2, 1)


def test_money_paid_in_is_no_profit_and_money_taken_out_is_no_loss():
    for equity in ("1000", "5"):
        stats.open_day(account_id=1, trading_date=TODAY, currency="USD", equity=Decimal(equity), read_at=NOON)
    later = NOON + timedelta(minutes=1)
    stats.note_cash_flow(account_id=1, amount=Decimal(500), moved_at=later)
    stats.note_cash_flow(account_id=1, amount=Decimal(-200), moved_at=later)
    stats.note_cash_flow(
        account_id=1, amount=Decimal(7), moved_at=NOON - timedelta(minutes=1)
    )  # seen by the first look

    assert stats.equity_at_start(account_ids=[1, 2], trading_date=TODAY) == {1: Decimal(1300)}
    assert AccountDay.objects.get().equity_start == 1000


@pytest.mark.parametrize(
    ("moved_s", "untold_s", "counts"),
    [
        (-50, 5, True),  # the venue's clock is late: a look after the first one did not tell of it yet
        (-50, 0, True),  # the first look itself did not
        (-61, 5, False),  # told late: it had moved by then, whatever clocks say
        (-1, -5, False),  # nobody has looked since: the venue's clock is all there is
        (-1, None, False),
        (1, -5, True),
        (61, -5, True),
    ],
)
def test_our_own_looks_tell_whether_money_moved_after_the_first(moved_s, untold_s, counts):
    stats.open_day(account_id=1, trading_date=TODAY, currency="USD", equity=Decimal(1000), read_at=NOON)
    untold_at = None if untold_s is None else NOON + timedelta(seconds=untold_s)

    stats.note_cash_flow(
        account_id=1, amount=Decimal(500), moved_at=NOON + timedelta(seconds=moved_s), untold_at=untold_at
    )

    assert stats.equity_at_start(account_ids=[1], trading_date=TODAY) == {1: Decimal(1500 if counts else 1000)}


@pytest.mark.parametrize(
    ("moved_h", "untold_s", "counts"),
    [
        (-24, 5, True),  # it may have moved after the first look, and no look before this one told of it
        (-24, -5, False),  # nobody has looked since: it is in the first equity, as far as anybody knows
        (-26, 5, False),  # that day was over when the first look came
        (1, -5, True),
    ],
)
def test_of_money_that_is_dated_by_its_day_our_own_looks_tell_when_it_moved(moved_h, untold_s, counts):
    stats.open_day(account_id=1, trading_date=TODAY, currency="USD", equity=Decimal(1000), read_at=NOON)

    stats.note_cash_flow(
        account_id=1, amount=Decimal(500), moved_at=NOON + timedelta(hours=moved_h),
        untold_at=NOON + timedelta(seconds=untold_s), or_later=timedelta(hours=25),
    )  # fmt: skip

    assert stats.equity_at_start(account_ids=[1], trading_date=TODAY) == {1: Decimal(1500 if counts else 1000)}


def test_money_of_a_late_clock_s_yesterday_counts_today():
    midnight = NOON.replace(hour=0, minute=0)
    for day in (TODAY - timedelta(days=1), TODAY):
        read_at = midnight + (day - TODAY)
        stats.open_day(account_id=1, trading_date=day, currency="USD", equity=Decimal(1000), read_at=read_at)
    seen = midnight + timedelta(seconds=20)

    stats.note_cash_flow(account_id=1, amount=Decimal(500), moved_at=midnight - timedelta(seconds=10), untold_at=seen)

    assert stats.equity_at_start(account_ids=[1], trading_date=TODAY) == {1: Decimal(1500)}


def test_an_account_that_was_never_seen_is_unknown():
    assert sights.age_s(account_id=1) == Unknown("RECONCILIATION_STALE", "The account has never been looked at.")

    sights.note(account_id=1)
    sights.note(account_id=1)

    age = sights.age_s(account_id=1)
    assert isinstance(age, Decimal)
    assert 0 <= age < 60
    assert AccountSight.objects.count() == 1


def test_an_adjustment_is_kept_and_never_changed():
    adjustments.record(
        kind=AdjustmentKind.PARTIAL_FILL, account_id=1, order_id=2, before=Decimal("581.75"), after=Decimal("366.51"),
        reason="Filled 0.37 of 1.", at=NOON,
    )  # fmt: skip

    row = RiskAdjustment.objects.get()
    assert (row.kind, row.before, row.after) == ("PARTIAL_FILL", Decimal("581.75"), Decimal("366.51"))
    for change in (lambda: RiskAdjustment.objects.update(after=0), lambda: RiskAdjustment.objects.all().delete()):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()
