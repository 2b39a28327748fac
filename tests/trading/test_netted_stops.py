"""On a netting account the stop of an order that adds becomes the whole position's: what that may cost is counted."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.audit.types import Actor
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.models import RiskAdjustment
from tests.factories.accounts import UserFactory
from tests.fakes import paper as paper_broker
from tests.trading.conftest import brief, link
from trading.brokers import registry
from trading.brokers.mt5 import session
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BrokerPosition, ChangeRequest, TradeLedger
from trading.services import accounts, changes, facts, fills, headroom, orders, protection, terms, watch
from trading.states import OrderType, Side, TimeInForce, VenueState
from trading.types import OrderReport

Place = Callable[..., TradeLedger]


@pytest.fixture(params=["netting"])
def place(request: pytest.FixtureRequest, floor, tmp_path: Path, settings, monkeypatch) -> Iterator[Place]:
    """Order EURUSD at 1.08490 / 1.08500 on an account of a kind."""
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0)
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    with paper_broker.paper(tmp_path, netting=request.param == "netting") as running:
        settings.MT5_GATEWAY_URL = running.url
        running.quote("EURUSD", "1.08490", "1.08500")
        user = UserFactory.create()
        account = link(user)
        venue = accounts.broker_of(account)
        venue.snapshot(symbols=["EURUSD"])

        def order(
            quantity: str,
            stop: str | None,
            side: Side = Side.BUY,
            *,
            waits_at: str | None = None,
            triggers_at: str | None = None,
        ) -> TradeLedger:
            running.quote("EURUSD", "1.08490", "1.08500")
            venue.snapshot(symbols=["EURUSD"])
            intent = brief(
                side=side, quantity=Decimal(quantity), entry_price=None, take_profit=None,
                stop_loss=None if stop is None else Decimal(stop),
                limit_price=None if waits_at is None else Decimal(waits_at),
                stop_price=None if triggers_at is None else Decimal(triggers_at),
                order_type=OrderType.LIMIT if waits_at else OrderType.STOP if triggers_at else OrderType.MARKET,
                time_in_force=TimeInForce.GTC if waits_at or triggers_at else None,
            )  # fmt: skip
            key = RequestKey(
                principal=str(user.public_id), account=str(account.public_id),
                key=f"{TradeLedger.objects.count()}-of-it",
                fingerprint=records.fingerprint(method="POST", path="/trading/execute", body={}),
            )  # fmt: skip
            return orders.execute(user=user, account=account, intent=intent, key=key, at=now()).order

        request.node.paper = running
        yield order
        registry.close()


# Held: 0.5 lots, marked at 1.08490, whose stop at 1.0840 may fill at 1.083458: 72.10 USD. With the stop of the order
# that adds, at 1.0500 that may fill at 1.049475: 1771.25. The order itself: 0.035745 on 1,000 units, and 0.07: 35.82.
HELD, FAR, OWN, BESIDE = ("0.5", "1.0840"), ("0.01", "1.0500"), Decimal("35.82"), Decimal("1699.15")


def test_what_is_listed_under_another_name_is_no_other_position_and_what_is_not_listed_counts(
    place, settings, monkeypatch
):
    monkeypatch.setattr(facts, "LISTED_WITHIN", timedelta())
    place(*HELD)
    settings.MAX_POSITION_SIZE = Decimal(100_000)

    def counted():
        found = {check["name"]: check["used"] for check in place("5", "1.0840").checks}
        return [found[name] for name in ("DAILY_LOSS", "POSITION_SIZE", "POSITION_COUNT")]

    whole = counted()
    listed = Mt5Broker.snapshot

    def other(self, **words):
        shown = listed(self, **words)
        named = (replace(each, venue_position_id="999") for each in shown.positions)
        return replace(shown, positions=tuple(named))

    monkeypatch.setattr(Mt5Broker, "snapshot", other)
    assert counted() == whole
    monkeypatch.setattr(Mt5Broker, "snapshot", lambda *given, **words: replace(
        listed(*given, **words), positions=(), margin_used=Decimal(0)
    ))  # fmt: skip
    assert counted() == whole


def test_a_small_order_that_moves_the_stop_of_a_large_position_is_held_against_the_days_loss(place, settings):
    place(*HELD)

    assert place(*FAR).reason == "DAILY_LOSS_EXCEEDS_LIMIT"
    settings.DAILY_LOSS_LIMIT = Decimal(3000)
    added = place(*FAR)
    assert (added.status, added.risk) == ("FILLED", OWN + BESIDE)


@pytest.mark.parametrize("place", ["hedging"], indirect=True)
def test_where_each_position_keeps_its_stop_nothing_is_counted_beside(place):
    place(*HELD)

    assert (added := place(*FAR)).status == "FILLED"
    assert added.risk == OWN


def test_a_nearer_stop_and_the_other_side_count_nothing_beside(place):
    place(*HELD)

    # 1.0845 may fill at 1.08395775: 0.00126225 on 1,000 units; 1.0900 at 1.090545: from 1.08468, 0.005865.
    assert place("0.01", "1.0845").risk == Decimal("1.34")
    assert place("0.01", "1.0900", Side.SELL).risk == Decimal("5.94")


def test_an_order_that_takes_the_stop_away_counts_the_assumed_move_of_the_whole(place, settings):
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    place(*HELD)

    # 5 % of 1.08490 on 50,000 units, less what it can lose now; and 5 % of 1.08522 on 1,000, and 0.07.
    assert place("0.01", None).risk == Decimal("2712.25") - Decimal("72.10") + Decimal("54.34")


@pytest.mark.parametrize("first", ["unstopped", "stopped"])
def test_a_sell_that_opens_below_the_market_loses_more_at_the_stop_of_another(place, settings, first):
    """Limits price it at the ask; what it may lose begins where it opens."""
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    placed = [
        lambda: place("0.5", None, Side.SELL, triggers_at="1.0800"),
        lambda: place("0.01", "1.1400", Side.SELL, waits_at="1.0900"),
    ]

    earlier, later = (each() for each in (placed if first == "unstopped" else reversed(placed)))

    # From 1.07978 on 50,000: 3.50, and 5 % or 3039.50 to 1.14057, the other's stop. That: 0.05057 on 1,000 and 0.07.
    assert (earlier.status, later.status) == ("PENDING", "PENDING")
    assert earlier.risk + later.risk == Decimal("2702.95") + Decimal("50.64") + later.restopped
    assert later.restopped == Decimal("340.05")


@pytest.mark.parametrize(("stop", "outcome"), [("1.08481", "STOP_LOSS_TOO_NEAR"), ("1.08480", "FILLED")])
def test_a_broker_that_names_no_distance_is_given_stops_no_nearer_than_its_spread(place, stop, outcome):
    order = place("0.01", stop)

    assert (order.reason or order.status) == outcome


# Two orders that wait at 1.0840. Each by itself: 0.5 lots with a stop at 1.0820 (1.081459), 127.05 and 3.50; 0.01 lots
# with one at 1.0500 (1.049475), 34.525 and 0.07. With the stop of the second, the first loses 0.031984 on 50,000 more.
NEAR, SECOND = ("0.5", "1.0820"), ("0.01", "1.0500")
NEAR_OWN, SECOND_OWN, MOVED = Decimal("130.55"), Decimal("34.60"), Decimal("1599.20")


@pytest.mark.parametrize("first", ["near", "far"])
def test_of_two_that_wait_each_may_move_the_other_s_stop_whoever_fills_last(place, settings, first):
    settings.DAILY_LOSS_LIMIT = Decimal(3000)
    pair = (NEAR, SECOND) if first == "near" else (SECOND, NEAR)

    earlier, later = (place(*each, waits_at="1.0840") for each in pair)

    assert (earlier.status, later.status) == ("PENDING", "PENDING")
    assert earlier.risk == (NEAR_OWN if first == "near" else SECOND_OWN)
    assert earlier.risk + later.risk == NEAR_OWN + SECOND_OWN + MOVED
    assert (earlier.restopped, later.restopped) == (0, MOVED)


def test_two_that_wait_are_held_against_the_days_loss_together(place, settings):
    place(*NEAR, waits_at="1.0840")

    assert place(*SECOND, waits_at="1.0840").reason == "DAILY_LOSS_EXCEEDS_LIMIT"
    settings.DAILY_LOSS_LIMIT = NEAR_OWN + SECOND_OWN + MOVED
    assert place(*SECOND, waits_at="1.0840").status == "PENDING"


@pytest.mark.parametrize("place", ["hedging"], indirect=True)
def test_where_each_position_keeps_its_stop_those_that_wait_count_nothing_beside(place):
    place(*NEAR, waits_at="1.0840")

    assert place(*SECOND, waits_at="1.0840").risk == SECOND_OWN


def test_what_a_waiting_order_may_do_to_one_that_filled_stays_counted(place, settings):
    """The one that filled counted what the other may do to its stop: it counts no more, and the stop may still move."""
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    waiting = place(*SECOND, waits_at="1.0840")
    place(*HELD)

    used = next(each for each in place("0.01", "1.0840").checks if each["name"] == "DAILY_LOSS")["used"]

    # Lost: the spread on 50,000 and the commission. Held: what the waiting order's stop leaves open, not its own 72.10.
    assert Decimal(used) >= waiting.risk + Decimal("1771.25")


def test_a_waiting_order_s_stop_that_somebody_widened_by_hand_may_become_the_whole_position_s(place, request, settings):
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    place(*HELD)
    place("0.01", "1.0840", waits_at="1.0845")
    paper = request.node.paper
    (working,) = paper.truth()["working"]
    paper.control.manual_modify(paper.login, working["ticket"], price="1.0845", sl="1.0500")

    used = next(each for each in place("0.01", "1.0840").checks if each["name"] == "DAILY_LOSS")["used"]

    assert Decimal(used) >= Decimal("1771.25") + OWN


def test_the_stop_that_an_order_brings_to_what_it_adds_to_was_moved_by_nobody(place, settings):
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    place(*HELD)
    added = place(*FAR)

    watch.look(account_id=added.account_id, at=now())

    assert BrokerPosition.objects.get().stop_loss == Decimal("1.05")
    assert (RiskAdjustment.objects.get().after or 0) > Decimal(1771)
    assert not Alert.objects.filter(kind="TERMS_MOVED").exists()


@pytest.mark.parametrize("stops", [{"stop_loss": Decimal("1.0500")}, {"take_profit": Decimal("1.1000")}])
def test_a_stop_that_is_set_while_an_order_fills_is_held_against_the_day_with_that_order(
    place, request, settings, monkeypatch, stops
):
    """What is sent for the position by then holds for what the order has made of it, and not its own stop."""
    is_wider = "stop_loss" in stops
    settings.DAILY_LOSS_LIMIT = Decimal(3000)
    place("0.5", "1.0840" if is_wider else "1.0500")
    held, claim = BrokerPosition.objects.get(), changes._claim

    def after_another(**given: Any) -> object:
        added = place("0.5", "1.0840")
        assert added.status == "FILLED"
        return claim(**given)

    monkeypatch.setattr(changes, "_claim", after_another)
    with pytest.raises(changes.ChangeRefused, match="could lose"):
        changes.change_stops(position_id=held.pk, stops=stops, actor=Actor.system("t"), reason="", at=now())

    (position,) = request.node.paper.truth()["positions"]
    assert position["sl"] == 108400


def test_a_stop_that_is_tightened_while_an_order_fills_holds_for_that_order_too(place, request, settings, monkeypatch):
    """Nearer for the little that was held, it is far from the own stop of the much that fills before it is set."""
    settings.DAILY_LOSS_LIMIT = Decimal(1000)
    place("0.01", "1.0500")
    held, claim = BrokerPosition.objects.get(), changes._claim

    def after_another(**given: Any) -> object:
        assert place("0.5", "1.0840").status == "FILLED"
        return claim(**given)

    monkeypatch.setattr(changes, "_claim", after_another)
    with pytest.raises(changes.ChangeRefused, match="could lose"):
        changes.change_stops(
            position_id=held.pk, stops={"stop_loss": Decimal("1.0600")}, actor=Actor.system("t"), reason="", at=now()
        )

    (position,) = request.node.paper.truth()["positions"]
    assert position["sl"] == 108400


def test_an_order_that_only_waits_holds_up_no_stop_that_is_tightened(place, settings):
    settings.DAILY_LOSS_LIMIT = Decimal(1000)
    place("0.01", "1.0500")
    place("0.5", "1.0830", waits_at="1.0840")

    change = changes.change_stops(
        position_id=BrokerPosition.objects.get().pk, stops={"stop_loss": Decimal("1.0600")}, actor=Actor.system("t"),
        reason="", at=now(),
    )  # fmt: skip

    assert change.state == "DONE"


def test_an_order_waits_for_a_change_of_the_stops_that_it_would_be_netted_under(place, request, settings):
    """The change may arrive after the order has filled: its stop is the whole position's then."""
    settings.DAILY_LOSS_LIMIT = Decimal(3000)
    place("0.5", "1.0840")
    held, paper = BrokerPosition.objects.get(), request.node.paper
    paper.control.inject("timeout_before_accept")
    wider = changes.change_stops(
        position_id=held.pk, stops={"stop_loss": Decimal("1.0500")}, actor=Actor.system("t"), reason="", at=now()
    )
    assert wider.state == "UNKNOWN"

    order = place("0.5", "1.0840")

    assert order.reason == "UNKNOWN_ORDER_ON_INSTRUMENT"
    (check,) = (each for each in order.checks if each["name"] == "UNKNOWN_ORDERS")
    assert wider.change_id in check["detail"]


