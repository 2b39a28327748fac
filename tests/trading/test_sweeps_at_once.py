"""Sweeps beside each other: one does the work, and what hangs holds up nobody else."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.utils.timezone import now

from accounts.models import User
from risk.states import ControlScope
from tests.factories.accounts import UserFactory
from tests.fakes import paper as paper_broker
from tests.threads import together
from tests.trading.sweeps import books, flatten, sweep_now
from trading.models import SweepRun, TradeLedger, TradingAccount
from trading.services import sweepers, sweeping, sweeps
from trading.states import SweepState


@pytest.fixture
def frozen() -> Iterator[str]:
    """A gateway that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def frozen_account(url: str, *, number: int) -> TradingAccount:
    user: User = UserFactory.create()
    return TradingAccount.objects.create(
        user=user, name="Frozen", venue="mt5", venue_account=str(9000 + number), server=paper_broker.SERVER,
        gateway_url=url, currency="USD", mode="HEDGING", created_at=now(),
    )  # fmt: skip


def test_two_workers_on_one_sweep_close_once(busy, paper):
    flatten()
    sweep_id = SweepRun.objects.get().pk

    together(4, lambda _: sweeping.run(sweep_id=sweep_id, at=now()))

    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)
    assert TradeLedger.objects.exclude(venue_position_id="").count() == 2


def test_one_account_is_swept_by_one_at_a_time(busy, monkeypatch):
    """Also where two stops cover it: whoever comes second leaves it to the first."""
    flatten()
    flatten(scope=ControlScope.ACCOUNT, key=str(busy.pk))
    first, second = SweepRun.objects.order_by("pk")
    real = sweeping._resolve
    found: list[SweepRun | None] = []

    def resolve(this: Any, **known: Any) -> None:
        if not found:
            with ThreadPoolExecutor(1) as other:
                found.append(other.submit(_elsewhere, second.pk).result())
        real(this, **known)

    monkeypatch.setattr(sweeping, "_resolve", resolve)

    assert sweep_now(first).state == SweepState.PROVEN
    assert found == [None]
    assert SweepRun.objects.get(pk=second.pk).rounds == 0
    assert sweep_now(second).state == SweepState.PROVEN


def _elsewhere(sweep_id: int) -> SweepRun | None:
    try:
        return sweeping.run(sweep_id=sweep_id, at=now())
    finally:
        connections.close_all()


def test_another_account_of_the_same_user_that_hangs_holds_up_no_close(execute, paper, account):
    execute()
    other = frozen_account("http://127.0.0.1:1", number=1)
    TradingAccount.objects.filter(pk=other.pk).update(user=account.user)
    flatten(scope=ControlScope.ACCOUNT, key=str(account.pk))

    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_a_venue_that_hangs_holds_up_no_account_of_another(busy, account, monkeypatch, settings):
    """Neither has an address of its own: it is the one of the settings."""
    settings.SWEEP_THREADS_A_GATEWAY = 1
    TradingAccount.objects.filter(pk=frozen_account("", number=1).pk).update(venue="alpaca")
    flatten()
    monkeypatch.setattr(sweepers, "_busy", {})

    taken = sweepers._take(sweeps.due())

    assert sorted(taken) == sorted(SweepRun.objects.values_list("pk", flat=True))


def test_a_gateway_that_hangs_holds_up_nobody_else(busy, paper, frozen, settings):
    """Six accounts behind a frozen gateway come first; the healthy one is flat long before they give up."""
    settings.BROKER_DEADLINE_S = 6
    hanging = [frozen_account(frozen, number=number) for number in range(6)]
    flatten()
    SweepRun.objects.filter(account__in=hanging).update(due_at=SweepRun.objects.get(account=busy).started_at)

    sweepers.run_due(at=now(), turn_s=2)

    assert SweepRun.objects.get(account=busy).state == SweepState.PROVEN
    assert books(paper) == (0, 0)
    assert len([g for g in sweepers._busy.values() if g == frozen]) == settings.SWEEP_THREADS_A_GATEWAY
    deadline = time.monotonic() + 30
    while sweepers._busy and time.monotonic() < deadline:
        time.sleep(0.05)
    tried = SweepRun.objects.filter(account__in=hanging, failures__gt=0)
    assert tried.count() == settings.SWEEP_THREADS_A_GATEWAY
    assert {row.state for row in tried} == {SweepState.RUNNING}
    assert all(row.detail.startswith("The broker cannot be asked") for row in tried)
