"""An order is not proven absent while the broker holds something else of its instrument than our books say."""

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.audit.models import Event
from nexus.audit.types import Actor
from nexus.core.errors import OutcomeUnknown
from tests.fakes import paper as paper_broker
from tests.fakes.paper import LOGIN, Paper
from tests.trading.conftest import brief
from tests.trading.test_resolution import key
from trading.brokers import registry
from trading.brokers.mt5 import session
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.brokers.mt5.gateway.journal import Journal
from trading.models import AccountFigures, BrokerPosition, TradeLedger, TradingAccount
from trading.services import accounts, closes, orders, resolution, watch
from trading.states import Delivery, OrderStatus, OrderType, TimeInForce, VenueState
from trading.types import AccountSnapshot, OrderReport


@pytest.fixture(params=[False, True], ids=["hedging", "netting"])
def paper(floor: None, tmp_path: Path, settings: Any, monkeypatch: Any, request: Any) -> Iterator[Paper]:
    """A paper broker that quotes EURUSD at 1.08490 / 1.08500."""
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0)
    with paper_broker.paper(tmp_path, netting=request.param) as running:
        settings.MT5_GATEWAY_URL = running.url
        running.quote("EURUSD", "1.08490", "1.08500")
        yield running
        registry.close()


def search(order: TradeLedger) -> TradeLedger:
    """Ask several times, each half a minute after the other, for longer than a proof takes."""
    step = timedelta(seconds=25)
    for _ in range(10):
        TradeLedger.objects.filter(pk=order.pk).update(
            sent_at=F("sent_at") - step, absent_since=F("absent_since") - step, absent_at=F("absent_at") - step
        )
        resolution.resolve(order_id=order.pk, at=now())
    order.refresh_from_db()
    return order


@pytest.fixture
def late(monkeypatch) -> Any:
    """The broker lists what it listed before, and nothing yet of what came since."""

    def no_trace(_self: object, *, client_order_id: str, **_what: object) -> OrderReport:
        return OrderReport(client_order_id, VenueState.NO_TRACE)

    with monkeypatch.context() as patched:
        patched.setattr(Mt5Broker, "order_report", no_trace)
        yield patched


def test_what_filled_and_is_listed_late_is_not_proven_absent(execute, paper, late):
    execute(brief(quantity=Decimal("0.02")))
    paper.control.inject("timeout_after_accept")
    order = execute(brief(quantity=Decimal("0.01")))

    assert (search(order).delivery, order.reserved) == (Delivery.UNKNOWN, order.risk)
    late.undo()
    resolution.resolve(order_id=order.pk, at=now())

    order.refresh_from_db()
    assert (order.status, order.filled_quantity, order.late_fill) == (OrderStatus.FILLED, Decimal("0.01"), False)


def test_what_filled_and_an_empty_list_hides_is_not_proven_absent(execute, paper, late):
    """The first order of an account, whose terminal lists nothing at all, and shows the margin of its position."""
    paper.control.inject("timeout_after_accept")
    order = execute(brief(quantity=Decimal("0.01")))
    late.setattr(paper.desk._hands.module, "positions_get", lambda *_, **__: ())

    assert (search(order).delivery, order.reserved) == (Delivery.UNKNOWN, order.risk)
    late.undo()
    resolution.resolve(order_id=order.pk, at=now())

    order.refresh_from_db()
    assert (order.status, order.late_fill) == (OrderStatus.FILLED, False)


def test_a_gateway_by_which_the_account_was_not_reached_swears_to_nothing(execute, paper, account, tmp_path):
    """The account was moved after the order was sent: the new gateway's journal is old, and has never heard of it."""
    paper.control.inject("timeout_after_accept")
    order = execute(brief(**RESTING))
    (tmp_path / "other").mkdir()
    with paper_broker.paper(tmp_path / "other") as other:
        other.quote("EURUSD", "1.08490", "1.08500")
        other.journal.created_at -= 3600
        move(account, other.url)

        found = resolution.resolve(order_id=order.pk, at=now())

        assert (found.delivery, found.reserved) == (Delivery.UNKNOWN, found.risk)
    move(account, "")
    assert resolution.resolve(order_id=order.pk, at=now()).delivery == Delivery.ACKED


def look(account: TradingAccount, paper: Paper) -> None:
    """Look at the account, as the watch does, and let the journal's time go on."""
    watch.look(account_id=account.pk, at=now())
    paper.journal.beat()