@pytest.mark.parametrize("place", ["hedging"], indirect=True)
def test_where_each_position_keeps_its_stop_no_order_waits_for_a_change_of_another_s(place, request):
    place(*HELD)
    request.node.paper.control.inject("timeout_before_accept")
    changes.change_stops(
        position_id=BrokerPosition.objects.get().pk, stops={"stop_loss": Decimal("1.0835")}, actor=Actor.system("t"),
        reason="", at=now(),
    )  # fmt: skip

    assert place("0.01", "1.0840").status == "FILLED"


def test_the_stop_of_somebody_else_s_waiting_order_may_become_the_whole_position_s(place, request, settings):
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    place(*HELD)
    paper = request.node.paper
    paper.control.manual_order(paper.login, "EURUSD", mt5.ORDER_TYPE_BUY_LIMIT, "0.01", "1.0845", sl="1.0500")

    used = next(each for each in place("0.01", "1.0840").checks if each["name"] == "DAILY_LOSS")["used"]

    # What is held at 1.0500, and the order itself: 1.08450 − 1.049475 on 1,000 units.
    assert Decimal(used) >= Decimal("1771.25") + Decimal("35.02")
    settings.DAILY_LOSS_LIMIT = Decimal(1900)
    added = place("0.1", "1.0840")  # its own 18.72 would fit
    assert added.reason == "DAILY_LOSS_EXCEEDS_LIMIT"


