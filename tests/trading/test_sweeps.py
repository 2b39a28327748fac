"""The sweep of a stop ends flat, by the broker's own view, whatever is in its way; and never says so without proof."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from risk.states import ControlScope, StopLevel, Sweep
from tests.fakes.paper import LOGIN
from tests.stops import stop
from tests.trading.conftest import brief
from tests.trading.desk import LIMIT, MARKET, place
from tests.trading.sweeps import books, flatten, sweep_now
from tests.trading.test_closing import alter
from trading.brokers.mt5 import adapter
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import SweepRun, TradableInstrument, TradeLedger
from trading.services import accounts, cancels, facts, instruments, orders, resolution, sweeping, sweeps
from trading.states import Delivery, OrderStatus, SweepState


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


@pytest.mark.parametrize("is_known_to_us", [False, True])
def test_an_instrument_that_the_broker_has_dropped_keeps_no_other_position_open(
    busy, paper, account, monkeypatch, is_known_to_us
):
    paper.quote("USDJPY", "150.000", "150.010")
    paper.control.manual_trade(LOGIN, "USDJPY", mt5.ORDER_TYPE_BUY, "0.1", sl="149")
    if is_known_to_us:
        broker = accounts.broker_of(account)
        instruments.get(account=account, broker=broker, symbol="USDJPY", at=now())
    module = paper.desk._hands.module
    for name in ("symbol_select", "symbol_info", "symbol_info_tick"):
        known = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda symbol, *rest, f=known: f("NONE" if symbol == "USDJPY" else symbol, *rest)
        )
    flatten()

    swept = sweep_now()

    assert [held["symbol"] for held in paper.truth()["positions"]] == ["USDJPY"]
    assert swept.state == SweepState.RUNNING
    assert "USDJPY cannot be closed now" in swept.detail


def test_what_may_only_be_closed_is_swept(busy, paper):
    alter(paper, trade_mode=mt5.SYMBOL_TRADE_MODE_CLOSEONLY)
    flatten()

    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_an_empty_list_beside_margin_in_use_proves_nothing(paper, account, monkeypatch):
    """A position of somebody else's, which our books do not know either."""
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, "0.1", sl="1.07")
    terminal = paper.desk._hands.module
    monkeypatch.setattr(terminal, "positions_get", lambda *_, **__: ())
    flatten()

    swept = sweep_now()

    assert (swept.state, books(paper)) == (SweepState.RUNNING, (0, 1))
    assert swept.detail == facts.HIDES
    monkeypatch.undo()
    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


def test_an_order_that_fills_between_two_lists_of_one_look_is_not_taken_for_flat(paper, account, monkeypatch):
    """Somebody else's order: neither its position nor itself is in our books."""
    paper.control.manual_order(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY_LIMIT, "0.1", "1.08400")
    module, asked = paper.desk._hands.module, []

    def filling_after(listing: Callable[..., Any]) -> Callable[..., Any]:
        def answer(**which: Any) -> Any:
            listed = listing(**which)
            asked.append(listing)
            if len(asked) == 1:
                paper.quote("EURUSD", "1.08380", "1.08390")
                assert books(paper) == (0, 1)
            return listed

        return answer

    for name in ("positions_get", "orders_get"):
        monkeypatch.setattr(module, name, filling_after(getattr(module, name)))
    flatten()

    assert sweep_now().state == SweepState.RUNNING
    monkeypatch.undo()
    assert sweep_now().state == SweepState.PROVEN
    assert books(paper) == (0, 0)


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
        patch.setattr(sweeping, "_covered", fail)
        with pytest.raises(ZeroDivisionError):
            sweep_now()

    swept = SweepRun.objects.get()
    assert (swept.state, swept.failures, swept.detail) == (SweepState.RUNNING, 1, "Failed: ZeroDivisionError: a bug")
    assert [event.action for event in new_events()][-1] == "sweep.round"
    assert sweep_now().state == SweepState.PROVEN


@pytest.mark.parametrize(
    ("owner", "name", "is_one"),
    [
        (resolution, "resolve", lambda words: TradeLedger.objects.get(pk=words["order_id"]).limit_price is not None),
        (Mt5Broker, "cancel", bool),
        (orders, "execute", lambda words: words["intent"].symbol == "XAUUSD"),
        (cancels, "request", lambda words: TradeLedger.objects.get(pk=words["order_id"]).delivery == Delivery.QUEUED),
    ],
    ids=["asking", "canceling", "closing", "queue"],
)  # fmt: skip
def test_an_error_of_ours_about_one_thing_keeps_no_other_open(client, paper, monkeypatch, owner, name, is_one):
    paper.quote("XAUUSD", "2400.00", "2400.20")
    for body in (MARKET, LIMIT, {"symbol": "XAUUSD", "action": "BUY", "quantity": "0.01", "stop_loss": "2380.00"}):
        place(client, body)
    place(client, LIMIT, prefer="respond-async")  # nobody has sent it yet
    flatten()
    real = getattr(owner, name)

    def fail(*what: Any, **named: Any) -> Any:
        if is_one(named):
            raise ZeroDivisionError("a bug")
        return real(*what, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        swept = sweep_now()

    assert (swept.state, "failed: ZeroDivisionError: a bug" in swept.detail) == (SweepState.RUNNING, True)
    assert "EURUSD" not in {each["symbol"] for each in paper.truth()["positions"]}, swept.detail
    for _ in range(3):
        paper.quote("EURUSD", "1.08490", "1.08500")
        paper.quote("XAUUSD", "2400.00", "2400.20")
        swept = sweep_now()
    assert (swept.state, books(paper)) == (SweepState.PROVEN, (0, 0))


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


def test_its_steps_are_in_the_black_box_with_what_they_did(busy, paper, new_events):
    flatten()
    sweep_now()

    rounds = [json.loads(e.canonical)["detail"] for e in new_events() if e.action == "sweep.round"]
    done = " ".join(step for each in rounds for step in each["done"])
    assert done.count("asked to cancel order") == 1
    assert "CANCELED/DONE" in done
    assert done.count("closing position") == 2


def test_the_level_of_a_sweep_is_halted(account):
    flatten()

    assert stop().switch.level == StopLevel.HALTED
