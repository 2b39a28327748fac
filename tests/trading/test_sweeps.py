"""The sweep of a stop ends flat, by the broker's own view, whatever is in its way; and never says so without proof."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.utils.timezone import now

from accounts.models import User
from nexus.alerts.models import Alert
from risk.states import ControlScope, StopLevel, Sweep
from tests import stops
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.fakes import paper as paper_broker
from tests.fakes.paper import LOGIN
from tests.threads import together
from tests.trading.conftest import brief
from tests.trading.test_emergency import stop
from tests.trading.test_resting_orders import LIMIT, MARKET, place
from trading.brokers.mt5 import adapter
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BrokerPosition, Fill, SweepRun, TradableInstrument, TradeLedger, TradingAccount
from trading.services import accounts, cancels, facts, orders, resolution, sweepers, sweeping, sweeps, watch
from trading.states import Delivery, OrderStatus, SweepState


@pytest.fixture
def client(trader) -> ApiClient:
    return ApiClient().login(trader)


@pytest.fixture
def busy(client, paper, account, settings) -> Any:
    """An account with two positions and two working orders, one of each not ours."""
    settings.MAX_POSITION_SIZE = Decimal(10**9)
    settings.DAILY_LOSS_LIMIT = Decimal(10**6)
    place(client, MARKET)
    place(client, LIMIT)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
    paper.control.manual_order(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY_LIMIT, "0.2", "1.05")
    assert books(paper) == (2, 2)
    return account


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


def test_flatten_cancels_and_closes_everything_and_proves_it(busy, paper, new_events):
    flatten()

    swept = sweep_now()

    assert (swept.state, books(paper)) == (SweepState.PROVEN, (0, 0))
    assert (swept.proof["orders"], swept.proof["positions"], swept.left) == (0, 0, {})
    assert not TradeLedger.objects.open().exists()
    closing = TradeLedger.objects.exclude(venue_position_id="")
    assert {order.status for order in closing} == {OrderStatus.FILLED}
    told = [event.action for event in new_events() if event.action.startswith("sweep.")]
    assert told[0] == "sweep.started"
    assert told[-1] == "sweep.proven"
    assert {"sweep.cancel_sent", "sweep.cancel_answered", "sweep.round"} <= set(told)
    assert {event.actor_id for event in new_events() if event.action == "order.admitted"} >= {"sweep"}


def test_cancel_leaves_positions_alone(busy, paper):
    stop(sweep=Sweep.CANCEL)

    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 2)


def test_a_stop_of_an_instrument_sweeps_only_that(busy, paper):
    paper.quote("USDJPY", "150.000", "150.010")
    paper.control.manual_trade(LOGIN, "USDJPY", mt5.ORDER_TYPE_BUY, "0.1", sl="149")

    flatten(scope=ControlScope.INSTRUMENT, key="EURUSD")

    swept = sweep_now()
    assert (swept.state, swept.proof["positions"]) == (SweepState.PROVEN, 1)
    assert [held["symbol"] for held in paper.truth()["positions"]] == ["USDJPY"]


def test_an_order_that_waits_for_a_worker_is_canceled_and_never_sent(client, paper, account):
    order = place(client, LIMIT, prefer="respond-async")
    flatten()

    assert sweep_now().state == SweepState.PROVEN
    row = TradeLedger.objects.get(public_id=order["id"])
    assert (row.status, row.attempts, books(paper)) == (OrderStatus.CANCELED, 0, (0, 0))


def test_an_unknown_order_is_found_first_and_what_it_made_is_closed(execute, paper, account):
    paper.control.inject("timeout_after_accept")
    order = execute()
    assert order.delivery == Delivery.UNKNOWN
    flatten()

    assert sweep_now().state == SweepState.PROVEN
    order.refresh_from_db()
    assert (order.status, books(paper)) == (OrderStatus.FILLED, (0, 0))


def test_nothing_is_proven_while_an_order_is_unknown(execute, paper, account, monkeypatch):
    monkeypatch.setattr(adapter, "JOURNAL_AGE_MIN_S", 0)
    paper.control.inject("timeout_before_accept")
    order = execute()
    flatten()

    swept = sweep_now()

    assert books(paper) == (0, 0)
    assert (swept.state, order.delivery) == (SweepState.RUNNING, Delivery.UNKNOWN)
    assert "UNKNOWN" in swept.detail


def test_a_close_whose_answer_was_lost_is_not_sent_again(execute, paper, account):
    execute()
    flatten()
    paper.control.inject("timeout_after_accept")
    monitored = sweep_now()

    assert monitored.state == SweepState.PROVEN  # the next round found it filled
    assert len(paper.deals()) == 2
    assert TradeLedger.objects.exclude(venue_position_id="").count() == 1


def test_a_close_that_stays_unknown_is_never_joined_by_another(execute, paper, account, monkeypatch):
    execute()
    flatten()
    paper.control.inject("timeout_after_accept")
    with monkeypatch.context() as patch:
        patch.setattr(resolution, "resolve", lambda *, order_id, **_: TradeLedger.objects.get(pk=order_id))
        patch.setattr(Mt5Broker, "snapshot", _with_old_positions())
        for _ in range(3):
            assert sweep_now().state == SweepState.RUNNING
        assert "is being closed" in SweepRun.objects.get().detail
        assert TradeLedger.objects.exclude(venue_position_id="").count() == 1

    assert sweep_now().state == SweepState.PROVEN
    assert len(paper.deals()) == 2


def _with_old_positions() -> Callable[..., Any]:
    """Return a snapshot that never learns that a position has been closed, as a broker's view may lag."""
    real, first = Mt5Broker.snapshot, []

    def snapshot(self: Mt5Broker, **what: Any) -> Any:
        found = real(self, **what)
        first.append(found.positions)
        return replace(found, positions=first[0])

    return snapshot


