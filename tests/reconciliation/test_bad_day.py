"""A bad day at the broker, one thing after the other: the log, the books, the alerts and the stops are what they
should be, and running again changes nothing.
"""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.core.errors import Unreachable
from reconciliation.models import Cycle, ReconciliationLog, Review
from reconciliation.services import cycles, snapshots
from risk.models import AccountSight, TradingControl
from risk.states import ControlScope, StopLevel
from tests.fakes.paper import LOGIN, Paper
from tests.storm import proxies
from tests.trading.conftest import brief
from tests.trading.test_resolution import key
from trading.brokers import registry
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BookCorrection, BrokerPosition, CashMovement, Fill, TradeLedger, TradingAccount
from trading.services import closes, facts, resolution
from trading.states import FillKind, OrderType, TimeInForce

FOUND = ("entry", "key", "action", "risk_impact")


def found() -> list[tuple[str, ...]]:
    """Return what was logged beside clean runs, the oldest first."""
    rows = ReconciliationLog.objects.exclude(entry="RUN", status="CLEAN").order_by("pk")
    return list(rows.values_list(*FOUND))


def books() -> dict[str, Any]:
    """Return everything that a replay must not change."""
    return {
        "positions": list(BrokerPosition.objects.order_by("pk").values()),
        "fills": list(Fill.objects.order_by("pk").values()),
        "cash": list(CashMovement.objects.order_by("pk").values()),
        "corrections": list(BookCorrection.objects.order_by("pk").values()),
        "orders": list(TradeLedger.objects.order_by("pk").values("status", "delivery", "filled_quantity", "reserved")),
        "reviews": list(Review.objects.order_by("pk").values("key", "state", "version", "signature")),
        "stops": list(TradingControl.objects.order_by("pk").values()),
        "alerts": list(Alert.objects.order_by("pk").values("kind", "severity", "closed_at")),
    }


def stop_of(account: Any) -> StopLevel | None:
    """Return how far trading on the account is stopped, None when nobody ever did."""
    row = TradingControl.objects.filter(scope=ControlScope.ACCOUNT, key=str(account.pk)).first()
    return None if row is None else StopLevel(row.level)


def delay_history(paper: Paper) -> None:
    """Let deals show in the history an hour late, from now on."""
    broker = paper.control._broker
    broker.profile = replace(broker.profile, history_delay_ms=3_600_000)


@pytest.fixture
def replay(reconcile: Any) -> Any:
    """Reconcile twice more; nothing but the log of runs may change."""

    def again() -> None:
        before = books()
        for _ in range(2):
            reconcile()
        assert books() == before

    return again


def test_a_manual_trade_is_booked_counted_and_told(paper, account, reconcile, replay):
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")

    outcome = reconcile()

    assert (outcome.status, outcome.new_fills, outcome.discrepancy_usd) == ("CLEAN", 1, 0)
    fill = Fill.objects.get()
    assert (fill.kind, fill.order, fill.quantity) == (FillKind.ORDER, None, Decimal("0.5"))
    assert BrokerPosition.objects.get().quantity == Decimal("-0.5")
    assert [alert.kind for alert in Alert.objects.all()] == ["EXTERNAL_FILL"]
    assert found() == []
    assert stop_of(account) is None
    replay()


def test_a_stop_loss_while_we_were_down_closes_the_position(execute, paper, account, reconcile, replay):
    execute()
    paper.quote("EURUSD", "1.07990", "1.08000")

    outcome = reconcile()

    assert (outcome.status, outcome.new_fills) == ("CLEAN", 1)
    exit_fill = Fill.objects.get(order=None)
    assert (exit_fill.kind, exit_fill.profit) == (FillKind.STOP_LOSS, -51)
    assert BrokerPosition.objects.get().closed_at is not None
    assert not Alert.objects.exists()
    assert stop_of(account) is None
    replay()


@pytest.mark.parametrize(
    ("deal_type", "kind", "amount"),
    [
        (mt5.DEAL_TYPE_BALANCE, "TRANSFER", "2500"),
        (mt5.DEAL_TYPE_BALANCE, "TRANSFER", "-700"),
        (3, "CREDIT", "400"),
        (4, "CHARGE", "-12.5"),
        (6, "BONUS", "50"),
        (7, "COMMISSION", "-3.5"),
        (12, "INTEREST", "1.25"),
        (15, "DIVIDEND", "9.99"),
        (17, "TAX", "-0.01"),
        (5, "CORRECTION", "-77"),
    ],
)
def test_money_without_a_trade_is_booked_by_its_kind(deal_type, kind, amount, paper, account, reconcile, replay):
    paper.control.balance(LOGIN, amount, kind=deal_type)

    outcome = reconcile()

    assert (outcome.status, outcome.discrepancy_usd) == ("CLEAN", 0)
    booked = CashMovement.objects.order_by("-pk").values_list("kind", "amount")[0]
    assert booked == (kind, Decimal(amount))
    assert stop_of(account) is None
    replay()