@pytest.mark.parametrize("is_seen", [True, False], ids=["the watch sees it first", "the resolver sees it first"])
def test_another_gateway_at_the_address_of_the_settings_swears_to_nothing(
    execute, paper, account, settings, tmp_path, is_seen
):
    """Nobody has moved the account: the address is another, or another machine has taken it over."""
    look(account, paper)
    paper.control.inject("timeout_after_accept")
    order = execute(brief(**RESTING))
    (tmp_path / "other").mkdir()
    with paper_broker.paper(tmp_path / "other") as other:
        other.quote("EURUSD", "1.08490", "1.08500")
        other.journal.created_at -= 3600
        settings.MT5_GATEWAY_URL = other.url
        for _ in range(2):
            if is_seen:
                look(account, other)
            found = resolution.resolve(order_id=order.pk, at=now())
            assert (found.delivery, found.reserved) == (Delivery.UNKNOWN, found.risk)
    settings.MT5_GATEWAY_URL = paper.url

    assert resolution.resolve(order_id=order.pk, at=now()).delivery == Delivery.ACKED
    alert = Alert.objects.get(kind="JOURNAL_CHANGED")
    assert (alert.object_id, alert.severity) == (str(account.public_id), "WARNING")
    assert Event.objects.filter(action="trading.journal_changed").exists()


@pytest.mark.parametrize("is_seen", [True, False], ids=["the watch sees it first", "the resolver sees it first"])
def test_an_older_copy_of_a_journal_swears_to_nothing(execute, paper, account, tmp_path, is_seen):
    """A backup was put back: it is as old as the journal that it was made of, and knows nothing of what came since."""
    paper.journal.created_at -= 3600
    look(account, paper)
    copy(tmp_path, to="backup.db")
    paper.journal.beat()
    look(account, paper)
    paper.control.inject("timeout_after_accept")
    order = execute(brief(**RESTING))
    put_back(paper, tmp_path / "backup.db")
    paper.journal.beat()
    if is_seen:
        look(account, paper)

    found = resolution.resolve(order_id=order.pk, at=now())

    assert found.delivery in (Delivery.UNKNOWN, Delivery.ACKED)  # the broker shows it
    assert found.reserved == found.risk
    assert resolution.resolve(order_id=order.pk, at=now()).delivery == Delivery.ACKED
    assert Alert.objects.filter(kind="JOURNAL_CHANGED").exists()


def test_a_gateway_that_was_started_again_with_its_journal_is_believed(execute, paper, account, tmp_path, monkeypatch):
    paper.journal.created_at -= 3600
    look(account, paper)
    look(account, paper)

    def lose(*_: object) -> None:
        raise OutcomeUnknown("it never left us")

    monkeypatch.setattr(Mt5Broker, "submit", lose)
    order = execute()
    put_back(paper, tmp_path / "journal.db")

    assert resolution.resolve(order_id=order.pk, at=now()).delivery == Delivery.DONE
    look(account, paper)
    assert not Alert.objects.filter(kind="JOURNAL_CHANGED").exists()


def test_a_look_that_was_overtaken_by_another_one_has_seen_no_older_journal(paper, account, monkeypatch):
    """Beside the watch a sweep looks, too: the slower one comes with what it saw first."""
    paper.journal.created_at -= 3600
    look(account, paper)
    whole = Mt5Broker.snapshot

    def overtaken(self: Mt5Broker, **words: Any) -> AccountSnapshot:
        monkeypatch.setattr(Mt5Broker, "snapshot", whole)
        seen = whole(self, **words)
        paper.journal.beat()
        look(account, paper)
        return seen

    monkeypatch.setattr(Mt5Broker, "snapshot", overtaken)
    watch.look(account_id=account.pk, at=now())

    assert not Alert.objects.filter(kind="JOURNAL_CHANGED").exists()


def test_a_look_that_is_on_its_way_while_its_account_is_moved_tells_of_no_journal(
    execute, paper, account, tmp_path, monkeypatch
):
    """It comes back from the old gateway, and what that remembers is nothing that the new one has to."""
    look(account, paper)
    whole = Mt5Broker.snapshot
    (tmp_path / "other").mkdir()
    with paper_broker.paper(tmp_path / "other") as other:
        other.quote("EURUSD", "1.08490", "1.08500")

        def moved(self: Mt5Broker, **words: Any) -> AccountSnapshot:
            monkeypatch.setattr(Mt5Broker, "snapshot", whole)
            seen = whole(self, **words)
            accounts.link(
                user_id=account.user_id, name="Paper", venue="mt5", venue_account=account.venue_account,
                server=account.server, is_live=False, actor=Actor.system("tests"), at=now(), gateway_url=other.url,
            )  # fmt: skip
            return seen

        monkeypatch.setattr(Mt5Broker, "snapshot", moved)
        watch.look(account_id=account.pk, at=now())
        moved_at = TradingAccount.objects.get().moved_at
        for _ in range(2):
            look(account, other)

        assert not Alert.objects.filter(kind="JOURNAL_CHANGED").exists()
        assert TradingAccount.objects.get().moved_at == moved_at
        assert AccountFigures.objects.get().journal_run  # the new one's, from the next look on


