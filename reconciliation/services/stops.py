"""Stopping trading where the books cannot be trusted. A stop only ever gets stricter here; a person releases it."""

from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db.models import Count, Q, Sum

from nexus.audit.types import Actor
from nexus.core import statements
from reconciliation.models import Cycle
from risk.services import control
from risk.states import ControlScope, StopLevel
from trading.services.accounts import Account

RECONCILER = Actor.system("reconciliation")


def stop_account(account: Account, *, reason: str, at: datetime) -> bool:
    """Stop trading on an account; tell whether it was not stopped before."""
    return _stop(ControlScope.ACCOUNT, str(account.pk), reason=reason, at=at)


def stop_when_fleet_is_off(*, at: datetime) -> bool:
    """Stop all trading when the discrepancies of all accounts together are too much. Safe to repeat.

    An account that cannot be valued counts at least as much as stops it.
    """
    found = Cycle.objects.filter(account__is_active=True).aggregate(
        valued=Sum("discrepancy_usd"), unvalued=Count("pk", filter=Q(is_unvalued=True))
    )
    total = (found["valued"] or Decimal(0)) + found["unvalued"] * settings.RECONCILIATION_STOP_ABOVE
    if total <= settings.MAX_DISCREPANCY_THRESHOLD:
        return False
    reason = f"All accounts together differ from their brokers by {total:.2f} USD."
    return _stop(ControlScope.SYSTEM, "", reason=reason, at=at)


def _stop(scope: ControlScope, key: str, *, reason: str, at: datetime) -> bool:
    level = StopLevel[settings.RECONCILIATION_STOP_LEVEL]
    if _level_of(scope, key) >= level:
        return False
    control.set_level(scope=scope, key=key, level=level, reason=reason, actor=RECONCILER, at=at)
    return True


def _level_of(scope: ControlScope, key: str) -> StopLevel:
    """Return the level of this very scope: another scope's may be stricter, and is released by itself."""
    row = statements.fetch_only(control.STATE.query, control.wanted([(scope, key)]))
    levels = {(found, of): level for found, of, level, _ in zip(*(column or () for column in row), strict=True)}
    return StopLevel(levels.get((scope, key), StopLevel.ACTIVE))
