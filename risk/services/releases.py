"""Easing a stop: one person proposes it, a second one decides. What must hold comes from above (`Precondition`).

Setting a stop is one person's act and next door, in `control`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from accounts.services import approvals
from accounts.states import ApprovalState, Role
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core.errors import Conflict, Denied, FieldError, Invalid, NotFound
from risk.models import ControlRelease, TradingControl
from risk.services import control
from risk.states import ChangeState, ControlScope, StopLevel
from risk.types import Precondition

KIND = "CONTROL_RELEASE"

SecondPersonNeeded = approvals.SecondPersonNeeded
Release = ControlRelease  # for those above, who hold a row and never the table


class NotStopped(Conflict):
    """The scope is at that level already, or at an easier one."""

    code = "not_stopped"
    title = "There is no such stop to ease"


class SetAnew(Conflict):
    """The stop is another one than the person has seen."""

    code = "stop_set_anew"
    title = "The stop was set anew"


class ReleasePending(Conflict):
    """Another proposal for the same stop waits for its decision."""

    code = "release_pending"
    title = "This stop has an open proposal already"


class ReleaseDecided(Conflict):
    """The proposal has been applied, refused, has expired, or the stop was set anew."""

    code = "release_decided"
    title = "This proposal is no longer open"


@transaction.atomic(durable=True)
def propose(
    *,
    scope: ControlScope,
    key: str,
    level: StopLevel,
    reason: str,
    by: Principal,
    at: datetime,
    version: int | None = None,
) -> ControlRelease:
    """Ask for a stop to be eased to `level`. Nothing changes until another person approves.

    Takes: in `version` the stop that the person has seen, where it was shown; another one is not proposed about.
    Raises: NotStopped, SetAnew, ReleasePending, Invalid, Denied.
    """
    _require_operator(by)
    _require_reason(reason)
    row: TradingControl | None = TradingControl.objects.locked().filter(scope=scope, key=key).first()
    if row is None or row.level <= level:
        now = StopLevel.ACTIVE if row is None else StopLevel(row.level)
        raise NotStopped(f"Trading is {now.name} there: nothing is to be eased to {level.name}.")
    if version is not None and version != row.version:
        raise SetAnew("Somebody set this stop anew since you looked. Look at it again.")
    _close_outdated(row, at=at)
    if ControlRelease.objects.filter(control=row, state=ChangeState.PROPOSED).exists():
        raise ReleasePending("Another proposal for this stop is open. Decide it first.")
    release = ControlRelease.objects.create(
        control=row,
        version=row.version,
        before=row.level,
        level=level,
        reason=reason,
        state=ChangeState.PROPOSED,
        proposed_by_id=by.pk,
        proposed_at=at,
        expires_at=at + timedelta(minutes=settings.RELEASE_EXPIRE_MINUTES),
    )
    approvals.ask(
        kind=KIND,
        target=Target("control_release", str(release.pk)),
        payload=payload(release),
        by=by,
        reason=reason,
        at=at,
        expires_at=release.expires_at,
    )
    _tell("control.release_proposed", release, by=by, reason=reason, at=at)
    return release


def take(*, release_id: int, by: Principal, reason: str, at: datetime, is_approval: bool) -> ControlRelease:
    """Lock a proposal for its decision by a second person, in the caller's transaction.

    Raises: SecondPersonNeeded, also for whoever set the stop and would approve; ReleaseDecided, NotFound, Invalid,
    Denied.
    """
    assert connection.in_atomic_block
    _require_operator(by)
    _require_reason(reason)
    release = locked(release_id)
    if release is None:
        raise NotFound("There is no such proposal.")
    if release.state != ChangeState.PROPOSED or release.expires_at <= at:
        has_expired = release.state == ChangeState.PROPOSED
        raise ReleaseDecided(f"This proposal is {'expired' if has_expired else release.state.lower()}. Propose again.")
    if release.proposed_by_id == by.pk:
        raise SecondPersonNeeded("You proposed this. Another operator decides it.")
    if is_approval and release.control.set_by == str(by.public_id):
        raise SecondPersonNeeded("You set this stop. Another operator decides on its release.")
    return release


def keep_checks(release: ControlRelease, *, checks: Sequence[Precondition]) -> None:
    """Keep what was looked at before an approval, in its transaction."""
    ControlRelease.objects.filter(pk=release.pk).update(checks=[check.as_dict() for check in checks])


def approve(release: ControlRelease, *, by: Principal, reason: str, at: datetime) -> TradingControl | None:
    """Ease the stop of a proposal that is locked, all of whose preconditions hold.

    None when the stop was set anew since: then the proposal is stale.
    """
    assert release.checks
    assert all(check["passed"] for check in release.checks)
    actor = Actor.user(by.public_id)
    eased = control.ease(
        control_id=release.control_id, version=release.version, level=StopLevel(release.level),
        reason=release.reason, actor=actor, at=at,
    )  # fmt: skip
    _decide(release, ChangeState.STALE if eased is None else ChangeState.APPLIED, by=by, reason=reason, at=at)
    _tell("control.release_stale" if eased is None else "control.released", release, by=by, reason=reason, at=at)
    return eased


def read(release_id: int) -> ControlRelease:
    """Return a proposal, however it stands."""
    release: ControlRelease = ControlRelease.objects.select_related("control").get(pk=release_id)
    return release


def close(release: ControlRelease, *, state: ApprovalState, by: Principal | None, reason: str, at: datetime) -> None:
    """End a proposal that was not executed, in the caller's transaction: the stop stays."""
    if release.state != ChangeState.PROPOSED:
        return
    if state != ApprovalState.REJECTED or by is None:
        to = ChangeState.EXPIRED if state == ApprovalState.EXPIRED else ChangeState.STALE
        ControlRelease.objects.filter(pk=release.pk).update(state=to, decided_at=at)
        return
    _decide(release, ChangeState.REFUSED, by=by, reason=reason, at=at)
    _tell("control.release_refused", release, by=by, reason=reason, at=at)


