"""The locked day of a user, what it counts, and the equity its accounts began it with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

from django.db import connection
from django.db.models import F

from nexus.core import statements
from nexus.core.statements import Part, Row
from risk.models import AccountDay, UserDailyStats

USER_LOCK = 0x55534552  # the space of advisory locks whose second number is a user
CLOCKS_MAY_DIFFER = timedelta(minutes=1)  # ours and a venue's
Day = UserDailyStats  # for those above, who hold the row and never the table
COUNT: LiteralString = """
UPDATE user_daily_stats SET
    orders_admitted = orders_admitted + 1,
    reductions_admitted = reductions_admitted + (%(counted_value)s::numeric = 0)::integer,
    value_admitted = value_admitted + %(counted_value)s,
    quantity_admitted = quantity_admitted + %(counted_quantity)s,
    orders_this_hour = CASE WHEN hour_started_at = clock.hour THEN orders_this_hour + 1 ELSE 1 END,
    hour_started_at = clock.hour
FROM (SELECT date_trunc('hour', clock_timestamp(), 'UTC') AS hour) clock
WHERE id = %(counted_day)s
"""
PAST = Part(
    """
    SELECT coalesce(sum(orders_admitted - reductions_admitted), 0), coalesce(sum(value_admitted), 0), (
        SELECT coalesce(sum(orders_this_hour), 0) FROM user_daily_stats
        WHERE user_id = %(user)s AND trading_date IN (%(date)s - 1, %(date)s + 1)
          AND hour_started_at = date_trunc('hour', clock_timestamp(), 'UTC')
    ) FROM user_daily_stats
    WHERE user_id = %(user)s AND trading_date >= %(date)s - 30 AND trading_date < %(date)s
    """,
    width=3,
)
STARTS = Part(
    """
    SELECT array_agg(account_id), array_agg(equity_start + cash_flow) FROM account_day
    WHERE account_id = ANY(%(accounts)s) AND trading_date = %(date)s
    """,
    width=2,
)


@dataclass(frozen=True, slots=True)
class History:
    """How many orders a user had admitted in the last 30 days, without what only reduced, and their value together; and
    how many of this hour are on another day's row: those around midnight that were asked for on one side of it and
    admitted on the other.

    Units: `value` in USD.
    """

    orders: int
    value: Decimal
    this_hour: int = 0


def lock(*, user_id: int, trading_date: date) -> UserDailyStats:
    """Lock the user, then the user's day, creating it when it is new. What it guards is read in the next statement.

    The day alone would not do: around midnight two requests lock two days, and each misses what the other admits.
    """
    assert connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [USER_LOCK, user_id])
    mine = UserDailyStats.objects.locked().filter(user_id=user_id, trading_date=trading_date)
    row: UserDailyStats | None = mine.first()
    if row is None:
        UserDailyStats.objects.bulk_create(
            [UserDailyStats(user_id=user_id, trading_date=trading_date)], ignore_conflicts=True
        )
        row = mine.get()
    return row


def day_columns() -> list[str]:
    """Name the columns of a day, the key first, as `as_day` wants them."""
    return [field.attname for field in UserDailyStats._meta.concrete_fields]


def as_day(row: Sequence[Any]) -> UserDailyStats | None:
    """Return the row that `risk_take_day` has locked, or None when that day has no row yet."""
    return None if row[0] is None else statements.made(UserDailyStats, day_columns(), row)


def today(*, user_id: int, trading_date: date) -> UserDailyStats:
    """Return the user's day for somebody who only looks: no lock, and no row made."""
    row: UserDailyStats | None = UserDailyStats.objects.filter(user_id=user_id, trading_date=trading_date).first()
    return row or UserDailyStats(user_id=user_id, trading_date=trading_date)


def orders_this_hour(day: UserDailyStats, *, clock: datetime) -> int:
    """Return how many orders were admitted in the hour of `clock`, which is the database's."""
    hour = clock.replace(minute=0, second=0, microsecond=0)
    return day.orders_this_hour if day.hour_started_at == hour else 0


