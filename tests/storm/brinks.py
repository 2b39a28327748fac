"""Every limit that many orders together could exceed, and how to stand at its brink. A new limit is one line."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Sum
from django.utils.timezone import now

from nexus.audit.types import Actor
from risk.services import changes
from risk.states import LimitKind, LimitScope
from trading.models import TradeLedger, TradingAccount

CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Brink:
    """One limit, set so that exactly `fits` small orders go below it: to the last unit, or one unit short of one more.

    `used` is what the orders that were admitted add up to; `of_one` is what a single small order takes, given its row.
    """

    kind: LimitKind
    used: Callable[[int], Decimal]
    of_one: Callable[[TradeLedger], Decimal]
    unit: Decimal = Decimal(0)  # what the limit may exceed the last order that fits by, and no more fit

    def value(self, one: TradeLedger, fits: int) -> Decimal:
        """Return the limit; with a unit, one unit less than one more order would take."""
        return self.of_one(one) * (fits + 1) - self.unit if self.unit else self.of_one(one) * fits

    def __str__(self) -> str:
        return f"{self.kind}{f' (short by {self.unit})' if self.unit else ''}"


def _sum(field: str) -> Callable[[int], Decimal]:
    def used(account_id: int) -> Decimal:
        rows = TradeLedger.objects.filter(account_id=account_id, attempts=1)
        return Decimal(rows.aggregate(total=Sum(field))["total"] or 0)

    return used


def _count(account_id: int) -> Decimal:
    return Decimal(TradeLedger.objects.filter(account_id=account_id, attempts=1).count())


def _units(account_id: int) -> Decimal:
    return _sum("quantity")(account_id) * 100_000


def _one(_: TradeLedger) -> Decimal:
    return Decimal(1)


BRINKS: tuple[Brink, ...] = (
    Brink(LimitKind.DAILY_LOSS, _sum("risk"), lambda one: one.risk),
    Brink(LimitKind.DAILY_LOSS, _sum("risk"), lambda one: one.risk, unit=CENT),
    Brink(LimitKind.DAILY_VALUE, _sum("value"), lambda one: one.value),
    Brink(LimitKind.DAILY_VALUE, _sum("value"), lambda one: one.value, unit=CENT),
    Brink(LimitKind.DAILY_QUANTITY, _sum("quantity"), lambda one: one.quantity),
    Brink(LimitKind.POSITION_SIZE, _units, lambda one: one.quantity * 100_000),
    Brink(LimitKind.POSITION_SIZE, _units, lambda one: one.quantity * 100_000, unit=Decimal(1)),
    Brink(LimitKind.POSITION_COUNT, _count, _one),
    Brink(LimitKind.ORDERS_PER_DAY, _count, _one),
    Brink(LimitKind.ORDERS_PER_HOUR, _count, _one),
)


def stand(account: TradingAccount, brink: Brink, *, one: TradeLedger, fits: int) -> Decimal:
    """Set the limit of the account's owner so that exactly `fits` orders go below it, and return it."""
    value = brink.value(one, fits)
    changes.lower(
        scope=LimitScope.USER,
        key=str(account.user.pk),
        kind=brink.kind,
        value=value,
        reason="The storm.",
        actor=Actor.system("tests"),
        at=now(),
    )
    return value
