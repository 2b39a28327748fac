"""The trading floor, and an account that has been reconciled for the first time."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from reconciliation.models import Sighting
from reconciliation.services import cycles
from reconciliation.states import Trigger
from reconciliation.types import Outcome
from tests.fakes import paper as paper_broker
from tests.fakes.paper import Paper
from tests.trading.conftest import _always_true, account, execute, floor, trader
from trading.brokers import registry
from trading.brokers.mt5 import session
from trading.brokers.mt5.emulator.clock import wall_us
from trading.models import TradingAccount

__all__ = ["_always_true", "account", "execute", "floor", "trader"]

Reconcile = Callable[..., Outcome]
DAY_US = 24 * 3600 * 1_000_000


class Shift:
    """The broker's clock: the wall's, and some days."""

    days = 0

    def wall_us(self) -> int:
        """Return the broker's present."""
        return wall_us() + self.days * DAY_US


@pytest.fixture
def paper(floor: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, request: Any) -> Iterator[Paper]:
    """A paper broker whose clock can be moved on; `@pytest.mark.broker(netting=True)` and the like make another."""
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0)
    marker = request.node.get_closest_marker("broker")
    shift = Shift()
    with paper_broker.paper(tmp_path, wall=shift.wall_us, **(marker.kwargs if marker else {})) as running:
        settings.MT5_GATEWAY_URL = running.url
        running.quote("EURUSD", "1.08490", "1.08500")
        request.node.shift = shift
        yield running
        registry.close()


@pytest.fixture
def a_week_later(request: Any, paper: Paper) -> Callable[[], None]:
    """Let a week pass at the broker."""

    def pass_on() -> None:
        request.node.shift.days += 7  # over a weekend no swap is charged
        paper.quote("EURUSD", "1.08490", "1.08500")

    return pass_on


@pytest.fixture
def reconcile(account: TradingAccount) -> Reconcile:
    """Reconcile the account, which has been opened; `later` moves the time of the run, not the broker's.

    Each run counts as the slot after the one before, unless it is one `at_once`.
    """

    def run(*, later: timedelta = timedelta(0), at: datetime | None = None, at_once: bool = False) -> Outcome:
        if not at_once:
            Sighting.objects.update(counted_at=F("counted_at") - timedelta(minutes=1))
        return cycles.run(account_id=account.pk, trigger=Trigger.CLOCK, at=(at or now()) + later)

    assert run().status == "CLEAN"
    return run


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing counts as having just moved: what differs, differs."""
    monkeypatch.setattr(cycles, "QUIET", timedelta(days=-1))