def history(*, user_id: int, trading_date: date) -> History:
    """Return what the user did in the 30 days before this one."""
    return History(*statements.fetch_only(PAST.query, {"user": user_id, "date": trading_date}))


def days(*, trading_date: date) -> Mapping[int, UserDailyStats]:
    """Return the rows of a day by user, unlocked: to be shown, never to be judged by."""
    return {row.user_id: row for row in UserDailyStats.objects.filter(trading_date=trading_date)}


def count_admitted(day: UserDailyStats, *, value: Decimal, quantity: Decimal) -> None:
    """Count an admitted order on its day and in its hour; canceling it later gives no count back."""
    statements.fetch(COUNT, counting(day, value=value, quantity=quantity))


def counting(day: UserDailyStats, *, value: Decimal, quantity: Decimal) -> Mapping[str, Any]:
    """Return what `COUNT` needs, for a statement that stores the order and counts it together."""
    return {"counted_day": day.pk, "counted_value": value, "counted_quantity": quantity}


def count_changed(*, user_id: int, trading_date: date, value: Decimal) -> None:
    """Add what a change has made an admitted order worth more, or less, to the day on which it was admitted."""
    rows = UserDailyStats.objects.filter(user_id=user_id, trading_date=trading_date)
    rows.update(value_admitted=F("value_admitted") + value)


def count_rejected(day: UserDailyStats) -> None:
    """Count an order that we rejected."""
    UserDailyStats.objects.filter(pk=day.pk).update(orders_rejected=F("orders_rejected") + 1)


def open_day(*, account_id: int, trading_date: date, currency: str, equity: Decimal, read_at: datetime) -> None:
    """Keep the first equity seen of an account on a day; later calls that day change nothing.

    Takes: `read_at`, the database's clock before the broker was asked.
    """
    assert connection.in_atomic_block
    AccountDay.objects.bulk_create(
        [
            AccountDay(
                account_id=account_id,
                trading_date=trading_date,
                currency=currency,
                equity_start=equity,
                created_at=read_at,
            )
        ],
        ignore_conflicts=True,
    )


def note_cash_flow(
    *,
    account_id: int,
    amount: Decimal,
    moved_at: datetime,
    untold_at: datetime | None = None,
    or_later: timedelta = timedelta(0),
) -> None:
    """Add a deposit, or take off a withdrawal, from what the day's loss is measured from.

    What moved before the day's first look is in its first equity already. Which of the two came first is told by our
    own clock where it can be: what was not told yet by a look after that one has moved since. `moved_at` decides only
    where it is further away than clocks may differ, or nobody has looked since. Call it once for each cash deal.

    Takes: `amount` in account currency, negative for a withdrawal; `moved_at` by the venue's clock, or later by as much
    as `or_later`; `untold_at`: when the last look began that would have told of it, by the database's clock.
    """
    day = AccountDay.objects.filter(account_id=account_id).order_by("-trading_date").first()
    if day is None:
        return
    since = moved_at - day.created_at
    is_later = since > timedelta(0)
    is_open = -CLOCKS_MAY_DIFFER - or_later <= since <= CLOCKS_MAY_DIFFER
    if is_open and untold_at is not None and untold_at >= day.created_at:
        is_later = True
    if is_later:
        AccountDay.objects.filter(pk=day.pk).update(cash_flow=F("cash_flow") + amount)


def equity_at_start(*, account_ids: list[int], trading_date: date) -> Mapping[int, Decimal]:
    """Return the equity each account began the day with, and what was paid in since; one without a row is absent."""
    return as_starts(statements.fetch_only(STARTS.query, {"accounts": account_ids, "date": trading_date}))


def as_starts(row: Row) -> Mapping[int, Decimal]:
    """Return what a row of `STARTS` says, by account."""
    ids, equities = row
    return dict(zip(ids or (), equities or (), strict=True))
