"""What charts show of reconciliation: by how much books and brokers differed, and how old the last comparison was.

A comparison a minute and account is a row: each read names its accounts, at most eight, and stays in their index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import F

from nexus.core import statements
from nexus.core.charts import Value, Window
from reconciliation.models import Cycle
from trading.services.accounts import Account

SHOWN = 8  # accounts on one chart
OLDEST = 20

# The entry is written out, as in the index of runs (`reconciliation_log_runs`), which holds all that is read here: a
# plan for any value could not use it.
RUNS = """
FROM reconciliation_log
WHERE entry = 'RUN' AND account_id = ANY(%(accounts)s::bigint[]) AND at >= %(since)s AND at < %(until)s
"""
DIFFERENCES = f"""
SELECT account_id, date_bin(%(step)s::interval, at, %(epoch)s::timestamptz) AS begins, max(value_usd),
       count(*) FILTER (WHERE value_usd IS NULL AND status <> 'FAILED'), count(*) FILTER (WHERE status = 'FAILED')
{RUNS}
GROUP BY account_id, begins
"""  # nosec B608  # literal texts of the code
AGES = f"""
SELECT begins, min(at), max(at), max(gap) FROM (
    SELECT date_bin(%(step)s::interval, at, %(epoch)s::timestamptz) AS begins, at,
           at - lag(at) OVER (ORDER BY at) AS gap
    {RUNS}
    AND status <> 'FAILED'
) complete GROUP BY begins
"""  # noqa: S608  # nosec B608  # literal texts of the code
BEFORE = """
SELECT at FROM reconciliation_log
WHERE entry = 'RUN' AND account_id = %(account)s AND status <> 'FAILED'
  AND at < %(since)s AND at >= %(since)s::timestamptz - interval '30 days'
ORDER BY at DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Differences:
    """What one account differed by, the most of each step in USD, and how many runs nobody could value or finish."""

    account: Account
    discrepancy: Sequence[Value]
    unvalued: int
    failed: int


@dataclass(frozen=True, slots=True)
class Age:
    """How long ago an account was last compared, now. Units: seconds; None when it never was."""

    account: Account
    age_s: Value


def of_accounts(accounts: Sequence[Account], window: Window) -> list[Differences]:
    """Return what some accounts, eight at most, have differed by."""
    found: dict[int, dict[datetime, Value]] = {each.pk: {} for each in accounts[:SHOWN]}
    bad: dict[int, list[int]] = {each.pk: [0, 0] for each in accounts[:SHOWN]}
    for account_id, begins, most, unvalued, failed in statements.fetch(
        DIFFERENCES, {**window.given, "accounts": list(found)}
    ):
        found[account_id][begins] = most
        bad[account_id][0] += unvalued
        bad[account_id][1] += failed
    return [Differences(each, window.spread(found[each.pk]), *bad[each.pk]) for each in accounts[:SHOWN]]


def age_of(account: Account, window: Window, *, at: datetime) -> list[Value]:
    """Return how old the last complete comparison of an account became within each step, in seconds.

    It grows where nothing ran: the worst time is never the one that the line leaves out.
    """
    given = {**window.given, "accounts": [account.pk]}
    rows = {begins: (first, last, gap) for begins, first, last, gap in statements.fetch(AGES, given)}
    before = statements.fetch_one(BEFORE, {"account": account.pk, "since": window.since})
    seen: datetime | None = before[0] if before else None
    ages: list[Value] = []
    for begins in window.steps:
        first, last, gap = rows.get(begins, (None, None, None))
        oldest = [] if first is None or seen is None else [first - seen]
        oldest += [] if gap is None else [gap]
        seen = last or seen
        end = min(begins + window.step, at)
        oldest += [] if seen is None else [max(end - seen, timedelta(0))]
        ages.append(Decimal(max(oldest) // timedelta(seconds=1)) if oldest else None)
    return ages


def most_different() -> tuple[list[Account], int]:
    """Return the accounts that differ most now, those first that nobody can value, and how many there are in all."""
    rows = Cycle.objects.filter(account__is_active=True)
    first = rows.select_related("account").order_by("-is_unvalued", "-discrepancy_usd", "account_id")[:SHOWN]
    return [row.account for row in first], rows.count()


def oldest(*, at: datetime) -> list[Age]:
    """Return the active accounts that were compared longest ago, those first that never were."""
    rows = Cycle.objects.filter(account__is_active=True).select_related("account")
    first = rows.order_by(F("succeeded_at").asc(nulls_first=True), "account_id")[:OLDEST]
    return [Age(row.account, None if row.succeeded_at is None else _seconds(at - row.succeeded_at)) for row in first]


def _seconds(age: timedelta) -> Decimal:
    return Decimal(max(age, timedelta(0)) // timedelta(seconds=1))