def test_a_swap_is_realized_by_the_deal_that_closes(execute, paper, account, reconcile, replay, a_week_later):
    order = execute()
    a_week_later()
    assert reconcile().status == "CLEAN"
    held = Fill.objects.get(order=order)
    paper.control.manual_close(LOGIN, int(held.venue_position_id))

    outcome = reconcile()

    assert (outcome.status, outcome.new_fills) == ("CLEAN", 1)
    assert Fill.objects.get(order=None).swap != 0
    replay()


def test_a_position_that_vanished_stops_the_account_and_its_deal_explains_it(
    execute, paper, account, reconcile, replay, quiet, a_week_later
):
    order = execute()
    reconcile()
    position = Fill.objects.get(order=order).venue_position_id
    delay_history(paper)
    paper.control.manual_close(LOGIN, int(position))

    outcome = reconcile()

    # 0.1 lots at the ask of 1.08500 are 10,850 USD; the result of −1 USD is in the balance and in no deal that shows.
    assert (outcome.status, outcome.risk_impact) == ("DIFFERENT", "HIGH")
    assert outcome.discrepancy_usd == Decimal(10851)
    assert found() == [
        ("DIFFERENCE", position, "TRADING_STOPPED", "HIGH"),
        ("DIFFERENCE", "CASH", "TRADING_STOPPED", "LOW"),
        ("RUN", "", "TRADING_STOPPED", "HIGH"),
    ]
    logged = ReconciliationLog.objects.get(key=position)
    assert (logged.quantity_discrepancy, logged.our_quantity) == (Decimal("-0.1"), Decimal("0.1"))
    assert BrokerPosition.objects.get().quantity == Decimal("0.1")  # nothing is corrected above the band
    assert stop_of(account) == StopLevel.REDUCE_ONLY
    assert {alert.kind for alert in Alert.objects.filter(closed_at=None)} >= {"DISCREPANCY_STOPPED"}
    assert Review.objects.filter(state="OPEN").count() == 2
    replay()

    a_week_later()  # the deal shows at last
    outcome = reconcile()

    assert (outcome.status, outcome.new_fills, outcome.discrepancy_usd) == ("CLEAN", 1, 0)
    assert BrokerPosition.objects.get().quantity == 0
    assert not BookCorrection.objects.exclude(kind="OPENING").exists()
    assert not Review.objects.filter(state="OPEN").exists()
    assert {alert.kind for alert in Alert.objects.filter(closed_at=None)} == {"TRADING_STOPPED", "EXTERNAL_FILL"}
    assert stop_of(account) == StopLevel.REDUCE_ONLY  # nothing but a person releases it
    replay()


def test_an_order_whose_comment_and_answer_were_lost_is_found(execute, paper, account, reconcile, replay, settings):
    paper.control.inject("comment_drop", times=None)
    settings.BROKER_DEADLINE_S = 1
    with proxies.proxy(paper.url) as proxy:
        settings.MT5_GATEWAY_URL, proxy.fault = proxy.url, "closes after it passed on"
        order = execute()
        registry.close()
    assert order.delivery == "UNKNOWN"
    settings.MT5_GATEWAY_URL = paper.url

    assert reconcile().status == "CLEAN"

    order.refresh_from_db()
    assert (order.status, order.filled_quantity) == ("FILLED", Decimal("0.1"))
    assert found() == []
    replay()


def test_an_error_about_one_order_keeps_no_account_from_being_compared(execute, paper, account, reconcile, monkeypatch):
    """It would be stopped, and its books known to nobody, for as long as that one order is."""
    paper.control.inject("timeout_before_accept")
    order = execute()
    assert order.delivery == "UNKNOWN"

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(resolution, "_ask", fail)
        assert reconcile().status == "CLEAN"

    order.refresh_from_db()
    assert order.delivery == "UNKNOWN"


def test_searches_that_hang_leave_a_run_time_to_compare(execute, paper, account, reconcile, monkeypatch):
    for lots in ("0.01", "0.02", "0.03"):
        waiting = brief(
            order_type=OrderType.LIMIT, limit_price=Decimal("1.08000"), entry_price=None, quantity=Decimal(lots),
            time_in_force=TimeInForce.GTC, stop_loss=Decimal("1.07500"),
        )  # fmt: skip
        order = execute(waiting)
        assert order.delivery == "ACKED", order.reason
    monkeypatch.setattr(cycles, "ASK_S_MAX", 0)
    asked: list[int] = []
    monkeypatch.setattr(resolution, "resolve", lambda *, order_id, **_: asked.append(order_id))

    assert reconcile().status == "CLEAN"
    assert len(asked) == 1


