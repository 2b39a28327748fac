"""How a stop is eased in the tests: what two operators do, and what an approval fails by."""

from datetime import datetime
from typing import Any

import pytest
from django.utils.timezone import now

from accounts.models import User
from risk.models import ControlRelease, TradingControl
from risk.states import ControlScope, StopLevel
from trading.services import resuming
from trading.services.resuming import NotReleasable


def propose(by: User, **changes: Any) -> ControlRelease:
    usual: dict[str, Any] = {
        "scope": ControlScope.SYSTEM, "key": "", "level": StopLevel.ACTIVE, "reason": "Mended.", "by": by, "at": now(),
    }  # fmt: skip
    release, _ = resuming.propose(**(usual | changes))
    return release


def approve(release: ControlRelease, by: User, *, at: datetime | None = None) -> StopLevel:
    _, switch = resuming.approve(release_id=release.pk, by=by, reason="Agreed.", at=at or now())
    return StopLevel(switch.level)


def level() -> StopLevel:
    return StopLevel(TradingControl.objects.get(scope="SYSTEM").level)


def failing(release: ControlRelease, by: User) -> dict[str, str]:
    """Return the checks that an approval fails by, and what they say."""
    with pytest.raises(NotReleasable) as refused:
        approve(release, by)
    failed: list[dict[str, str]] = refused.value.members["checks"]
    return {each["name"]: each["detail"] for each in failed}