def test_an_order_waits_for_new_terms_of_another_that_may_bring_their_stop_to_it(place, request):
    """One that waits has asked for a far stop, and nobody knows whether it has it: filled last, it brings it to all."""
    first = place("0.01", "1.0830", waits_at="1.0840")
    paper = request.node.paper
    paper.control.inject("accept_late", seconds=0.3)
    further = terms.change(
        user=first.user, order_id=first.pk, terms={"stop_loss": Decimal("1.0500")}, reason="", at=now()
    )
    assert further.state == "UNKNOWN"

    order = place(*HELD)

    assert (order.reason, order.attempts) == ("UNKNOWN_ORDER_ON_INSTRUMENT", 0)
    (check,) = (each for each in order.checks if each["name"] == "UNKNOWN_ORDERS")
    assert check["detail"] == further.change_id
    time.sleep(0.4)
    terms.resolve(change_id=further.pk)
    # 0.5 lots with a stop that may fill at 1.049475 can lose 1771.25: more than the day allows.
    assert place(*HELD).reason == "DAILY_LOSS_EXCEEDS_LIMIT"


@pytest.mark.parametrize("first", ["1.0830", None])
def test_an_order_at_the_stop_of_another_counts_its_commission_too(place, settings, first):
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    one = place("0.5", first, waits_at="1.0840")
    place("0.01", None if first else "1.0200", waits_at="1.0835")

    found = headroom.read(user=one.user, account=one.account, symbol="EURUSD", at=now())
    used = next(each.used for each in found.checks if each.name == "DAILY_LOSS")

    # The first, worth 1.08500 on 50,000, and its 3.50: without a stop 5 % of it, at the second's from there to 1.01949.
    # The second by itself: 5 % of 1.08350 on 1,000 and 0.07; from there to its own stop: 64.08.
    assert used == (Decimal("2716.00") + Decimal("54.25") if first else Decimal("3279.00") + Decimal("64.08"))


