"""Stopping as an operator does, and setting the switch to any level: easing it takes two people, or this."""

from typing import Any

from django.db import transaction
from django.utils.timezone import now

from nexus.audit.types import Actor
from risk.services import control, sights
from risk.services.control import Switch
from risk.states import ControlScope, StopLevel, Sweep
from trading.models import TradingAccount
from trading.services import emergency, watch
from trading.services.emergency import Stopped

TESTER = Actor.system("tests")


def stop(**changes: Any) -> Stopped:
    """Stop as an operator does, in the whole system but for what `changes` says."""
    usual: dict[str, Any] = {
        "scope": ControlScope.SYSTEM, "key": "", "level": StopLevel.HALTED, "sweep": Sweep.NONE, "reason": "A test.",
        "actor": Actor.user("tests"), "at": now(),
    }  # fmt: skip
    return emergency.stop(**(usual | changes))


def put(level: StopLevel, *, scope: ControlScope = ControlScope.SYSTEM, key: str = "") -> Switch | None:
    """Put a switch to a level, whatever it is at."""
    row = control.find(scope=scope, key=key)
    if level > (StopLevel.ACTIVE if row is None else row.level):
        return control.set_level(scope=scope, key=key, level=level, reason="A test.", actor=TESTER, at=now())
    if row is None or row.level == level:
        return row
    with transaction.atomic():
        return control.ease(
            control_id=row.pk, version=row.version, level=level, reason="A test.", actor=TESTER, at=now()
        )


def reconciled(account: TradingAccount) -> None:
    """Let the account be looked at, and a complete reconciliation of it be noted."""
    watch.look(account_id=account.pk, at=now())
    sights.note(account_id=account.pk)
