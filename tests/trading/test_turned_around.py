"""A netted position is closed, and never turned around, whatever else takes from it unseen or late."""

import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils.timezone import now

from nexus.idempotency.services.records import RequestKey
from tests.trading.conftest import brief
from tests.trading.sweeps import flatten, sweep_now
from tests.trading.test_netted_stops import HELD, place
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BrokerPosition, TradeLedger
from trading.services import orders, reduction, resolution
from trading.states import Side

__all__ = ["place"]


def close(first: TradeLedger, quantity: str) -> TradeLedger:
    """Close so much of the position that an order has made."""
    key = RequestKey("a test", str(first.account_id), f"close-{quantity}-{TradeLedger.objects.count()}", b"")
    intent = brief(
        side=Side.SELL, quantity=Decimal(quantity), entry_price=None, stop_loss=None, take_profit=None,
        venue_position_id=BrokerPosition.objects.get().venue_position_id,
    )  # fmt: skip
    return orders.execute(user=first.user, account=first.account, intent=intent, key=key, at=now()).order


def test_no_close_turns_a_netted_position_around_that_is_listed_as_before_an_earlier_close(place, request):
    first, paper = place(*HELD), request.node.paper
    paper.control.inject("positions_delay", seconds=60)
    assert close(first, "0.3").status == "FILLED"

    too_much, rest = close(first, "0.5"), close(first, "0.2")

    assert (too_much.reason, rest.status) == ("QUANTITY_EXCEEDS_POSITION", "FILLED")
    assert paper.truth()["positions"] == []
    assert [deal["entry"] for deal in paper.deals()] == [0, 1, 1]


@pytest.mark.parametrize("fault", [None, "timeout_after_accept", "accept_late"])
def test_no_close_turns_a_netted_position_around_that_an_order_of_the_other_side_may_have_reduced(
    place, request, fault
):
    """Filled, or nobody knows: the list shows as many lots as before it either way."""
    first, paper = place(*HELD), request.node.paper
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=9000)
    if fault:
        paper.control.inject(fault)
    place("0.3", "1.0900", Side.SELL)

    too_much, rest = close(first, "0.5"), close(first, "0.2")

    assert (too_much.reason, rest.status) == ("QUANTITY_EXCEEDS_POSITION", "FILLED")
    assert mt5.DEAL_ENTRY_INOUT not in [deal["entry"] for deal in paper.deals()]


def test_no_close_turns_a_netted_position_around_where_a_search_came_before_the_lists(place, request):
    """The broker has taken the order of the other side and shows it nowhere yet: that says nothing of its fill."""
    first, paper = place(*HELD), request.node.paper
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=60_000, orders_delay_ms=60_000, history_delay_ms=60_000)
    other = place("0.3", "1.0900", Side.SELL)
    resolution.resolve(order_id=other.pk, at=now())
    other.refresh_from_db()
    assert (other.delivery, other.absent_since is None) == ("ACKED", False)

    too_much, rest = close(first, "0.5"), close(first, "0.2")

    assert (too_much.reason, rest.delivery) == ("QUANTITY_EXCEEDS_POSITION", "ACKED")
    assert [deal["entry"] for deal in paper.deals()] == [0, 1, 1]


def test_no_close_turns_a_netted_position_around_that_a_waiting_order_has_just_reduced(place, request):
    """The market has reached its price, and neither its fill nor what that has left is listed."""
    first, paper = place(*HELD), request.node.paper
    assert place("0.2", "1.0990", Side.SELL, waits_at="1.0900").delivery == "ACKED"
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=9000, orders_delay_ms=9000)
    paper.quote("EURUSD", "1.09010", "1.09020")

    too_much, rest = close(first, "0.5"), close(first, "0.3")

    assert (too_much.reason, rest.status) == ("QUANTITY_EXCEEDS_POSITION", "FILLED")
    assert [deal["entry"] for deal in paper.deals()] == [0, 1, 1]


def test_no_close_turns_a_netted_position_around_that_a_market_order_still_takes_from(
    place, request, settings, monkeypatch
):
    """The broker has taken it and lists it, whole or with what is left of it, until the market has enough for it."""
    settings.MT5_FILLINGS, settings.UNSTOPPED_MOVE = ["RETURN"], Decimal("0.005")
    monkeypatch.setattr(reduction, "LISTED_WITHIN", timedelta())
    first, paper = place("0.01", "1.0840"), request.node.paper  # refused: that symbol offers another filling

    def trade(side: Side, lots: str, **named: str) -> TradeLedger:
        key = RequestKey("a test", str(first.account_id), f"{side}-{lots}-{TradeLedger.objects.count()}", b"")
        intent = brief(
            symbol="US500",
            side=side,
            quantity=Decimal(lots),
            entry_price=None,
            stop_loss=None,
            take_profit=None,
            **named,
        )
        return orders.execute(user=first.user, account=first.account, intent=intent, key=key, at=now()).order

    def offer(lots: str) -> None:
        paper.control.tick("US500", "5500.0", "5500.5", bid_vol=lots, ask_vol=lots, levels=1)

    offer("5")
    assert trade(Side.BUY, "5").status == "FILLED"
    offer("1")
    assert (trade(Side.SELL, "3").status, len(paper.truth()["working"])) == ("PARTIALLY_FILLED", 1)
    held = {"venue_position_id": BrokerPosition.objects.get(symbol="US500").venue_position_id}

    too_much, rest = trade(Side.SELL, "4", **held), trade(Side.SELL, "2", **held)
    offer("100")
    offer("100")

    assert (too_much.reason, rest.delivery) == ("QUANTITY_EXCEEDS_POSITION", "ACKED")
    assert paper.truth()["positions"] == []
    assert [deal["entry"] for deal in paper.deals()] == [0, 1, 1, 1]


