"""An emergency stop amid the storm: committed at once, and nothing is marked as sent after it."""

import time
from collections.abc import Sequence
from datetime import datetime

from nexus.audit.models import Event
from risk.states import StopLevel
from tests import stops as switch
from tests.storm.clients import Clients
from trading.models import TradeLedger, TradingAccount
from trading.services import facts

WAIT_S_MAX = 2.0


def run(clients: Clients, accounts: Sequence[TradingAccount], *, requests: int, rounds: int) -> int:
    """Stop `rounds` times, print one line each, and return how many stops were late or let an order pass."""
    print(f"{'stop amid the storm':<36}{'before':>7}{'refused':>8}{'wait ms':>8}{'lock':>6}{'late':>6}", flush=True)
    faults = 0
    for number in range(rounds):
        is_hot = number % 2 == 0
        faults += _stop_once(clients, accounts[:1] if is_hot else accounts, requests=requests, is_hot=is_hot)
    return faults


def _stop_once(clients: Clients, accounts: Sequence[TradingAccount], *, requests: int, is_hot: bool) -> int:
    before = _sent()
    clients.fire([accounts[number % len(accounts)].pk for number in range(requests)])
    while _sent() < before + requests // 10:
        time.sleep(0.01)
    started = time.monotonic()
    _set(StopLevel.HALTED)
    waited = time.monotonic() - started
    committed_at = facts.database_clock()  # never earlier than the commit
    outcomes = clients.outcomes()
    told = Event.objects.filter(action="control.level_set").latest("pk")
    has_lock = '"has_lock": true' in told.canonical
    # With the lock, nobody was between reading the switch and its own commit: not even before the stop's commit.
    since = told.recorded_at if has_lock else committed_at
    late = _sent_after(since)
    refused = sum(count for (_, word), count in outcomes.items() if word.startswith("TRADING_"))
    _set(StopLevel.ACTIVE)
    name = f"{'one hot user' if is_hot else f'{len(accounts)} users'}, {requests} requests"
    lock = "yes" if has_lock else "no"
    print(f"{name:<36}{_sent() - before:>7}{refused:>8}{1000 * waited:>8.0f}{lock:>6}{late:>6}", flush=True)
    return late + (waited > WAIT_S_MAX) + (not refused)


def _sent() -> int:
    return TradeLedger.objects.filter(attempts=1).count()


def _sent_after(at: datetime) -> int:
    return TradeLedger.objects.filter(sent_at__gt=at).count()


def _set(level: StopLevel) -> None:
    switch.put(level)
