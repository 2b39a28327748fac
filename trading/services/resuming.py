"""Easing a stop: what must hold before two people may, each a check with a name and with what it found.

Source: execution reference §7. The broker's word comes from the watch and from reconciliation, which look at every
account all the time: a check that finds their word too old has not passed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings

from accounts.services import approvals
from accounts.services.approvals import ApprovalClosed, ApprovalStale, Executed, Request
from accounts.states import ApprovalState
from accounts.types import Principal
from nexus.core import money
from nexus.core.errors import Conflict, NotFound
from risk.services import limits, releases, sights
from risk.services.control import Switch
from risk.services.releases import Release, ReleaseDecided
from risk.states import ControlScope, LimitKind, StopLevel
from risk.types import Precondition, Unknown
from trading.models import AccountFigures, TradingAccount
from trading.services import coverage, facts, figures, sweeps

NAMED_MAX = 10


class NotReleasable(Conflict):
    """Something that must hold before the stop is eased does not."""

    code = "stop_not_releasable"
    title = "The stop cannot be eased yet"


class StopSetAnew(ApprovalStale):
    """Somebody has set the stop again since the proposal: it is about another stop."""

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
    *,
    scope: ControlScope,
    key: str,
    level: StopLevel,
    reason: str,
    by: Principal,
    at: datetime,
    version: int | None = None,
) -> tuple[Release, tuple[Precondition, ...]]:
    """Ask for a stop to be eased, and show what stands against it now. Raises: as `releases.propose`."""
    release = releases.propose(scope=scope, key=key, level=level, reason=reason, by=by, at=at, version=version)
    return release, look(release.control, level=level, at=at)


def approve(*, release_id: int, by: Principal, reason: str, at: datetime) -> tuple[Release, Switch]:
    """Ease a stop as a second person, when every precondition holds.

    Raises: NotReleasable with the checks that failed, after that was kept; StopSetAnew; as `releases.take`.
    """
    executed = _say(release_id, approve=True, by=by, reason=reason, at=at)
    assert executed is not None
    release, eased = executed.made
    return release, eased


def refuse(*, release_id: int, by: Principal, reason: str, at: datetime) -> Release:
    """Refuse to ease a stop, as a second person: it stays. Raises: as `releases.take`."""
    _say(release_id, approve=False, by=by, reason=reason, at=at)
    return releases.read(release_id)


def _say(release_id: int, *, approve: bool, by: Principal, reason: str, at: datetime) -> Executed | None:
    """Decide by the number of the proposal, and refuse in its words."""
    approvals.require_operator(by)
    approvals.require_reason(reason)
    releases.find(release_id)
    public_id = approvals.about(kind=releases.KIND, object_id=release_id)
    if public_id is None:
        raise NotFound("There is no such proposal.")
    try:
        return approvals.decide(public_id=public_id, approve=approve, by=by, reason=reason, at=at).executed
    except ApprovalStale as exc:
        raise StopSetAnew("Somebody set this stop anew after the proposal. It stays; propose again.") from exc
    except ApprovalClosed as exc:
        raise ReleaseDecided(exc.detail) from exc


class _Release:
    """How a proposal to ease a stop is looked at and done."""

    def payload(self, request: Request) -> dict[str, Any] | None:
        """Lock the proposal, and say which stop it would ease now, and from where to where."""
        release = releases.locked(int(request.object_id))
        return None if release is None else releases.payload(release)

    def examine(self, request: Request, *, by: Principal, at: datetime) -> NotReleasable | None:
        """Refuse who set the stop, and while anything that must hold does not; that is kept, and it stays open."""
        release = releases.take(release_id=int(request.object_id), by=by, reason="-", at=at, is_approval=True)
        checks = look(release.control, level=StopLevel(release.level), at=at)
        failed = tuple(check for check in checks if not check.passed)
        if not failed:
            releases.keep_checks(release, checks=checks)
            return None
        releases.note_unfit(release, checks=checks, by=by, at=at)
        words = " ".join(f"{check.name}: {check.detail}" for check in failed)
        return NotReleasable(f"The stop stays. {words}", checks=[check.as_dict() for check in failed])

    def execute(self, request: Request, *, by: Principal, reason: str, at: datetime) -> Executed | None:
        """Ease the stop, and give up what its sweep has left. None when it was set anew just now."""
        release = releases.locked(int(request.object_id))
        assert release is not None
        eased = releases.approve(release, by=by, reason=reason, at=at)
        if eased is None:
            return None
        sweeps.abandon(eased, at=at)
        return Executed((release, eased))

    def close(self, request: Request, *, state: ApprovalState, by: Principal | None, reason: str, at: datetime) -> None:
        """End the proposal: the stop stays."""
        release = releases.locked(int(request.object_id))
        if release is not None:
            releases.close(release, state=state, by=by, reason=reason, at=at)


RELEASE = _Release()


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
    age_max = timedelta(seconds=settings.RECONCILIATION_AGE_MAX_S)
    left = []
    for account in now.accounts:
        seen_at = sights.seen_at(account_id=account.pk)  # an age would be of another moment than `clock`
        if seen_at is None or seen_at <= since:
            left.append(f"{account} (not since the stop)")
        elif now.clock - seen_at > age_max:
            left.append(f"{account} ({(now.clock - seen_at).total_seconds():.0f} s ago)")
    return Precondition("RECONCILED", not left, _named(left, "No fresh look has succeeded at"))


def books_agree(now: Situation) -> Precondition:
    """No account's books differ from its broker's by so much that the next run would stop it again."""
    left = []
    for account in now.accounts:
        found = sights.discrepancy(account_id=account.pk)
        if isinstance(found, Unknown):
            left.append(f"{account}: {found.detail}")
        elif found is not None and found > settings.RECONCILIATION_STOP_ABOVE:
            left.append(f"{account}: {money.as_text(found)} USD")
    return Precondition(
        "BOOKS_AGREE", not left, _named(left, "Decide the reviews first. Books and broker differ by too much:")
    )


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
    books_agree,
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
