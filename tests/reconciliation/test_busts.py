"""A broker takes deals back (move 15), said to `manage.py paper`: books, orders, limits and money are as if they had
never been, people are told, and hearing of it again, in any order, changes nothing.
"""

from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.core.errors import Unreachable
from reconciliation.services import cycles, snapshots
from risk.services import stats
from risk.states import StopLevel
from tests.client import ApiClient
from tests.reconciliation.test_bad_day import books, found, replay, stop_of
from tests.reconciliation.test_rehearsal import is_clean, say, told
from tests.trading.conftest import brief
from trading.models import BookCorrection, BrokerPosition, CashMovement, Fill, OrderEvent, TradeLedger
from trading.services import accounts, busts, facts, fills, usage, watch
from trading.states import Delivery, FillKind, OrderStatus, Side
from trading.types import OrderIntent

__all__ = ["replay", "say"]
D = Decimal
KINDS = [
    pytest.param(False, marks=pytest.mark.broker(commission="7"), id="hedging"),
    pytest.param(True, marks=pytest.mark.broker(commission="7", netting=True), id="netting"),
]
TOLD = {"FILL_TAKEN_BACK": True}


def deal_of(order: TradeLedger) -> str:
    return Fill.objects.get(order=order, kind=FillKind.ORDER).venue_fill_id


def held() -> list[tuple[Decimal, Decimal]]:
    """Return what is open by our books."""
    rows = BrokerPosition.objects.filter(closed_at=None).order_by("pk")
    return [(row.quantity, row.price_open) for row in rows]


def cash() -> list[tuple[str, Decimal]]:
    """Return the movements of money beside the first deposit."""
    return list(CashMovement.objects.order_by("pk").values_list("kind", "amount"))[1:]


def starts(account: Any) -> Decimal:
    """Return what the day's loss is measured from."""
    return stats.equity_at_start(account_ids=[account.pk], trading_date=now().date())[account.pk]


def is_undone(order: TradeLedger) -> bool:
    """Tell whether an order has ended without a trace of a trade."""
    order.refresh_from_db()
    state = (order.status, order.delivery, order.filled_quantity, order.average_price, order.reserved)
    return state == (OrderStatus.CANCELED, Delivery.DONE, 0, None, 0) and not order.late_fill


def closing(order: TradeLedger, quantity: str) -> OrderIntent:
    position = Fill.objects.get(order=order).venue_position_id
    return OrderIntent("EURUSD", Side.SELL, D(quantity), venue_position_id=position)


@pytest.mark.parametrize("netting", KINDS)
def test_an_opening_that_is_taken_back_is_as_if_it_had_never_been(netting, say, execute, account, reconcile, replay):
    order = execute()
    assert is_clean(reconcile())

    say(f"bust {deal_of(order)}")

    assert is_clean(reconcile(), fills=1)
    assert is_undone(order)
    assert OrderEvent.objects.filter(order=order).latest("pk").reason == "FILL_TAKEN_BACK"
    assert held() == []
    assert [(each.commission, each.profit) for each in Fill.objects.order_by("pk")] == [(D("-0.7"), 0), (0, 0)]
    assert cash() == []  # its commission was paid once, and by the deal
    assert (told(), found(), stop_of(account)) == (TOLD, [], None)
    counted = usage.count(
        user_id=account.user_id, account_id=account.pk, account_ids=[account.pk], intent=None, at=now()
    )
    assert (counted.undone_quantity, counted.undone_value) == (order.quantity, order.value)
    replay()
    assert execute(brief(quantity=D("0.02"))).status == "FILLED"


@pytest.mark.parametrize("quantity", ["0.04", "0.1"])
@pytest.mark.parametrize("netting", KINDS)
def test_a_closing_that_is_taken_back_leaves_the_position_as_it_was_and_its_result_goes_back(
    netting, quantity, say, execute, paper, account, reconcile, replay
):
    paper.quote("EURUSD", "1.08490", "1.08500")
    order = execute()
    paper.quote("EURUSD", "1.08690", "1.08700")
    close = execute(closing(order, quantity))
    assert is_clean(reconcile())

    assert "paid back" in say(f"bust {deal_of(close)}")

    assert is_clean(reconcile(), fills=1)
    assert is_undone(close)
    assert held() == [(D("0.1"), D("1.085"))]
    assert cash() == [("TRANSFER", -190 * D(quantity))]  # 1.0869 - 1.0850, of 100,000 a lot
    order.refresh_from_db()
    assert (order.status, told(), found()) == ("FILLED", TOLD, [])
    assert starts(account) == 100_000  # a profit that was taken back is no withdrawal
    replay()