def test_a_closed_market_is_waited_for_and_makes_no_orders(execute, paper, account, settings):
    execute()
    flatten()
    settings.QUOTE_AGE_MAX_S = 0

    for _ in range(3):
        swept = sweep_now()

    assert (swept.state, swept.failures) == (SweepState.RUNNING, 3)
    assert "cannot be closed now: QUOTE" in swept.detail
    assert not TradeLedger.objects.exclude(venue_position_id="").exists()
    settings.QUOTE_AGE_MAX_S = 10
    assert sweep_now().state == SweepState.PROVEN


def test_a_refused_close_is_said_and_tried_again(execute, paper, account):
    execute()
    flatten()
    paper.control.inject("retcode", retcode=mt5.TRADE_RETCODE_REJECT)

    swept = sweep_now()

    assert swept.state == SweepState.RUNNING
    assert "is not closed: BROKER_" in swept.detail
    assert sweep_now().state == SweepState.PROVEN


def test_a_position_that_appears_during_the_sweep_is_closed_too(execute, paper, account, monkeypatch):
    execute()
    flatten()
    real, others = sweeping._close_all, [1]

    def close_all(*what: Any) -> None:
        real(*what)
        if others.pop():
            others.append(0)
            paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3")

    monkeypatch.setattr(sweeping, "_close_all", close_all)

    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_a_position_larger_than_one_order_is_closed_in_parts(execute, paper, account, settings):
    settings.MAX_POSITION_SIZE = Decimal(10**9)
    execute(brief(quantity=Decimal("0.1")))
    for _ in range(2):
        paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3")
    TradableInstrument.objects.update(quantity_max=Decimal("0.2"))
    flatten()

    assert sweep_now().state == SweepState.PROVEN
    assert {order.quantity for order in TradeLedger.objects.exclude(venue_position_id="")} == {
        Decimal("0.1"),
        Decimal("0.2"),
    }


class Killed(BaseException):
    """The process is gone."""


