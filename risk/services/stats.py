"""The locked day of a user, and the equity its accounts began it with."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from django.db import connection
from django.db.models import F

from risk.models import AccountDay, UserDailyStats


def lock(*, user_id: int, trading_date: date) -> UserDailyStats:
    """Lock the user's day, creating it when it is new. Whatever it guards is read in the next statement."""
    assert connection.in_atomic_block
    UserDailyStats.objects.bulk_create(
        [UserDailyStats(user_id=user_id, trading_date=trading_date)], ignore_conflicts=True
    )
    row: UserDailyStats = UserDailyStats.objects.locked().get(user_id=user_id, trading_date=trading_date)
    return row


def count_admitted(day: UserDailyStats, *, value: Decimal, quantity: Decimal) -> None:
    """Count an admitted order; canceling it later gives nothing back."""
    UserDailyStats.objects.filter(pk=day.pk).update(
        orders_admitted=F("orders_admitted") + 1,
        value_admitted=F("value_admitted") + value,
        quantity_admitted=F("quantity_admitted") + quantity,
    )


def count_rejected(day: UserDailyStats) -> None:
    """Count an order that we rejected."""
    UserDailyStats.objects.filter(pk=day.pk).update(orders_rejected=F("orders_rejected") + 1)


def open_day(*, account_id: int, trading_date: date, currency: str, equity: Decimal, at: datetime) -> None:
    """Keep the first equity seen of an account on a day; later calls that day change nothing."""
    assert connection.in_atomic_block
    AccountDay.objects.bulk_create(
        [
            AccountDay(
                account_id=account_id, trading_date=trading_date, currency=currency, equity_start=equity, created_at=at
            )
        ],
        ignore_conflicts=True,
    )


def equity_at_start(*, account_ids: list[int], trading_date: date) -> Mapping[int, Decimal]:
    """Return the equity each account began the day with; an account without a row is absent."""
    rows = AccountDay.objects.filter(account_id__in=account_ids, trading_date=trading_date)
    return {row.account_id: row.equity_start for row in rows}
