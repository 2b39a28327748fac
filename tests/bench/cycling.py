"""Accounts, positions and cycles in bulk, for the bench of reconciliation."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import connection
from django.utils.timezone import now

from accounts.models import User
from nexus.core.jobs import enqueue
from reconciliation.models import Cycle, ReconciliationLog
from reconciliation.services import schedule
from tests.bench import nowire
from trading.models import TradableInstrument, TradingAccount
from trading.services import comparison
from trading.services.comparison import Shown
from trading.states import PositionMode, Side
from trading.types import VenuePosition

POLL_S = 0.05
OFF_EVERY = 1_000  # one position of so many differs
OPENED = datetime(2026, 1, 1, tzinfo=UTC)

nowire.install()


def compare(size: int, rounds: int) -> list[float]:
    """Return how long it takes to find the differences of so many positions, and of the balance, in ms."""
    account = _account("far", f"holds {size}", mode=PositionMode.HEDGING)
    _instrument(account)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO broker_positions (public_id, account_id, venue_position_id, symbol, quantity, price_open,
                                          opened_at)
            SELECT gen_random_uuid(), %s, number::text, 'EURUSD', 0.01, 1.08500, %s
            FROM generate_series(1, %s) AS number
            """,
            [account.pk, OPENED, size],
        )
        cursor.execute("ANALYZE broker_positions")
    shown = [_shown(number) for number in range(1, size + 1)]
    balance = Shown(Decimal(0), now(), (), ())
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        differences = comparison.differences(account, shown, quiet_since=now())
        comparison.balance_missing(account, balance)
        found.append(1000 * (time.perf_counter() - begun))
        assert len(differences) == size // OFF_EVERY, len(differences)
    return found[1:]  # the first plans the statement


def link(count: int) -> None:
    """Add accounts at a far broker; nobody else's are in turn."""
    TradingAccount.objects.update(is_active=False)
    Cycle.objects.all().delete()
    for number in range(count):
        _account(nowire.FAR_VENUE, f"far-{number}", mode=PositionMode.NETTING)


def cycle(count: int, *, timeout_s: float) -> float:
    """Hand out every account at once, which is the worst that the clock can do, and return when the last has ended."""
    begun_at, begun = now(), time.perf_counter()
    Cycle.objects.update(due_at=begun_at)
    runs = ReconciliationLog.objects.filter(entry="RUN", at__gte=begun_at)
    for _ in range(count // schedule.BATCH + 1):
        for account_id in schedule.hand_out(at=now()):
            enqueue(
                "reconciliation.reconcile_account", expires_s=settings.RECONCILIATION_INTERVAL, account_id=account_id
            )
    while runs.count() < count:
        time.sleep(POLL_S)
        if time.perf_counter() - begun > timeout_s:
            raise TimeoutError(f"{runs.count()} of {count} accounts within {timeout_s:.0f} s")
    wrong = set(runs.exclude(status="CLEAN").values_list("reason", flat=True))
    assert not wrong, wrong
    return time.perf_counter() - begun


def _account(venue: str, name: str, *, mode: PositionMode) -> TradingAccount:
    user = User.objects.order_by("pk").first()
    assert user is not None
    return TradingAccount.objects.create(
        public_id=uuid.uuid4(), user=user, name=name, venue=venue, venue_account=name[:32], server="",
        currency="USD", mode=mode, created_at=now() - timedelta(hours=1),
    )  # fmt: skip


def _instrument(account: TradingAccount) -> None:
    TradableInstrument.objects.create(
        account=account, symbol="EURUSD", base_currency="EUR", profit_currency="USD", margin_currency="EUR",
        contract_size=100_000, tick_size=Decimal("0.00001"), digits=5, quantity_min=1, quantity_max=1,
        quantity_step=1, stops_distance_min=0, is_tradable=True, read_at=now(),
    )  # fmt: skip


def _shown(number: int) -> VenuePosition:
    is_off = number % OFF_EVERY == 0
    return VenuePosition(
        venue_position_id=str(number), symbol="EURUSD", side=Side.BUY,
        quantity=Decimal("0.02") if is_off else Decimal("0.01"), price_open=Decimal("1.08500"),
        price_current=Decimal("1.08490"), stop_loss=None, take_profit=None, profit=Decimal("-0.1"), swap=Decimal(0),
        client_order_id="", opened_at=OPENED,
    )  # fmt: skip
