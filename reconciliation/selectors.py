"""Every read of reconciliation worth a name."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db.models import Count, F, Min, Q, QuerySet, Sum

from accounts.types import Principal
from nexus.core.errors import NotFound
from reconciliation.models import Cycle, ReconciliationLog, Review
from reconciliation.states import Action, Entry, ReviewState, Status
from trading import selectors as trading
from trading.services.accounts import Account

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CORRECTED_OVER = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class AccountState:
    """How an account stands with its broker.

    Units: USD; `age_s` since the last complete run, None when there was none.
    """

    account: Account
    runs: int
    failed_runs: int
    failures_in_row: int
    last_success_at: datetime | None
    age_s: Decimal | None
    discrepancy_usd: Decimal
    is_unvalued: bool
    corrected_24h_usd: Decimal
    reviews_open: int


def accounts_of(user: Principal, *, account: uuid.UUID | None) -> list[Account]:
    """Return the accounts of a report: one, or all that the person may see. Raises: NotFound."""
    rows = trading.accounts_of(user)
    if account is None:
        return list(rows)
    found = rows.filter(public_id=account).first()
    if found is None:
        raise NotFound("You have no such account.")
    return [found]


def log_of(accounts: Iterable[Account], *, since: datetime, until: datetime) -> QuerySet[ReconciliationLog]:
    """Return what was logged of accounts in a time, the newest first."""
    rows = ReconciliationLog.objects.filter(account__in=[each.pk for each in accounts], at__gt=since, at__lte=until)
    return rows.select_related("account").order_by("-at", "-pk")


def worth_telling(rows: QuerySet[ReconciliationLog]) -> QuerySet[ReconciliationLog]:
    """Leave out runs that found what they should."""
    return rows.exclude(entry=Entry.RUN, status=Status.CLEAN)


def states(accounts: Iterable[Account], *, since: datetime, at: datetime) -> list[AccountState]:
    """Return how accounts stand, in a few statements however many they are."""
    owned = list(accounts)
    ids = [each.pk for each in owned]
    cycles = Cycle.objects.in_bulk(ids)
    runs = {
        row["account_id"]: (int(row["all"]), int(row["failed"]))
        for row in ReconciliationLog.objects.filter(account__in=ids, entry=Entry.RUN, at__gt=since, at__lte=at)
        .values("account_id")
        .annotate(all=Count("pk"), failed=Count("pk", filter=Q(status=Status.FAILED)))
    }
    corrected = dict(
        ReconciliationLog.objects.filter(
            account__in=ids, entry=Entry.DIFFERENCE, action=Action.BROKER_SYNCED, at__gt=at - CORRECTED_OVER
        )
        .values_list("account_id")
        .annotate(Sum("value_usd"))
    )
    waiting = dict(
        Review.objects.filter(account__in=ids, state=ReviewState.OPEN).values_list("account_id").annotate(Count("pk"))
    )
    nothing = (0, 0)
    return [
        _state(
            each, cycles.get(each.pk) or Cycle(), runs=runs.get(each.pk, nothing),
            corrected=corrected.get(each.pk) or Decimal(0), waiting=waiting.get(each.pk, 0), at=at,
        )
        for each in owned
    ]  # fmt: skip


def _state(
    account: Account, cycle: Cycle, *, runs: tuple[int, int], corrected: Decimal, waiting: int, at: datetime
) -> AccountState:
    seen = cycle.succeeded_at
    return AccountState(
        account=account,
        runs=runs[0],
        failed_runs=runs[1],
        failures_in_row=cycle.failures,
        last_success_at=seen,
        age_s=None if seen is None else Decimal((at - seen) // timedelta(seconds=1)),
        discrepancy_usd=Decimal(cycle.discrepancy_usd),
        is_unvalued=cycle.is_unvalued,
        corrected_24h_usd=corrected,
        reviews_open=waiting,
    )


def compared(accounts: Iterable[Account]) -> dict[int, Cycle]:
    """Return how the last comparison of each account stands, by the account's key; one that had none is left out."""
    return Cycle.objects.in_bulk([each.pk for each in accounts])


def stale(*, since: datetime) -> QuerySet[Cycle]:
    """Return active accounts without a complete run since then."""
    rows = Cycle.objects.filter(account__is_active=True, account__created_at__lt=since)
    return rows.filter(Q(succeeded_at__isnull=True) | Q(succeeded_at__lt=since)).select_related("account")


def queue() -> QuerySet[Review]:
    """Return the differences that wait for a person: what nobody can value, then the most, then the oldest."""
    most = F("value_usd").desc(nulls_first=True)
    return Review.objects.filter(state=ReviewState.OPEN).select_related("account").order_by(most, "opened_at", "pk")


def open_of(account: Account) -> list[Review]:
    """Return the differences of one account that wait for a person, the oldest first."""
    return list(Review.objects.filter(account=account, state=ReviewState.OPEN).order_by("pk"))


def queue_size() -> tuple[int, datetime | None]:
    """Return how many differences wait for a person, and since when the oldest does."""
    found = Review.objects.filter(state=ReviewState.OPEN).aggregate(count=Count("pk"), oldest=Min("opened_at"))
    return found["count"], found["oldest"]


@dataclass(frozen=True, slots=True)
class Totals:
    """How all active accounts stand with their brokers together. Units: USD."""

    accounts: int
    discrepancy_usd: Decimal
    unvalued: int
    stale: int
    failing: int
    corrected_24h_usd: Decimal
    oldest_success_at: datetime | None


def totals(*, since: datetime, at: datetime) -> Totals:
    """Return the sums over all active accounts. Takes: `since` when a complete run is not stale."""
    is_stale = Q(succeeded_at__isnull=True) | Q(succeeded_at__lt=since)
    found = Cycle.objects.filter(account__is_active=True).aggregate(
        accounts=Count("pk"),
        discrepancy=Sum("discrepancy_usd"),
        unvalued=Count("pk", filter=Q(is_unvalued=True)),
        stale=Count("pk", filter=is_stale),
        failing=Count("pk", filter=Q(failures__gt=0)),
        oldest=Min("succeeded_at"),
    )
    synced = ReconciliationLog.objects.filter(
        at__gt=at - CORRECTED_OVER, entry=Entry.DIFFERENCE, action=Action.BROKER_SYNCED
    )
    return Totals(
        accounts=found["accounts"],
        discrepancy_usd=found["discrepancy"] or Decimal(0),
        unvalued=found["unvalued"],
        stale=found["stale"],
        failing=found["failing"],
        corrected_24h_usd=synced.aggregate(Sum("value_usd"))["value_usd__sum"] or Decimal(0),
        oldest_success_at=found["oldest"],
    )


def review(public_id: uuid.UUID) -> Review:
    """Return one review. Raises: NotFound."""
    row = Review.objects.filter(public_id=public_id).select_related("account").first()
    if row is None:
        raise NotFound("There is no such review.")
    return row


def active_accounts(*, account: uuid.UUID | None) -> list[Account]:
    """Return every active account, or the one that is named. Raises: NotFound."""
    rows = trading.active_accounts()
    if account is None:
        return list(rows)
    found = rows.filter(public_id=account).first()
    if found is None:
        raise NotFound("There is no such active account.")
    return [found]
