"""How trading does as a whole, in a fixed number of statements: what stands stopped, what waits, how venues answer."""

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Count, Min
from django.db.models.functions import Coalesce

from accounts import selectors as people
from nexus.core.errors import NotFound
from risk.services import control
from risk.services.control import StopState, Switch
from risk.states import ControlScope, StopLevel
from trading.models import AccountFigures, SweepRun, TradeLedger, TradingAccount
from trading.services import facts
from trading.states import SweepState

LATE_READING = timedelta(seconds=settings.WATCH_BLIND_S)


@dataclass(frozen=True, slots=True)
class Brake:
    """What every page says of the system: how far it lets trade and why, and how many other scopes are stopped."""

    state: StopState
    others: int

    @property
    def level(self) -> str:
        """Return the system's level by its name."""
        return self.state.level.name


@dataclass(frozen=True, slots=True)
class Standing:
    """One stop that stands: of what, by whom, and which sweeps are not over."""

    switch: Switch
    target: str
    set_by: str
    sweeps: tuple[SweepRun, ...]

    @property
    def level(self) -> str:
        """Return the level by its name."""
        return StopLevel(self.switch.level).name

    @property
    def is_listed(self) -> bool:
        """Tell whether what was on its way has been listed."""
        return bool(self.switch.followed_version >= self.switch.version)


@dataclass(frozen=True, slots=True)
class Venue:
    """How one venue answers. Units: seconds since the account read longest ago; None when one was never read."""

    name: str
    accounts: int
    unread: int
    oldest_s: int | None
    faults: tuple[str, ...]


def brake() -> Brake:
    """Return what stands on top of every page. A switch that cannot be read is a stop."""
    others = [row for row in control.stops() if row.scope != ControlScope.SYSTEM]
    return Brake(control.state(scopes=()), len(others))


def standing() -> list[Standing]:
    """Return every stop, the system's first."""
    switches = control.stops()
    sweeps: dict[tuple[str, str], list[SweepRun]] = defaultdict(list)
    for sweep in SweepRun.objects.filter(state=SweepState.RUNNING).select_related("account").order_by("pk"):
        sweeps[sweep.scope, sweep.key].append(sweep)
    targets, setters = targets_of(switches), people.names([row.set_by for row in switches])
    return [
        Standing(row, targets[row.pk], setters.get(row.set_by, row.set_by), tuple(sweeps[row.scope, row.key]))
        for row in switches
    ]


def one(control_id: int) -> Standing:
    """Return one stop that stands. Raises: NotFound when it was eased, or never was."""
    found = next((each for each in standing() if each.switch.pk == control_id), None)
    if found is None:
        raise NotFound("There is no such stop any more: it was eased.")
    return found


def targets_of(switches: list[Switch]) -> dict[int, str]:
    """Return what each stop is about, as operators know it."""
    accounts = TradingAccount.objects.in_bulk(_keys(switches, ControlScope.ACCOUNT))
    users = people.users_by_id(_keys(switches, ControlScope.USER))
    named: dict[int, str] = {}
    for row in switches:
        of: dict[int, Any] = accounts if row.scope == ControlScope.ACCOUNT else users
        known = row.scope in (ControlScope.ACCOUNT, ControlScope.USER) and of.get(int(row.key))
        named[row.pk] = "the whole system" if row.scope == ControlScope.SYSTEM else str(known or row.key)
    return named


def unknown_orders() -> tuple[int, datetime | None]:
    """Return how many orders nobody can find, and since when the oldest of them is on its way."""
    found = TradeLedger.objects.unfound().aggregate(count=Count("pk"), oldest=Min("sent_at"))
    return found["count"], found["oldest"]


def venues(*, at: datetime) -> list[Venue]:
    """Return how every venue answers, those in trouble first."""
    rows: dict[str, list[AccountFigures | None]] = defaultdict(list)
    for account in TradingAccount.objects.filter(is_active=True).select_related("figures").order_by("pk"):
        rows[account.venue].append(getattr(account, "figures", None))
    clock = facts.database_clock()
    return sorted((_venue(name, figures, clock) for name, figures in rows.items()), key=lambda each: -each.unread)


def _venue(name: str, figures: list[AccountFigures | None], clock: datetime) -> Venue:
    read = [row.read_at for row in figures if row is not None and row.read_at is not None]
    late = [at for at in read if clock - at > LATE_READING]
    words = {f"{row.account_id}: {row.fault}" for row in figures if row is not None and row.fault}
    oldest = int((clock - min(read)).total_seconds()) if read and len(read) == len(figures) else None
    return Venue(name, len(figures), len(figures) - len(read) + len(late), oldest, tuple(sorted(words)))


def lost_today(*, at: datetime) -> Decimal:
    """Return what all accounts have lost today together, in USD; the last that was known of each counts."""
    rows = AccountFigures.objects.filter(trading_date=at.date())
    return sum(rows.values_list(Coalesce("loss_today", "loss_known"), flat=True), Decimal(0))


def accounts_by_name() -> list[tuple[uuid.UUID, str]]:
    """Return every active account by its id and how operators know it, for a choice."""
    rows = TradingAccount.objects.filter(is_active=True).select_related("user").order_by("name", "pk")
    return [(row.public_id, f"{row} of {row.user.email}{' LIVE' if row.is_live else ''}") for row in rows[:500]]


def _keys(switches: list[Switch], scope: ControlScope) -> list[int]:
    return [int(row.key) for row in switches if row.scope == scope]
