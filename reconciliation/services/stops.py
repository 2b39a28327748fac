"""Stopping trading where the books cannot be trusted. A stop only ever gets stricter here; people release it."""

from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db.models import Count, Q, Sum

from nexus.audit.types import Actor
from reconciliation.models import Cycle
from risk.states import ControlScope, Trigger
from trading.services import triggers
from trading.services.accounts import Account

RECONCILER = Actor.system("reconciliation")


def stop_for_discrepancy(account: Account, *, reason: str, at: datetime) -> bool:
    """Stop trading on an account whose books differ by too much; tell whether it was not stopped before."""
    return _stop(Trigger.DISCREPANCY, ControlScope.ACCOUNT, str(account.pk), reason=reason, at=at)


def stop_for_failures(account: Account, *, reason: str, at: datetime) -> bool:
    """Stop trading on an account that could not be reconciled too often; tell whether it was not stopped before."""
    return _stop(Trigger.RECONCILIATION, ControlScope.ACCOUNT, str(account.pk), reason=reason, at=at)


def stop_when_fleet_is_off(*, at: datetime) -> bool:
    """Stop all trading when the discrepancies of all accounts together are too much, and tell whether they are.

    Safe to repeat. An account that cannot be valued counts at least as much as stops it.
    """
    found = Cycle.objects.filter(account__is_active=True).aggregate(
        valued=Sum("discrepancy_usd"), unvalued=Count("pk", filter=Q(is_unvalued=True))
    )
    total = (found["valued"] or Decimal(0)) + found["unvalued"] * settings.RECONCILIATION_STOP_ABOVE
    if total <= settings.MAX_DISCREPANCY_THRESHOLD:
        return False
    reason = f"All accounts together differ from their brokers by {total:.2f} USD."
    _stop(Trigger.DISCREPANCY, ControlScope.SYSTEM, "", reason=reason, at=at)
    return True


def _stop(trigger: Trigger, scope: ControlScope, key: str, *, reason: str, at: datetime) -> bool:
    return triggers.pull(trigger, scope=scope, key=key, reason=reason, at=at) is not None
