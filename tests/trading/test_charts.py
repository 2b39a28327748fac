"""Charts of trading against figures that were worked out by hand, in PostgreSQL, bounded however much there is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from nexus.core.charts import window
from risk.states import LimitKind, LimitScope
from risk.types import Limit
from tests.factories.accounts import UserFactory
from tests.fakes.paper import LOGIN
from tests.trading.conftest import brief, limit
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import AccountFigures, AccountReading, Fill, TradeLedger, TradingAccount
from trading.services import charts, readings, watch
from trading.states import Side

AT = datetime(2026, 11, 21, 9, 58, 12, tzinfo=UTC)


@pytest.fixture
def bare(db) -> TradingAccount:
    """An account that nobody has looked at yet."""
    return TradingAccount.objects.create(
        user=UserFactory.create(), name="Bare", venue="mt5", venue_account="1", server="S", currency="EUR",
        mode="HEDGING", created_at=AT - timedelta(days=60),
    )  # fmt: skip


def undurable(service: Any) -> Any:
    """Return a service as it is inside of its transaction: the test has one of its own."""
    return service.__wrapped__


def seen(account, at, equity, *, low=None, loss="0", lost=None, most="1000"):
    AccountReading.objects.create(
        account=account, minute=at.replace(second=0, microsecond=0), equity=equity, equity_low=low or equity,
        loss_today=loss, lost=lost or loss, loss_limit=most,
    )  # fmt: skip


def order(
    account: TradingAccount,
    number: int,
    *,
    created: datetime,
    sent_ms: int | None = None,
    filled_ms: int | None = None,
    kind: str = "MARKET",
    slippage: str | None = None,
) -> TradeLedger:
    """Store an order as it was admitted, sent and filled, so many milliseconds later."""
    sent = None if sent_ms is None else created + timedelta(milliseconds=sent_ms)
    row = TradeLedger.objects.create(
        account=account, user=account.user, client_order_id=f"c{number}", symbol="EURUSD", side="BUY", order_type=kind,
        quantity=1, status="FILLED", delivery="DONE", attempts=1, created_at=created, sent_at=sent, closed_at=sent,
    )  # fmt: skip
    if sent is not None and filled_ms is not None:
        Fill.objects.create(
            account=account, order=row, venue_fill_id=f"f{number}", symbol="EURUSD", side="BUY", quantity=1, price=1,
            kind="ORDER", filled_at=sent, booked_at=sent + timedelta(milliseconds=filled_ms), slippage=slippage,
        )  # fmt: skip
    return row


def test_a_step_has_the_last_equity_and_the_worst_of_all_else(bare):
    over = window("24h", at=AT)
    first = over.since + 10 * over.step
    seen(bare, first, "100", low="90", loss="5", lost="8", most="50")
    seen(bare, first + timedelta(minutes=4), "120", low="95", loss="2", lost="3", most="40")
    seen(bare, first + timedelta(minutes=5), "130", loss="1")  # the next step
    seen(bare, over.since - timedelta(minutes=1), "999")  # before the window

    found = charts.readings(bare, over)

    assert len(found.equity) == len(found.limit) == 288
    assert [each for each in found.equity if each is not None] == [120, 130]
    assert (found.equity[10], found.equity[11], found.equity[12]) == (Decimal(120), Decimal(130), None)
    assert [column[10] for column in (found.equity_low, found.loss_today, found.lost, found.limit)] == [90, 5, 8, 40]


def test_another_account_is_not_mixed_in(bare):
    other = TradingAccount.objects.create(
        user=bare.user, name="Other", venue="mt5", venue_account="2", server="S", currency="EUR", mode="HEDGING",
        created_at=AT,
    )  # fmt: skip
    seen(other, AT, "5")

    assert set(charts.readings(bare, window("24h", at=AT)).equity) == {None}


def test_a_minute_keeps_the_last_equity_the_most_loss_and_the_tightest_limit(bare):
    row = AccountFigures(account=bare, equity=Decimal(100), loss_today=Decimal(3))
    for equity, loss, lost, most, second in ((100, 3, 4, 50, 1), (80, 20, 25, 60, 20), (95, 5, 6, None, 59)):
        row.equity, row.loss_today = Decimal(equity), Decimal(loss)
        held = None if most is None else Limit(LimitKind.DAILY_LOSS, Decimal(most), LimitScope.USER)
        undurable(readings.keep)(row, lost=Decimal(lost), limit=held, at=AT.replace(second=second))

    kept = AccountReading.objects.get()
    assert (kept.minute, kept.equity, kept.equity_low) == (AT.replace(second=0), 95, 80)
    assert (kept.loss_today, kept.lost, kept.loss_limit) == (20, 25, 50)


def test_what_is_old_goes_batch_by_batch_and_the_rest_stays(bare, settings, monkeypatch):
    settings.READINGS_DAYS = 31
    monkeypatch.setattr(readings, "BATCH", 2)
    for days in (40, 39, 38, 30, 0):
        seen(bare, AT - timedelta(days=days), "1")

    assert [undurable(readings.purge)(at=AT) for _ in range(3)] == [2, 1, 0]
    assert AccountReading.objects.count() == 2


def test_a_look_keeps_a_reading_with_what_the_limit_is_held_against(execute, paper, account, trader):
    limit(LimitKind.DAILY_LOSS, "700", user=trader)
    watch.look(account_id=account.pk, at=now())
    execute()
    paper.quote("EURUSD", "1.08390", "1.08400")
    at = now()
    watch.look(account_id=account.pk, at=at)

    kept = AccountReading.objects.get(minute=at.replace(second=0, microsecond=0))
    figures = AccountFigures.objects.get()
    assert (kept.equity, kept.loss_today) == (figures.equity, figures.loss_today)
    assert kept.loss_today > 0
    assert (kept.lost, kept.loss_limit) == (kept.loss_today, 700)


def test_exposure_is_valued_at_the_brokers_mark_and_never_netted(execute, paper, account):
    execute(brief())  # 0.1 lots long, valued at the bid, where it would be closed
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
    watch.look(account_id=account.pk, at=now())

    (held,) = charts.exposure(account).held

    assert (held.symbol, held.long_lots, held.short_lots) == ("EURUSD", Decimal("0.1"), Decimal("0.5"))
    assert (held.long_usd, held.short_usd) == (Decimal("10849.00"), Decimal("54250.00"))


def test_exposure_shows_the_largest_and_first_what_nobody_can_value(bare):
    side: dict[str, str | None] = {"lots": "1", "usd": "0"}
    held: dict[str, dict[str, dict[str, str | None]]] = {
        f"S{size:02}": {"BUY": {"lots": "1", "usd": str(size)}, "SELL": side} for size in range(14)
    }
    held["XX"] = {"BUY": {"lots": "2", "usd": None}, "SELL": side}
    AccountFigures.objects.create(account=bare, exposure=held, read_at=AT)

    found = charts.exposure(bare)

    assert [each.symbol for each in found.held[:3]] == ["XX", "S13", "S12"]
    assert (len(found.held), found.others) == (charts.SYMBOLS, 3)
    assert set(held["XX"]) == {side.value for side in Side}


def test_latency_is_the_half_and_the_95th_percentile_of_each_step(bare):
    over = window("24h", at=AT)
    first = over.since + 7 * over.step + timedelta(seconds=3)
    for number, took in enumerate((10, 20, 30, 40, 100)):
        order(bare, number, created=first, sent_ms=took, filled_ms=took * 2)
    order(bare, 5, created=first + over.step, sent_ms=7, filled_ms=3_600_000, kind="LIMIT")  # rested: fills count not
    order(bare, 6, created=first, sent_ms=None)  # refused: never sent
    order(bare, 7, created=over.since - timedelta(seconds=1), sent_ms=1)

    found = charts.latency(over)

    # Between the 4th (40) and the 5th (100) of five at 0.95 · 4 = 3.8: 40 + 0.8 · 60 = 88.
    assert (found.orders[7], found.sent_half[7], found.sent_most[7]) == tuple(map(Decimal, (5, 30, 88)))
    assert (found.filled_half[7], found.filled_most[7]) == tuple(map(Decimal, (60, 176)))
    assert (found.sent_half[8], found.filled_half[8]) == (Decimal(7), None)
    assert [number for number, count in enumerate(found.orders) if count] == [7, 8]
    assert found.whole_since is None


def test_slippage_is_counted_into_bands_of_basis_points(bare):
    slips = ("-0.002", "-0.0001", "0", "0.00001", "0.00015", "0.0002", "0.01", None)
    for number, slip in enumerate(slips):
        order(bare, number, created=AT - timedelta(minutes=9), sent_ms=1, filled_ms=1, slippage=slip)

    found = charts.slippage(window("6h", at=AT))

    # In basis points: −20, −1, 0, 0.1, 1.5, 2, 100. The lower edge of a band belongs to it.
    assert found.counts == [1, 0, 0, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1]
    assert sum(found.counts) == 7


def test_only_the_newest_are_looked_at_and_it_says_since_when(bare):
    over = window("6h", at=AT)
    for number in range(6):
        order(bare, number, created=AT - timedelta(minutes=60 - number), sent_ms=1, filled_ms=1, slippage="0")

    late, slips = charts.latency(over, newest=4), charts.slippage(over, newest=4)

    assert sum(filter(None, late.orders)) == sum(slips.counts) == 4
    assert late.whole_since == AT - timedelta(minutes=58)
    assert slips.whole_since == AT - timedelta(minutes=58) + timedelta(milliseconds=2)


def test_each_chart_is_one_statement_or_two_however_much_there_is(bare):
    for minute in range(30):
        seen(bare, AT - timedelta(minutes=minute), "1")
    over = window("30d", at=AT)

    reads: list[tuple[Callable[[], object], int]] = [
        (lambda: charts.readings(bare, over), 1),
        (lambda: charts.exposure(bare), 1),
        (lambda: charts.latency(over), 2),
        (lambda: charts.slippage(over), 2),
    ]
    for read, most in reads:
        with CaptureQueriesContext(connection) as asked:
            read()
        assert len(asked) == most