def test_a_loss_that_is_given_back_frees_nothing_of_the_day_s_limit(say, execute, paper, account, reconcile, replay):
    order = execute()
    paper.quote("EURUSD", "1.08290", "1.08300")
    close = execute(closing(order, "0.1"))
    assert is_clean(reconcile())

    say(f"bust {deal_of(close)}")

    assert is_clean(reconcile(), fills=1)
    assert cash() == [("TRANSFER", D(21))]
    assert starts(account) == 100_021
    replay()


@pytest.mark.broker(netting=True)
@pytest.mark.parametrize(("gone", "left"), [(0, "1.08700"), (1, "1.08500")])
def test_a_netted_position_has_the_average_of_what_stands(gone, left, say, execute, paper, account, reconcile, replay):
    size = D("0.04")
    orders = [execute(brief(quantity=size))]
    paper.quote("EURUSD", "1.08690", "1.08700")
    orders.append(execute(brief(quantity=size, entry_price=None, stop_loss=D("1.07"))))
    assert is_clean(reconcile())
    assert held() == [(2 * size, D("1.086"))]

    say(f"bust {deal_of(orders[gone])}")

    assert is_clean(reconcile(), fills=1)
    assert held() == [(size, D(left))]
    replay()


@pytest.mark.broker(netting=True)
def test_a_flip_that_is_taken_back(say, execute, account, reconcile, replay):
    execute()
    say("trade sell EURUSD 0.3 --stop 1.09")
    assert is_clean(reconcile(), fills=1)

    say(f"bust {Fill.objects.get(order=None).venue_fill_id}")

    assert is_clean(reconcile(), fills=1)
    assert held() == [(D("0.1"), D("1.085"))]
    replay()


def test_a_stop_loss_that_is_taken_back_and_somebody_else_s_trade(say, execute, paper, account, reconcile, replay):
    execute()
    paper.quote("EURUSD", "1.07990", "1.08000")
    say("trade sell EURUSD 0.5 --stop 1.09")
    assert is_clean(reconcile(), fills=2)
    stopped, other = Fill.objects.filter(order=None).order_by("pk")
    assert (stopped.kind, held()) == (FillKind.STOP_LOSS, [(D("-0.5"), D("1.0799"))])

    say(f"bust {stopped.venue_fill_id}")
    say(f"bust {other.venue_fill_id}")

    assert is_clean(reconcile(), fills=2)
    assert held() == [(D("0.1"), D("1.085"))]
    assert cash() == [("TRANSFER", -stopped.profit)]
    assert Alert.objects.filter(kind="FILL_TAKEN_BACK").count() == 2
    replay()


@pytest.mark.parametrize("netting", KINDS)
def test_what_is_taken_back_before_we_have_booked_it_makes_nothing(
    netting, say, execute, paper, account, reconcile, replay
):
    paper.quote("USDJPY", "149.990", "150.000")
    paper.control.inject("timeout_after_accept")
    order = execute()
    assert order.delivery == Delivery.UNKNOWN
    say("trade sell USDJPY 0.2 --stop 155")
    for deal in paper.deals():
        say(f"bust {deal['ticket']}")

    outcome = reconcile()

    assert (outcome.status, outcome.discrepancy_usd) == ("CLEAN", 0)
    assert is_undone(order)
    assert held() == []
    assert Fill.objects.filter(kind=FillKind.BUST).count() == Fill.objects.count() / 2
    assert (cash(), "LATE_FILL" in told(), told()["FILL_TAKEN_BACK"]) == ([], False, True)
    replay()


def test_the_trader_sees_what_was_taken_back(say, execute, trader, account, reconcile):
    order = execute()
    deal = deal_of(order)
    say(f"bust {deal}")
    reconcile()

    shown = ApiClient().login(trader).get(f"/trading/ledger/{order.public_id}").json()

    assert (shown["status"], shown["filled_quantity"]) == ("CANCELED", "0")
    assert [(each["id"], each["reverses"]) for each in shown["fills"]] == [(deal, ""), (f"{deal}~canceled", deal)]