def test_a_history_that_is_late_is_waited_for_while_the_position_is_new(
    paper, account, reconcile, replay, a_week_later
):
    delay_history(paper)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.1")

    outcomes = [reconcile() for _ in range(4)]

    assert [outcome.discrepancy_usd for outcome in outcomes] == [0, 0, 0, Decimal(10849)]
    assert [outcome.findings[0][1] for outcome in outcomes] == ["EXCLUDED"] * 3 + ["TRADING_STOPPED"]
    assert stop_of(account) == StopLevel.REDUCE_ONLY
    assert not BookCorrection.objects.exclude(kind="OPENING").exists()
    replay()

    a_week_later()  # the deal shows at last
    outcome = reconcile()
    assert (outcome.status, outcome.new_fills, BrokerPosition.objects.get().quantity) == ("CLEAN", 1, Decimal("0.1"))
    assert {alert.kind for alert in Alert.objects.filter(closed_at=None)} == {"TRADING_STOPPED", "EXTERNAL_FILL"}
    replay()


def test_an_answer_cut_short_changes_nothing_and_is_a_failure(execute, paper, account, reconcile, settings):
    execute()
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
    before, seen = books(), AccountSight.objects.get().seen_at
    registry.close()
    with proxies.proxy(paper.url) as proxy:
        proxy.path = "/v1/batch"
        settings.MT5_GATEWAY_URL = proxy.url
        for fault in ("stops in the middle of the answer", "answers an empty object", "answers 500"):
            proxy.fault = fault
            Cycle.objects.update(failures=0)

            outcome = reconcile()

            assert (outcome.status, outcome.risk_impact) == ("FAILED", "MEDIUM"), fault
        registry.close()

    after = books()
    assert [alert["kind"] for alert in after.pop("alerts")] == ["RECONCILIATION_FAILED"]
    assert after == {name: held for name, held in before.items() if name != "alerts"}
    assert AccountSight.objects.get().seen_at == seen


@pytest.mark.parametrize("function", ["account_info", "positions_get", "orders_get", "history_deals_get"])
def test_a_call_that_fails_is_no_empty_answer(function, execute, paper, account, reconcile):
    execute()
    before = books()
    paper.control.inject("none_result", function=function, times=None)

    outcome = reconcile()

    assert outcome.status == "FAILED"
    after = books()
    assert [alert["kind"] for alert in after.pop("alerts")] == ["RECONCILIATION_FAILED"]
    assert after == {name: held for name, held in before.items() if name != "alerts"}


def test_an_empty_list_beside_margin_in_use_is_no_answer(execute, paper, account, reconcile, quiet, monkeypatch):
    execute()
    reconcile()
    before = books()
    terminal = paper.desk._hands.module
    monkeypatch.setattr(terminal, "positions_get", lambda *_, **__: ())

    outcomes = [reconcile() for _ in range(2)]

    assert {(each.status, each.detail) for each in outcomes} == {("FAILED", facts.HIDES)}
    after = books()
    assert [alert["kind"] for alert in after.pop("alerts")] == ["RECONCILIATION_FAILED"]
    assert after == {name: held for name, held in before.items() if name != "alerts"}
    monkeypatch.undo()
    assert reconcile().status == "CLEAN"


def test_the_third_failure_in_a_row_stops_the_account_and_a_success_clears_the_count(
    paper, account, reconcile, settings, new_events
):
    url, settings.MT5_GATEWAY_URL = settings.MT5_GATEWAY_URL, "http://127.0.0.1:1"

    stops = []
    for _ in range(4):
        assert reconcile().status == "FAILED"
        stops.append(stop_of(account))
    settings.MT5_GATEWAY_URL = url
    assert reconcile().status == "CLEAN"

    assert stops == [None, None, StopLevel.REDUCE_ONLY, StopLevel.REDUCE_ONLY]
    assert stop_of(account) == StopLevel.REDUCE_ONLY  # nothing but a person releases it
    assert found() == [
        ("RUN", "", "NONE", "MEDIUM"),
        ("RUN", "", "NONE", "MEDIUM"),
        ("RUN", "", "TRADING_STOPPED", "HIGH"),
        ("RUN", "", "TRADING_STOPPED", "HIGH"),
    ]
    assert [event.action for event in new_events()].count("control.level_set") == 1
    kinds = {alert.kind: alert.closed_at is None for alert in Alert.objects.all()}
    assert kinds == {"RECONCILIATION_FAILED": False, "RECONCILIATION_STOPPED": False, "TRADING_STOPPED": True}
    assert Cycle.objects.get().failures == 0


def test_a_failure_that_is_not_the_third_in_a_row_stops_nothing(account, reconcile, settings):
    url = settings.MT5_GATEWAY_URL
    for _ in range(3):
        for address in ("http://127.0.0.1:1", "http://127.0.0.1:1", url):
            settings.MT5_GATEWAY_URL = address
            reconcile()

    assert stop_of(account) is None