def test_a_sweep_leaves_of_a_netted_position_what_an_order_on_its_way_may_take_and_closes_the_rest(
    place, request, monkeypatch
):
    paper = place(*HELD) and request.node.paper
    paper.control.inject("accept_late", seconds=2)
    assert place("0.3", "1.0900", Side.SELL).delivery == "UNKNOWN"
    flatten()
    sweep = sweep_now()

    assert [each["volume"] for each in paper.truth()["positions"]] == [30_000_000]
    assert "on its way" in sweep.detail
    time.sleep(2.1)  # the broker's clock flows: it arrives by then, and not before the first sweep
    sweep_now()
    assert paper.truth()["positions"] == []
    assert [deal["entry"] for deal in paper.deals()] == [0, 1, 1]


def test_no_close_turns_a_netted_position_around_for_which_an_order_arrives_later_than_lists_do(
    place, request, monkeypatch
):
    monkeypatch.setattr(reduction, "LISTED_WITHIN", timedelta())
    first, paper = place(*HELD), request.node.paper
    paper.control.inject("accept_late", seconds=2)
    assert place("0.3", "1.0900", Side.SELL).delivery == "UNKNOWN"

    too_much, rest = close(first, "0.5"), close(first, "0.2")
    time.sleep(2.1)
    paper.quote("EURUSD", "1.08490", "1.08500")

    assert (too_much.reason, rest.status) == ("QUANTITY_EXCEEDS_POSITION", "FILLED")
    assert paper.truth()["positions"] == []
    assert [deal["entry"] for deal in paper.deals()] == [0, 1, 1]


def test_no_close_turns_a_netted_position_around_that_an_order_has_taken_from_which_waited_for_long(
    place, request, monkeypatch
):
    """It is listed no more, what it has left is not listed yet, and nobody has booked it."""
    monkeypatch.setattr(reduction, "LISTED_WITHIN", timedelta())
    first, paper = place(*HELD), request.node.paper
    assert place("0.2", "1.0990", Side.SELL, waits_at="1.0900").delivery == "ACKED"
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=9000)
    paper.quote("EURUSD", "1.09010", "1.09020")
    paper.quote("EURUSD", "1.08490", "1.08500")

    too_much, rest = close(first, "0.5"), close(first, "0.3")

    assert (too_much.reason, rest.status) == ("QUANTITY_EXCEEDS_POSITION", "FILLED")
    assert [deal["entry"] for deal in paper.deals()] == [0, 1, 1]


def test_a_close_waits_for_no_lost_order_of_which_a_search_a_minute_later_shows_no_trace(place, request):
    """That it is nowhere takes minutes more to prove."""
    first, paper = place(*HELD), request.node.paper
    paper.control.inject("timeout_before_accept")
    lost = place("0.5", "1.0900", Side.SELL)
    for seconds, reason in ((0, "QUANTITY_EXCEEDS_POSITION"), (59, "QUANTITY_EXCEEDS_POSITION"), (90, "")):
        paper.quote("EURUSD", "1.08490", "1.08500")
        TradeLedger.objects.filter(pk=lost.pk).update(sent_at=now() - timedelta(seconds=seconds))
        assert resolution.resolve(order_id=lost.pk, at=now()).delivery == "UNKNOWN"
        assert close(first, "0.5").reason == reason


def test_a_sweep_waits_for_no_order_longer_than_lists_are_late_and_closes_what_that_turns_around(
    place, request, monkeypatch
):
    paper = place(*HELD) and request.node.paper
    paper.control.inject("accept_late", seconds=2)
    assert place("0.3", "1.0900", Side.SELL).delivery == "UNKNOWN"
    monkeypatch.setattr(reduction, "LISTED_WITHIN", timedelta())
    flatten()

    sweep_now()
    assert paper.truth()["positions"] == []
    time.sleep(2.1)
    paper.quote("EURUSD", "1.08490", "1.08500")
    assert [each["volume"] for each in paper.truth()["positions"]] == [30_000_000]
    sweep_now()
    assert paper.truth()["positions"] == []


@pytest.mark.parametrize(("closed", "closings"), [("0.3", 2), ("0.5", 1)])
def test_a_sweep_closes_what_is_left_of_a_netted_position_that_is_listed_as_before_a_close(
    place, request, closed, closings
):
    first, paper = place(*HELD), request.node.paper
    paper.control.inject("positions_delay", seconds=3)
    assert close(first, closed).status == "FILLED"
    paper.quote("EURUSD", "1.08490", "1.08500")

    flatten()
    sweep = sweep_now()

    assert paper.truth()["positions"] == []
    assert [deal["entry"] for deal in paper.deals()] == [0, *[1] * closings]
    assert not TradeLedger.objects.filter(rejected_by="BROKER").exists()
    assert "listed as before it was closed" in sweep.detail or sweep.state == "PROVEN"