POINTS: list[tuple[Any, str, bool]] = [
    (sweeping, "_cancel_queue", True), (sweeping, "_resolve", True), (sweeping, "_covered", True),
    (cancels, "_claim", True), (cancels, "_claim", False), (cancels, "_send", False), (cancels, "_settle", False),
    (Mt5Broker, "cancel", True), (Mt5Broker, "cancel", False),
    (orders, "_admit", True), (orders, "_admit", False), (Mt5Broker, "submit", False), (orders, "_settle", False),
    (sweeps, "note_round", True), (sweeps, "note_round", False), (sweeps, "prove", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("owner", "name", "is_before"), POINTS, ids=[f"{'before' if p[2] else 'after'} {p[1]}" for p in POINTS]
)
def test_killed_anywhere_and_started_again_it_ends_flat(busy, paper, settings, monkeypatch, owner, name, is_before):
    settings.SENDING_LEASE_S = 0
    monkeypatch.setattr(adapter, "JOURNAL_AGE_MIN_S", 0)
    flatten()
    real = getattr(owner, name)

    def die(*what: Any, **named: Any) -> Any:
        if not is_before:
            real(*what, **named)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        with pytest.raises(Killed):
            sweep_now()
    assert SweepRun.objects.get().state == SweepState.RUNNING

    for _ in range(3):
        paper.quote("EURUSD", "1.08490", "1.08500")
        swept = sweep_now()

    assert (swept.state, books(paper)) == (SweepState.PROVEN, (0, 0))
    assert not TradeLedger.objects.open().exists()


def test_an_error_of_ours_is_kept_told_and_tried_again(execute, paper, account, monkeypatch, new_events):
    execute()
    flatten()

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(sweeping, "_resolve", fail)
        with pytest.raises(ZeroDivisionError):
            sweep_now()

    swept = SweepRun.objects.get()
    assert (swept.state, swept.failures, swept.detail) == (SweepState.RUNNING, 1, "Failed: ZeroDivisionError: a bug")
    assert [event.action for event in new_events()][-1] == "sweep.round"
    assert sweep_now().state == SweepState.PROVEN


def test_what_lasts_wakes_people_until_it_is_proven(execute, paper, account, settings):
    execute()
    flatten()
    good, settings.MT5_GATEWAY_URL = settings.MT5_GATEWAY_URL, "http://127.0.0.1:1"
    sweep_now()
    assert not Alert.objects.filter(kind="SWEEP_NOT_PROVEN").exists()
    row = SweepRun.objects.get()
    SweepRun.objects.update(started_at=row.started_at - 2 * sweeps.UNPROVEN_AFTER)

    swept = sweep_now()

    assert swept.detail.startswith("The broker cannot be asked")
    alert = Alert.objects.get(kind="SWEEP_NOT_PROVEN")
    assert "is not flat yet" in alert.text
    settings.MT5_GATEWAY_URL = good
    assert sweep_now().state == SweepState.PROVEN
    alert.refresh_from_db()
    assert alert.closed_at is not None


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

    def resolve(this: Any) -> None:
        if not found:
            with ThreadPoolExecutor(1) as other:
                found.append(other.submit(_elsewhere, second.pk).result())
        real(this)

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


def test_what_is_asked_while_the_broker_is_looked_at_is_not_proven_by_that_look(execute, paper, account, monkeypatch):
    """A cancel finds nothing to cancel, and a flatten comes as it looks: the position is still closed."""
    execute()
    stop(sweep=Sweep.CANCEL)
    real, others = sweeping._covered, [flatten]

    def covered(*what: Any) -> Any:
        if others:
            others.pop()()
        return real(*what)

    monkeypatch.setattr(sweeping, "_covered", covered)

    assert sweep_now().state == SweepState.RUNNING
    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_another_account_of_the_same_user_that_hangs_holds_up_no_close(execute, paper, account):
    execute()
    other = frozen_account("http://127.0.0.1:1", number=1)
    TradingAccount.objects.filter(pk=other.pk).update(user=account.user)
    flatten(scope=ControlScope.ACCOUNT, key=str(account.pk))

    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_asking_again_makes_a_running_sweep_stronger_and_a_proven_one_new(busy, paper):
    stop(sweep=Sweep.CANCEL)
    flatten()
    assert SweepRun.objects.get().kind == Sweep.FLATTEN
    assert sweep_now().state == SweepState.PROVEN
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3")

    flatten()

    second = SweepRun.objects.get(state=SweepState.RUNNING)
    assert sweep_now(second).state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_a_trader_closes_nothing_more_while_it_is_halted(busy, client, paper):
    stop()

    order = place(client, MARKET)
    (held,) = client.get("/trading/positions").json()["results"]
    closed = client.post(f"/trading/positions/{held['id']}/close", {}, idempotency_key="k" * 8).json()

    assert (order["reason"], closed["reason"]) == ("TRADING_HALTED", "TRADING_HALTED")


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


def test_a_gateway_that_hangs_holds_up_nobody_else(busy, paper, frozen, settings):
    """Six accounts behind a frozen gateway come first; the healthy one is flat long before they give up."""
    settings.BROKER_DEADLINE_S = 3
    hanging = [frozen_account(frozen, number=number) for number in range(6)]
    flatten()
    SweepRun.objects.filter(account__in=hanging).update(due_at=SweepRun.objects.get(account=busy).started_at)
    began = time.monotonic()

    sweepers.run_due(at=now(), turn_s=2)

    taken_s = time.monotonic() - began
    assert SweepRun.objects.get(account=busy).state == SweepState.PROVEN
    assert books(paper) == (0, 0)
    assert taken_s < 2.9
    assert len([g for g in sweepers._busy.values() if g == frozen]) == settings.SWEEP_THREADS_A_GATEWAY
    deadline = time.monotonic() + 30
    while sweepers._busy and time.monotonic() < deadline:
        time.sleep(0.05)
    tried = SweepRun.objects.filter(account__in=hanging, failures__gt=0)
    assert tried.count() == settings.SWEEP_THREADS_A_GATEWAY
    assert {row.state for row in tried} == {SweepState.RUNNING}
    assert all(row.detail.startswith("The broker cannot be asked") for row in tried)


def test_its_steps_are_in_the_black_box_with_what_they_did(busy, paper, new_events):
    flatten()
    sweep_now()

    rounds = [json.loads(e.canonical)["detail"] for e in new_events() if e.action == "sweep.round"]
    done = " ".join(step for each in rounds for step in each["done"])
    assert "canceled" in done
    assert "asked to cancel order" in done
    assert done.count("closing position") == 2


def test_the_level_of_a_sweep_is_halted(account):
    flatten()

    assert stop().switch.level == StopLevel.HALTED


def look(account: TradingAccount) -> None:
    watch.look(account_id=account.pk, at=now())


@pytest.mark.parametrize(("kind", "again"), [(Sweep.FLATTEN, True), (Sweep.CANCEL, False)])
def test_a_position_that_somebody_opens_after_the_proof_is_swept_as_well(busy, paper, new_events, kind, again):
    stop(sweep=kind)
    first = sweep_now()
    assert first.state == SweepState.PROVEN
    look(busy)
    assert SweepRun.objects.count() == 1  # nothing that the sweep is about stands there
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3", sl="1.08")

    look(busy)
    look(busy)

    assert SweepRun.objects.exclude(pk=first.pk).count() == again
    if again:
        assert sweep_now(SweepRun.objects.latest("pk")).state == SweepState.PROVEN
        assert books(paper) == (0, 0)
        assert [event.action for event in new_events()].count("sweep.started") == 2


def test_a_look_from_before_the_proof_begins_no_sweep(busy, paper):
    snapshot, read_at = accounts.broker_of(busy).snapshot(symbols=[]), facts.database_clock()
    flatten()
    assert sweep_now().state == SweepState.PROVEN

    sweeps.renew(busy, snapshot, read_at=read_at, at=now())

    assert SweepRun.objects.count() == 1


def test_what_was_eased_is_not_swept_again(busy, paper):
    flatten()
    sweep_now()
    stops.put(StopLevel.ACTIVE)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3", sl="1.08")

    look(busy)

    assert SweepRun.objects.count() == 1


def test_an_account_that_is_taken_up_under_a_stop_is_swept(paper, account):
    TradingAccount.objects.update(is_active=False)
    flatten()
    assert not SweepRun.objects.exists()
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3", sl="1.08")
    TradingAccount.objects.update(is_active=True)

    look(account)

    assert SweepRun.objects.get().state == SweepState.RUNNING


def test_an_account_that_was_put_aside_is_swept_while_our_books_hold_something(busy, paper):
    TradingAccount.objects.update(is_active=False)

    flatten()

    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_an_account_that_is_named_is_swept_whatever_is_known_of_it(paper, account):
    TradingAccount.objects.update(is_active=False)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.3", sl="1.08")

    flatten(scope=ControlScope.ACCOUNT, key=str(account.pk))

    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_a_position_that_the_broker_shows_late_is_not_taken_for_none(execute, paper, account):
    paper.control.inject("positions_delay", seconds=2, times=None)
    assert execute().status == OrderStatus.FILLED

    flatten()
    swept = sweep_now()

    assert (swept.state, books(paper)) == (SweepState.RUNNING, (0, 1))
    assert swept.detail.startswith("In our books, and not shown by the broker: position")
    while sweep_now().state == SweepState.RUNNING:  # until it shows: then it is closed, and gone
        time.sleep(0.2)
    assert books(paper) == (0, 0)


def test_a_position_that_somebody_else_closed_meanwhile_is_looked_for_by_its_deal(execute, paper, account):
    order = execute()
    paper.control.manual_close(LOGIN, int(Fill.objects.get(order=order).venue_position_id))
    flatten()

    assert sweep_now().state == SweepState.PROVEN
    assert BrokerPosition.objects.get().closed_at is not None
