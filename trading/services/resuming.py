"""Easing a stop: what must hold before two people may, each a check with a name and with what it found.

Source: execution reference §7. The broker's word comes from the watch and from reconciliation, which look at every
account all the time: a check that finds their word too old has not passed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from accounts.types import Principal
from nexus.core import money
from nexus.core.errors import Conflict
from risk.services import limits, releases, sights
from risk.services.control import Switch
from risk.services.releases import Release
from risk.states import ControlScope, LimitKind, StopLevel
from risk.types import Precondition, Unknown
from trading.models import AccountFigures, TradingAccount
from trading.services import coverage, facts, figures, sweeps

NAMED_MAX = 10


class NotReleasable(Conflict):
    """Something that must hold before the stop is eased does not."""

    code = "stop_not_releasable"
    title = "The stop cannot be eased yet"


class StopSetAnew(Conflict):
    """Somebody has set the stop again since the proposal: it is about another stop."""

    code = "release_stale"
    title = "The stop was set anew"


@dataclass(frozen=True, slots=True)
class Situation:
    """What is looked at: a stop, the accounts that would trade again, and the time by both clocks."""

    switch: Switch
    accounts: list[TradingAccount]
    known: dict[int, AccountFigures]
    clock: datetime
    at: datetime

    @property
    def symbol(self) -> str:
        """Return the instrument, when the stop is of one."""
        return self.switch.key if self.switch.scope == ControlScope.INSTRUMENT else ""


def propose(
    *, scope: ControlScope, key: str, level: StopLevel, reason: str, by: Principal, at: datetime
) -> tuple[Release, tuple[Precondition, ...]]:
    """Ask for a stop to be eased, and show what stands against it now. Raises: as `releases.propose`."""
    release = releases.propose(scope=scope, key=key, level=level, reason=reason, by=by, at=at)
    return release, look(release.control, level=level, at=at)


def approve(*, release_id: int, by: Principal, reason: str, at: datetime) -> tuple[Release, Switch]:
    """Ease a stop as a second person, when every precondition holds.

    Raises: NotReleasable with the checks that failed, after that was kept; StopSetAnew; as `releases.take`.
    """
    release, eased, failed = _approve(release_id=release_id, by=by, reason=reason, at=at)
    if failed:
        words = " ".join(f"{check.name}: {check.detail}" for check in failed)
        raise NotReleasable(f"The stop stays. {words}", checks=[check.as_dict() for check in failed])
    if eased is None:
        raise StopSetAnew("Somebody set this stop anew after the proposal. It stays; propose again.")
    return release, eased


def refuse(*, release_id: int, by: Principal, reason: str, at: datetime) -> Release:
    """Refuse to ease a stop, as a second person: it stays. Raises: as `releases.take`."""
    return releases.refuse(release_id=release_id, by=by, reason=reason, at=at)


@transaction.atomic(durable=True)
def _approve(
    *, release_id: int, by: Principal, reason: str, at: datetime
) -> tuple[Release, Switch | None, tuple[Precondition, ...]]:
    release = releases.take(release_id=release_id, by=by, reason=reason, at=at, is_approval=True)
    checks = look(release.control, level=StopLevel(release.level), at=at)
    failed = tuple(check for check in checks if not check.passed)
    if failed:
        releases.note_unfit(release, checks=checks, by=by, at=at)
        return release, None, failed
    eased = releases.approve(release, checks=checks, by=by, reason=reason, at=at)
    if eased is not None:
        sweeps.abandon(eased, at=at)
    return release, eased, ()


def look(switch: Switch, *, level: StopLevel, at: datetime) -> tuple[Precondition, ...]:
    """Check everything that must hold before a stop is eased to `level`. All are always looked at."""
    covered = coverage.to_release(switch, level=level)
    known = dict(figures.by_account(covered))
    now = Situation(switch, covered, known, clock=facts.database_clock(), at=at)
    return tuple(check(now) for check in CHECKS)


def in_flight_listed(now: Situation) -> Precondition:
    """What was on its way when the stop came has been listed."""
    passed = now.switch.followed_version >= now.switch.version
    return Precondition("IN_FLIGHT_LISTED", passed, "" if passed else "What was on its way is not listed yet.")


def sweep_proven(now: Situation) -> Precondition:
    """The sweep that the stop has begun is over, by proof, on every account that would trade again."""
    left = [
        f"{sweep.account}: {sweep.detail or 'it has just begun'}" for sweep in sweeps.running(now.switch, now.accounts)
    ]
    return Precondition("SWEEP_PROVEN", not left, _named(left, "The sweep is not over on"))


def orders_known(now: Situation) -> Precondition:
    """Of no order and no change is it unknown whether it arrived."""
    orders, changes = coverage.unanswered(now.accounts, symbol=now.symbol)
    left = [f"{order} ({order.delivery})" for order in orders[: NAMED_MAX + 1]]
    left += [f"{change} ({change.state})" for change in changes[: NAMED_MAX + 1]]
    return Precondition("ORDERS_KNOWN", not left, _named(left, "Nobody knows whether these arrived:"))


def reconciled(now: Situation) -> Precondition:
    """Every account was looked at with success after the stop, and not long ago."""
    since = now.switch.changed_at or now.clock
    left = []
    for account in now.accounts:
        age_s = sights.age_s(account_id=account.pk)
        if isinstance(age_s, Unknown) or now.clock - timedelta(seconds=float(age_s)) <= since:
            left.append(f"{account} (not since the stop)")
        elif age_s > settings.RECONCILIATION_AGE_MAX_S:
            left.append(f"{account} ({age_s:.0f} s ago)")
    return Precondition("RECONCILED", not left, _named(left, "No fresh look has succeeded at"))


def loss_below_limit(now: Situation) -> Precondition:
    """Nobody has lost as much today as the limit allows; what is not known is not below it."""
    left = []
    for account in now.accounts:
        row = now.known.get(account.pk)
        fresh = row is not None and row.read_at is not None and now.clock - row.read_at <= _age_max()
        if row is None or not fresh or row.loss_today is None or row.trading_date != now.at.date():
            left.append(f"{account}: its loss today is not known{f' ({row.fault})' if row and row.fault else ''}")
            continue
        limit = limits.in_force(user_id=account.user_id, account_id=account.pk, symbol="").get(LimitKind.DAILY_LOSS)
        lost: Decimal = figures.loss_of(account.user_id, at=now.at)
        if limit is None or lost >= limit.value:
            most = "no limit is set" if limit is None else f"the limit is {money.as_text(limit.value)}"
            left.append(f"{account}: {money.as_text(lost)} USD are lost today, and {most}")
    return Precondition("LOSS_BELOW_LIMIT", not left, _named(left, "Too much is lost, or nobody can tell:"))


def equity_usable(now: Situation) -> Precondition:
    """Every account has an equity above zero, and margin enough."""
    left = []
    for account in now.accounts:
        row = now.known.get(account.pk)
        if row is None or row.equity is None or row.equity <= 0:
            left.append(f"{account}: its equity is not above zero, or not known")
        elif row.margin_level is not None and row.margin_level < settings.MARGIN_LEVEL_MIN:
            left.append(f"{account}: its margin level is {row.margin_level} %")
    return Precondition("EQUITY_USABLE", not left, _named(left, "The account cannot carry trading:"))


CHECKS: tuple[Callable[[Situation], Precondition], ...] = (
    in_flight_listed,
    sweep_proven,
    orders_known,
    reconciled,
    loss_below_limit,
    equity_usable,
)


def _age_max() -> timedelta:
    return timedelta(seconds=settings.WATCH_BLIND_S)


def _named(left: list[str], words: str) -> str:
    if not left:
        return ""
    more = f", and {len(left) - NAMED_MAX} more" if len(left) > NAMED_MAX else ""
    return f"{words} {'; '.join(left[:NAMED_MAX])}{more}."