def find(release_id: int) -> ControlRelease:
    """Return a proposal as it stands. Raises: NotFound; ReleaseDecided when it is no longer open."""
    release: ControlRelease | None = ControlRelease.objects.select_related("control").filter(pk=release_id).first()
    if release is None:
        raise NotFound("There is no such proposal.")
    if release.state != ChangeState.PROPOSED:
        raise ReleaseDecided(f"This proposal is {release.state.lower()}. Propose again.")
    return release


def locked(release_id: int) -> ControlRelease | None:
    """Lock a proposal, in the caller's transaction."""
    assert connection.in_atomic_block
    rows = ControlRelease.objects.locked().select_related("control").filter(pk=release_id)
    release: ControlRelease | None = rows.first()
    return release


@transaction.atomic(durable=True)
def wait_for_decisions(*, scope: ControlScope, key: str) -> None:
    """Wait until nobody is deciding about a stop: whoever read its switch before may have read what is eased now.

    Who decides holds the proposal from before the first look at what must hold until the commit.
    """
    rows = ControlRelease.objects.locked().filter(control__scope=scope, control__key=key, state=ChangeState.PROPOSED)
    list(rows)


def payload(release: ControlRelease) -> dict[str, Any]:
    """Say what an approval is about: this easing of this very stop. Setting the stop anew makes it another one."""
    return {
        "control": release.control.place,
        "version": release.control.version,
        "proposed_for": release.version,
        "before": StopLevel(release.control.level).name,
        "level": StopLevel(release.level).name,
        "state": release.state,
    }


def newest_of(release_id: int) -> ControlRelease | None:
    """Return a proposal however it stands, with its people, or None."""
    rows = ControlRelease.objects.select_related("control", "proposed_by", "decided_by").filter(pk=release_id)
    release: ControlRelease | None = rows.first()
    return release


def open_of(row: TradingControl, *, at: datetime) -> ControlRelease | None:
    """Return the proposal about a stop that waits for a second person, or None."""
    rows = ControlRelease.objects.filter(
        control=row, version=row.version, state=ChangeState.PROPOSED, expires_at__gt=at
    )
    return rows.select_related("proposed_by").first()


def note_unfit(release: ControlRelease, *, checks: Sequence[Precondition], by: Principal, at: datetime) -> None:
    """Keep that somebody wanted to approve while a precondition did not hold: the proposal stays open."""
    failed = [check.name for check in checks if not check.passed]
    ControlRelease.objects.filter(pk=release.pk).update(checks=[check.as_dict() for check in checks])
    _tell("control.release_unfit", release, by=by, reason=", ".join(failed), at=at)


def _close_outdated(row: TradingControl, *, at: datetime) -> None:
    """Close the open proposal that nobody can decide any more."""
    mine = ControlRelease.objects.filter(control=row, state=ChangeState.PROPOSED)
    mine.filter(expires_at__lte=at).update(state=ChangeState.EXPIRED, decided_at=at)
    mine.exclude(version=row.version).update(state=ChangeState.STALE, decided_at=at)


def _decide(release: ControlRelease, to: ChangeState, *, by: Principal, reason: str, at: datetime) -> None:
    release.state, release.decided_by_id, release.decided_at, release.decision = to, by.pk, at, reason
    release.save(update_fields=["state", "decided_by", "decided_at", "decision", "checks"])


def _require_operator(by: Principal) -> None:
    if by.role != Role.OPERATOR:
        raise Denied("Only operators ease a stop.")


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Invalid("Give a reason.", errors=[FieldError("/reason", "required", "a reason is required")])


def _tell(action: str, release: ControlRelease, *, by: Principal, reason: str, at: datetime) -> None:
    trail.record(
        action=action,
        actor=Actor.user(by.public_id),
        target=Target("trading_control", f"{release.control.scope}:{release.control.key}"),
        detail={
            "release": release.pk,
            "version": release.version,
            "before": StopLevel(release.before).name,
            "after": StopLevel(release.level).name,
            "checks": release.checks,
            "reason": reason,
        },
        occurred_at=at,
    )
