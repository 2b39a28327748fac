"""Instruments that others alone trade are met one a look: one that cannot be read keeps no other unknown."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.core.errors import Unreachable
from trading.services import accounts, instruments


@pytest.mark.parametrize("count", [2, 5, 10])
def test_each_has_its_turn_however_the_looks_fall(account, monkeypatch, count):
    """A look comes every five seconds, and as many wait."""
    tried: set[str] = set()

    def fail(*, symbol: str, **_: Any) -> None:
        tried.add(symbol)
        raise Unreachable("not now")

    monkeypatch.setattr(instruments, "_read", fail)
    names, began = [f"X{number}" for number in range(count)], now()

    for look in range(200):
        at = began + timedelta(seconds=5 * look)
        instruments.renew(account, accounts.broker_of(account), symbols=names, at=at)

    assert tried == set(names)