def test_an_older_reading_books_no_live_fill_afterwards(say, execute, paper, account, reconcile, replay):
    begins = now() - timedelta(hours=1)
    paper.control.inject("timeout_after_accept")
    execute()
    say("trade sell EURUSD 0.5 --stop 1.09")
    older = accounts.broker_of(account).fills_since(begins)
    assert [fill.kind for fill in older] == [FillKind.ORDER] * 2
    for fill in older:
        say(f"bust {fill.venue_fill_id}")
    reconcile()
    before = books()
    newer = accounts.broker_of(account).fills_since(begins)
    assert len(newer) == 4

    for reports in (older, newer[::-1], newer[2:], older):
        assert fills.ingest(account=account, reports=reports, at=now()) == 0

    assert books() == before
    replay()


def test_a_crash_between_the_fill_and_its_reversal_leaves_neither(
    say, execute, account, reconcile, replay, monkeypatch
):
    order = execute()
    say("trade sell EURUSD 0.5 --stop 1.09")
    say(f"bust {deal_of(order)}")
    before = books()
    with monkeypatch.context() as patch:
        patch.setattr(busts, "_averaged", lambda *_: (_ for _ in ()).throw(RuntimeError("dead")))
        assert reconcile().status == "FAILED"
    after = books()
    before.pop("alerts"), after.pop("alerts")
    assert after == before

    assert is_clean(reconcile(), fills=2)
    assert is_undone(order)
    replay()


def test_the_watch_sees_it_with_its_next_look(say, execute, account, reconcile):
    order = execute()
    for _ in range(2):
        watch.look(account_id=account.pk, at=now())  # from now on it reads what is new alone

    say(f"bust {deal_of(order)}")

    assert [watch.look(account_id=account.pk, at=now()) for _ in range(2)] == [1, 0]
    assert is_undone(order)
    assert told() == TOLD


@pytest.fixture
def old(execute: Any, reconcile: Any, monkeypatch: Any) -> TradeLedger:
    """An order whose deal, like all before it, is older than what a run reads again, and was booked minutes ago."""
    order: TradeLedger = execute(brief(quantity=D("0.01")))
    assert is_clean(reconcile())
    clock = facts.database_clock
    later = SimpleNamespace(HIDES=facts.HIDES, database_clock=lambda: clock() + timedelta(minutes=2))
    monkeypatch.setattr(snapshots, "facts", later)
    monkeypatch.setattr(cycles, "OVERLAP", timedelta(hours=-2))
    return order


def test_a_deal_older_than_a_run_reads_is_looked_for_before_anything_is_corrected(
    say, old, account, reconcile, settings
):
    settings.RECONCILIATION_STOP_ABOVE, settings.RECONCILIATION_REVIEW_FROM = D(5000), D(4000)
    say(f"bust {deal_of(old)}")

    assert is_clean(reconcile(), fills=1)
    for _ in range(2):  # our books are moved to the broker's when two runs find the same
        assert is_clean(reconcile())

    assert is_undone(old)
    assert (told(), found(), stop_of(account)) == (TOLD, [], None)
    assert not BookCorrection.objects.exclude(kind="OPENING").exists()


def test_what_differs_by_too_much_stops_first_and_is_looked_for_then(say, old, account, reconcile):
    say(f"bust {deal_of(old)}")

    assert is_clean(reconcile(), fills=1)

    assert is_undone(old)
    assert stop_of(account) == StopLevel.REDUCE_ONLY
    assert told()["FILL_TAKEN_BACK"]


def test_a_history_that_cannot_be_read_whole_leaves_a_difference_that_people_are_told(
    say, old, account, reconcile, monkeypatch
):
    real, begins, whole = snapshots.read, watch.begins_at(account), []

    def read(account: Any, *, since: Any) -> Any:
        whole.append(since == begins)
        if since == begins:
            raise Unreachable("too long")
        return real(account, since=since)

    monkeypatch.setattr(snapshots, "read", read)
    say(f"bust {deal_of(old)}")

    outcomes = [reconcile() for _ in range(2)]

    assert [outcome.status for outcome in outcomes] == ["DIFFERENT", "DIFFERENT"]
    assert whole == [False, True, False]  # asked for once, and not with each run
    assert told() == dict.fromkeys(("TRADING_STOPPED", "DISCREPANCY_STOPPED", "FLEET_DISCREPANCY"), True)
    monkeypatch.undo()
    assert is_clean(reconcile(later=timedelta(hours=25)), fills=1)  # the whole is read once a day
    assert is_undone(old)
