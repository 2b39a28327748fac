"""Arming: an account with real money takes orders only while its owner has armed it, and for a day at most.

Who marks an order asks under the stop lock (`is_armed`, or `trading_is_armed` in `storing`); who disarms takes it too.
So once an account is disarmed, no order that adds exposure leaves it.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts.rules import MATRIX, Action, Reach
from accounts.services import notices
from accounts.services.permissions import actor_of
from accounts.states import NoticeKind
from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.core import statements
from nexus.core.errors import Conflict, FieldError, Invalid, NotFound
from nexus.core.statements import Part
from risk.services import control
from risk.states import ControlScope, StopLevel
from trading.models import TradingAccount
from trading.services import accounts, coverage

LIFETIME_MIN = timedelta(minutes=1)
# Whether it is armed, and whether it is looked at: both are another matter once the lock is ours.
STATE = Part(
    "SELECT trading_is_armed(%(held_account)s), (SELECT is_active FROM trading_account WHERE id = %(held_account)s)",
    width=2,
)


class NotArmable(Conflict):
    """The account has no real money, or live trading is off, or stopped."""

    code = "not_armable"
    title = "This account cannot be armed now"


def is_armed(account: TradingAccount) -> bool:
    """Tell whether an account takes new exposure now: one on paper always does. Asked under the stop lock."""
    assert connection.in_atomic_block
    armed: bool = statements.fetch_only("SELECT trading_is_armed(%s)", [account.pk])[0]
    return armed


def arm(*, public_id: UUID, lifetime: timedelta | None, by: Principal, at: datetime) -> TradingAccount:
    """Let an account of one's own trade with real money for a while. Doing it again prolongs it.

    Takes: `lifetime` when it shall be shorter than LIVE_ARM_TTL. Raises: NotFound, NotArmable, Invalid.
    """
    lifetime = settings.LIVE_ARM_TTL if lifetime is None else lifetime
    if not LIFETIME_MIN <= lifetime <= settings.LIVE_ARM_TTL:
        detail = f"from {LIFETIME_MIN.total_seconds():.0f} to {settings.LIVE_ARM_TTL.total_seconds():.0f} seconds"
        raise Invalid(f"An account is armed for {detail}.", errors=[FieldError("/for_s", "out_of_range", detail)])
    return _arm(public_id=public_id, lifetime=lifetime, by=by, at=at)


@transaction.atomic(durable=True)
def _arm(*, public_id: UUID, lifetime: timedelta, by: Principal, at: datetime) -> TradingAccount:
    """Arm it under the stop lock: a stop that comes after sees it armed, and disarms it."""
    account = _locked(public_id, by=by, action=Action.LIVE_ARM)
    if not account.is_live:
        raise NotArmable("The account trades on paper: it needs no arming.")
    if not account.is_active or not settings.LIVE_TRADING_ENABLED:
        raise NotArmable("Live trading is switched off here, or the account is put aside.")
    control.lock_shared()
    stop = control.state(scopes=accounts.control_scopes(account, symbol=""))
    if stop.level is not StopLevel.ACTIVE:
        raise NotArmable(f"Trading is {stop.level.name}: {stop.reason}")
    before, until = account.armed_until, at + lifetime
    _write(account, until)
    _tell("account.live_armed", account, before=before, actor=actor_of(by), at=at)
    detail = f"Account: {account}\nUntil: {until:%Y-%m-%d %H:%M:%S} UTC"
    notices.tell(user_id=account.user_id, kind=NoticeKind.LIVE_ARMED, at=at, detail=detail)
    return account


@transaction.atomic(durable=True)
def disarm(*, public_id: UUID, reason: str, by: Principal, at: datetime) -> TradingAccount:
    """Let an account take no more new exposure. Safe to repeat. What works at the broker goes on, and may be canceled.

    Raises: NotFound, Invalid when somebody else's account is disarmed without a reason.
    """
    account = _locked(public_id, by=by, action=Action.LIVE_DISARM)
    if account.user_id != by.pk and not reason:
        detail = "Say why you disarm somebody else's account."
        raise Invalid(detail, errors=[FieldError("/reason", "required", detail)])
    if account.armed_until is not None:
        has_lock = control.hold_off_submitters()
        before = account.armed_until
        _write(account, None)
        _tell("account.live_disarmed", account, before=before, actor=actor_of(by), at=at, reason=reason, lock=has_lock)
    return account


def disarm_under(scope: ControlScope, key: str, *, reason: str, actor: Actor, at: datetime) -> int:
    """Disarm every account that a stop covers, in the caller's transaction; the stop itself holds new exposure already.

    Returns how many were armed.
    """
    assert connection.in_atomic_block
    rows = list(coverage.armed_under(scope, key).select_for_update(of=("self",), no_key=True))
    for account in rows:
        before = account.armed_until
        _write(account, None)
        _tell("account.live_disarmed", account, before=before, actor=actor, at=at, reason=reason)
    return len(rows)


def _locked(public_id: UUID, *, by: Principal, action: Action) -> TradingAccount:
    rows = TradingAccount.objects.select_for_update(of=("self",), no_key=True).filter(public_id=public_id)
    if MATRIX[action].reach(by.role) is not Reach.ALL:
        rows = rows.filter(user_id=by.pk)
    account = rows.first()
    if account is None:
        raise NotFound("You have no such account.")
    return account


def _write(account: TradingAccount, until: datetime | None) -> None:
    account.armed_until = until
    account.save(update_fields=["armed_until"])


def _tell(
    action: str,
    account: TradingAccount,
    *,
    before: datetime | None,
    actor: Actor,
    at: datetime,
    reason: str = "",
    lock: bool | None = None,
) -> None:
    trail.record(
        action=action,
        actor=actor,
        target=Target("trading_account", str(account.public_id)),
        detail={
            "before": {"armed_until": before},
            "after": {"armed_until": account.armed_until},
            **({"reason": reason} if reason else {}),
            **({} if lock is None else {"has_lock": lock}),
        },
        occurred_at=at,
    )