def test_the_stop_of_an_order_that_is_over_here_and_works_there_may_become_the_whole_position_s(place, settings):
    """The broker has told of an end that was none, or two operators have ended it while nobody could ask."""
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    place(*HELD)
    waits = place("0.01", "1.0500", waits_at="1.0840")
    fills.record(order_id=waits.pk, report=OrderReport(waits.client_order_id, VenueState.CANCELED), at=now())

    used = next(each for each in place("0.01", "1.0840").checks if each["name"] == "DAILY_LOSS")["used"]

    assert Decimal(used) >= Decimal("1771.25") + Decimal("34.52")
    settings.DAILY_LOSS_LIMIT = Decimal(1900)
    assert place("0.1", "1.0840").reason == "DAILY_LOSS_EXCEEDS_LIMIT"


def test_what_only_reduces_a_netted_position_brings_it_no_stops_and_lacks_none(place, request, settings):
    """The position keeps its own, of the other side: an order's would be refused, and the position closed for it."""
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    place("0.5", None)

    reducing = place("0.1", "1.0900", Side.SELL)

    assert (reducing.status, protection.due()) == ("FILLED", [])
    assert not Alert.objects.filter(kind=protection.KIND).exists()


def test_a_position_that_was_turned_since_is_not_given_the_stops_of_its_other_side(place, request, settings):
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    paper = request.node.paper
    paper.control.inject("stops_dropped")
    bare = place("0.1", "1.0800")
    assert protection.due() == [bare.pk]
    place("0.5", None, Side.SELL)

    protection.protect(order_id=bare.pk, at=now())

    assert protection.due() == []
    assert not ChangeRequest.objects.exists()
    assert [each["volume"] for each in paper.truth()["positions"]] == [40_000_000]


