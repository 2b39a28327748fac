"""Sweeps as the tests order, run and check them."""

from typing import Any

from django.utils.timezone import now

from risk.states import Sweep
from tests.stops import stop
from trading.models import SweepRun
from trading.services import sweeping


def books(paper: Any) -> tuple[int, int]:
    """Return how many orders work and how many positions are held, in the broker's own books."""
    truth = paper.truth()
    return len(truth["working"]), len(truth["positions"])


def flatten(**changes: Any) -> None:
    stop(sweep=Sweep.FLATTEN, **changes)


def sweep_now(sweep: SweepRun | None = None) -> SweepRun:
    """Give a sweep its rounds, whenever the next is due."""
    chosen = sweep or SweepRun.objects.get()
    sweeping.run(sweep_id=chosen.pk, at=now())
    return SweepRun.objects.get(pk=chosen.pk)