@pytest.mark.broker(netting=True)
def test_a_flip_on_a_netting_account_is_one_position_that_turned(execute, paper, account, reconcile, replay):
    execute()
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.3", sl="1.09")

    outcome = reconcile()

    assert (outcome.status, outcome.new_fills, outcome.discrepancy_usd) == ("CLEAN", 1, 0)
    position = BrokerPosition.objects.get(closed_at=None)
    assert (position.quantity, position.price_open) == (Decimal("-0.2"), Decimal("1.0849"))
    assert stop_of(account) is None
    replay()


@pytest.mark.broker(netting=True)
def test_a_trade_that_is_told_after_a_later_one_makes_the_average_that_the_broker_shows(
    execute, paper, account, reconcile, settings, replay
):
    """Somebody adds to the position, and a part of it is closed here before that was heard of."""
    settings.MAX_POSITION_SIZE = Decimal(10**6)
    execute(brief(quantity=Decimal("0.5"), take_profit=None))
    paper.quote("EURUSD", "1.09490", "1.09500")
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "1.0", sl="1.08")
    closing = closes.close(
        user=account.user, position=BrokerPosition.objects.get(), quantity=Decimal("0.4"),
        key=key(BrokerPosition.objects.get()), at=now(),
    ).order  # fmt: skip
    assert closing.status == "FILLED"

    outcome = reconcile()

    assert (outcome.status, outcome.discrepancy_usd) == ("CLEAN", 0)
    assert BrokerPosition.objects.get().price_open == Decimal("1.0916666667")  # (1.085 + 2 · 1.095) / 3
    replay()


def test_an_account_that_moves_all_the_time_is_not_judged(paper, account, reconcile, monkeypatch):
    real = snapshots._face
    monkeypatch.setattr(
        snapshots,
        "_face",
        lambda snapshot: (paper.control.balance(LOGIN, "1"), real(snapshot)),
    )

    outcome = reconcile()

    assert outcome.status == "FAILED"
    assert outcome.detail == "The account was read 3 times, and moved each time."
    assert CashMovement.objects.count() == 1  # the first deposit of all; nothing of what was read is booked


def test_only_one_run_of_an_account_at_a_time(account, reconcile, monkeypatch):
    inner = []
    real = cycles._run

    def run(begun: Any) -> Any:
        inner.append(_elsewhere(lambda: cycles.run(account_id=account.pk, trigger=begun.trigger, at=now())))
        return real(begun)

    monkeypatch.setattr(cycles, "_run", run)

    assert reconcile().status == "CLEAN"
    assert [outcome.status for outcome in inner] == ["BUSY"]
    assert _elsewhere(reconcile).status == "CLEAN"  # and the lock is let go


def _elsewhere(act: Any) -> Any:
    """Do something in another thread, over a connection of its own."""
    from tests.threads import together  # noqa: PLC0415

    return together(1, lambda _: act())[0]


def test_the_whole_history_is_read_once_a_day_and_left_for_an_hour_when_it_cannot_be(
    paper, account, reconcile, monkeypatch
):
    TradingAccount.objects.update(created_at=now() - timedelta(days=9))
    asked: list[int] = []
    real = snapshots.read

    def read(of: Any, *, since: Any) -> Any:
        asked.append(now() - since > timedelta(days=8))
        if asked[-1]:
            raise Unreachable("The answer is too long.")
        return real(of, since=since)

    monkeypatch.setattr(snapshots, "read", read)
    day = timedelta(days=1)

    statuses = [reconcile(later=later).status for later in (day / 2, day, day, day + timedelta(hours=1))]

    assert statuses == ["CLEAN"] * 4
    assert asked == [False, True, False, False, True, False]


def test_a_deal_that_shows_between_the_readings_is_read_with_the_rest(paper, account, reconcile, monkeypatch):
    """The position is there, its deal is not, and then it is: one reading holds both, or it is no reading."""
    real, asked = Mt5Broker.fills_since, []

    def fills_since(self: Any, at: Any) -> Any:
        asked.append(at)
        return real(self, at) if len(asked) > 1 else ()

    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
    monkeypatch.setattr(Mt5Broker, "fills_since", fills_since)

    outcome = reconcile()

    assert (outcome.status, outcome.new_fills, len(asked)) == ("CLEAN", 1, 4)


def test_a_failing_reconciliation_stops_as_far_as_its_setting_says(account, reconcile, settings):
    settings.STOP_ON = settings.STOP_ON | {"RECONCILIATION": "HALTED"}
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"

    for _ in range(settings.MAX_CONSECUTIVE_FAILURES):
        reconcile()

    assert stop_of(account) == StopLevel.HALTED