def copy(folder: Path, *, to: str) -> None:
    """Back the journal up while its gateway runs."""
    with sqlite3.connect(folder / "journal.db") as source, sqlite3.connect(folder / to) as copied:
        source.backup(copied)


def put_back(paper: Paper, path: Path) -> None:
    """Let the gateway begin anew on this file."""
    created_at = paper.journal.created_at
    paper.journal.__dict__.update(Journal(path).__dict__)
    paper.journal.created_at = created_at


@pytest.mark.parametrize(("moved_s", "delivery"), [(-61, Delivery.DONE), (-59, Delivery.UNKNOWN)])
def test_what_was_sent_well_after_the_move_is_sworn_to(execute, paper, monkeypatch, moved_s, delivery):
    paper.journal.created_at -= 3600

    def lose(*_: object) -> None:
        raise OutcomeUnknown("it never left us")

    monkeypatch.setattr(Mt5Broker, "submit", lose)
    order = execute()
    TradingAccount.objects.update(moved_at=order.sent_at + timedelta(seconds=moved_s))

    assert resolution.resolve(order_id=order.pk, at=now()).delivery == delivery


@pytest.mark.parametrize("changes", [{}, {"resting": True}], ids=["market", "resting"])
def test_who_is_held_up_for_too_long_sends_nothing_by_a_gateway_that_nobody_may_have_asked(
    execute, paper, monkeypatch, changes
):
    """Its process froze while the account was moved: the other journal has sworn, or a search has proven."""
    monkeypatch.setattr(orders, "SEND_WITHIN_S", 0.0)

    order = execute(brief(**RESTING) if changes else brief())

    assert (order.status, order.rejected_by, order.reason) == ("REJECTED", "LOCAL", "BROKER_UNREACHABLE")
    assert (order.reserved, paper.deals(), paper.truth()["working"]) == (0, [], [])


def move(account: TradingAccount, url: str) -> None:
    accounts.link(
        user_id=account.user_id, name=account.name, venue=account.venue, venue_account=account.venue_account,
        server=account.server, is_live=False, gateway_url=url, actor=Actor.system("tests"), at=now(),
    )  # fmt: skip


def test_a_close_that_is_listed_late_is_not_proven_absent(execute, paper, late):
    execute(brief(quantity=Decimal("0.02")))
    held = BrokerPosition.objects.get()
    paper.control.inject("timeout_after_accept")
    order = closes.close(user=held.account.user, position=held, quantity=None, key=key(held), at=now()).order

    assert search(order).delivery == Delivery.UNKNOWN
    late.undo()
    resolution.resolve(order_id=order.pk, at=now())

    order.refresh_from_db()
    assert order.status == OrderStatus.FILLED


def test_what_moved_on_another_instrument_holds_nothing_up(execute, paper, late):
    execute(brief(quantity=Decimal("0.02")))
    paper.control.inject("timeout_before_accept")
    order = execute(brief(quantity=Decimal("0.01")))
    paper.quote("USDJPY", "150.000", "150.010")
    paper.control.manual_trade(LOGIN, "USDJPY", mt5.ORDER_TYPE_BUY, "0.1")

    assert search(order).reason == "NOT_AT_BROKER"


RESTING = {
    "order_type": OrderType.LIMIT, "limit_price": Decimal("1.08400"), "entry_price": None,
    "time_in_force": TimeInForce.GTC, "quantity": Decimal("0.01"), "stop_loss": Decimal("1.07900"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("volume", "side", "outcome"),
    [
        ("0.01", mt5.ORDER_TYPE_BUY_LIMIT, Delivery.UNKNOWN),
        ("0.02", mt5.ORDER_TYPE_BUY_LIMIT, Delivery.DONE),
        ("0.01", mt5.ORDER_TYPE_BUY_STOP, Delivery.UNKNOWN),
        ("0.01", mt5.ORDER_TYPE_SELL_STOP, Delivery.DONE),
    ],
)
def test_one_that_rests_like_it_and_without_a_name_may_be_it(execute, paper, account, volume, side, outcome):
    """It lost its mark on the way: nothing has filled, and nothing is held that our books do not know."""
    paper.control.inject("timeout_before_accept")
    order = execute(brief(**RESTING))
    assert order.delivery == Delivery.UNKNOWN
    price = "1.09000" if side == mt5.ORDER_TYPE_BUY_STOP else "1.08400"
    paper.control.manual_order(LOGIN, "EURUSD", side, volume, price)
    paper.quote("EURUSD", "1.08490", "1.08500")

    found = search(order)

    assert (found.delivery, found.reserved > 0) == (outcome, outcome is Delivery.UNKNOWN)
