"""The balance that our books explain, kept as a sum that grows: what a broker's balance has more was paid in.

A deposit is in the balance at once, and in the list of cash movements only when somebody has asked for it. Until then
it must not look like a profit, which would hide a loss of the day. So what the balance has more than our books explain
counts as paid in, whoever has told of it or not. What it has less is a loss until it is explained. Where something was
closed that our books still hold, its loss may hide behind a deposit of the same seconds: there the deposits themselves
are read. Credit, which stands in the equity beside the balance, is money like any other here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import LiteralString

from django.db import connection

from nexus.core import statements
from nexus.core.money import CENT
from nexus.core.statements import Part, Row
from risk.services import stats
from trading.brokers import registry
from trading.models import AccountFigures, TradingAccount
from trading.rules import ZERO
from trading.services.facts import Facts, Missing

BEGINNING, FOREVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
SETTLED = timedelta(minutes=1)  # no transaction lasts as long: what was booked before this is in the sum for good

# What was booked of an account after `{since}` and until `{until}`. An open end of time is written as one, so that a
# plan for any value expects few rows.
MOVED: LiteralString = """
    (SELECT coalesce(sum(profit + swap + commission + fee), 0) FROM fill
      WHERE account_id = {account} AND booked_at > {since} AND booked_at <= {until})
  + (SELECT coalesce(sum(amount), 0) FROM cash_movement
      WHERE account_id = {account} AND booked_at > {since} AND booked_at <= {until})
  + (SELECT coalesce(sum(amount), 0) FROM book_correction
      WHERE account_id = {account} AND created_at > {since} AND created_at <= {until})
"""
SUM: LiteralString = "SELECT " + MOVED.format(account="%(account)s", since="%(since)s", until="%(until)s")
EXPLAINED = Part(
    "SELECT array_agg(account_id), array_agg(explained + "  # noqa: S608  # nosec B608  # literal texts of the code
    + MOVED.format(account="account_figures.account_id", since="explained_until", until="'infinity'")
    + "), array_agg(unexplained_before), array_agg(trading_date) FROM account_figures"
    " WHERE account_id = ANY(%(accounts)s) AND explained_until IS NOT NULL",
    width=4,
)


def advance(row: AccountFigures, *, balance: Decimal, clock: datetime, is_new_day: bool) -> None:
    """Bring the sum of an account's figures up to what nobody can add to any more; once a day from its beginning.

    Takes: the row to be saved, the balance that the same look has shown, credit included, `clock` by the database.
    """
    assert connection.in_atomic_block
    since = None if is_new_day else row.explained_until
    until = max(clock - SETTLED, since or BEGINNING)  # also by a clock that was set back
    row.explained = (ZERO if since is None else row.explained) + _moved(row, since=since or BEGINNING, until=until)
    row.explained_until = until
    missing = max(ZERO, balance - row.explained - _moved(row, since=until, until=FOREVER))
    row.unexplained_before = missing if since is None else min(missing, row.unexplained_before)


def with_untold(
    starts: Mapping[int, Decimal], explained: Row, *, facts: Facts | Missing, at: datetime
) -> Mapping[int, Decimal]:
    """Return what each account's loss is measured from, with what was paid in and is not in our books yet.

    Takes: a row of `EXPLAINED`. What the balance had more when the day began is in the day's first equity.
    """
    if isinstance(facts, Missing):
        return starts
    sums = {each[0]: each[1:] for each in zip(*(column or () for column in explained), strict=True)}
    told = dict(starts)
    for each in facts.accounts:
        account = each.account
        known, before, date = sums.get(account.pk, (None, ZERO, None))
        if known is None or account.pk not in told or date != at.date() or _is_untold(account, each.snapshot.balance):
            continue
        extra = each.snapshot.balance + each.snapshot.credit - known - before
        told[account.pk] += max(extra if extra >= CENT else ZERO, each.paid_in or ZERO)
    return told


def starts(facts: Facts, *, at: datetime) -> Mapping[int, Decimal]:
    """Return what each account's loss of the day is measured from: its first equity, and what was paid in since."""
    given = {"accounts": [each.account.pk for each in facts.accounts], "date": at.date()}
    began, explained = statements.fetch_parts((stats.STARTS, EXPLAINED), given)
    return with_untold(stats.as_starts(began), explained, facts=facts, at=at)


def note_found(account: TradingAccount, amount: Decimal, *, at: datetime) -> None:
    """Let the day's loss be measured without money that our books now explain by a correction, and by no deal.

    What the day began with already is left out. What has gone without a word stays a loss.
    """
    before = AccountFigures.objects.filter(account=account, trading_date=at.date()).values_list("unexplained_before")
    paid_in = amount - (before[0][0] if before else ZERO)
    if paid_in > 0:
        stats.note_cash_flow(account_id=account.pk, amount=paid_in, moved_at=at, untold_at=at)


def _is_untold(account: TradingAccount, balance: Decimal) -> bool:
    """Tell whether the balance cannot be explained: the venue tells no results, or there is no number."""
    return account.venue in registry.RESULTS_UNTOLD or not balance.is_finite()


def _moved(row: AccountFigures, *, since: datetime, until: datetime) -> Decimal:
    given = {"account": row.account_id, "since": since, "until": until}
    moved: Decimal = statements.fetch_only(SUM, given)[0]
    return moved