def test_a_stop_that_a_lost_change_may_have_taken_away_counts_beside_a_position_that_gets_one(place, request, settings):
    """Whoever asks for the terms of an order that waits may fill it at them: its stop becomes the position's then."""
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    held, paper = place("0.5", None), request.node.paper
    waiting, broker = place("0.01", "1.0800", waits_at="1.0840"), paper.control._broker
    broker.profile = replace(broker.profile, orders_delay_ms=3000)
    paper.control.inject("timeout_after_accept")
    none: dict[str, Decimal | None] = {"stop_loss": None}
    assert terms.change(user=held.user, order_id=waiting.pk, terms=none, reason="", at=now()).state == "UNKNOWN"

    position, stops = BrokerPosition.objects.get(), {"stop_loss": Decimal("1.0840")}
    done = changes.change_stops(position_id=position.pk, stops=stops, actor=Actor.system("t"), reason="", at=now())
    assert done.state == "DONE"

    found = headroom.read(user=held.user, account=held.account, symbol="EURUSD", at=now())
    used = next(each.used for each in found.checks if each.name == "DAILY_LOSS")
    assert used is not None
    assert used >= Decimal("2766.45")  # 5 % of 0.5 lots at 1.08490, and of 0.01 at 1.08400
    time.sleep(3)
    terms.resolve(change_id=ChangeRequest.objects.get(kind="TERMS").pk)
    waiting.refresh_from_db()
    assert (waiting.stop_loss, waiting.changes.get().state) == (None, "DONE")
