"""What is counted of a netted position, and of an order, that the terminal lists as they were, or not at all."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.audit.types import Actor
from risk.states import ControlScope
from tests.stops import stop
from tests.trading.test_netted_stops import BESIDE, FAR, HELD, place
from tests.trading.test_resolution import key
from trading.brokers.mt5.adapter import Mt5Broker
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BrokerPosition, TradeLedger
from trading.services import accounts, changes, closes, facts, headroom, instruments, terms, unlisted, watch
from trading.states import Side
from trading.types import AccountSnapshot, VenuePosition

__all__ = ["place"]


@pytest.fixture
def shows(monkeypatch) -> Callable[..., None]:
    """Let the terminal list positions otherwise than they are."""
    whole = Mt5Broker.snapshot

    def otherwise(change: Callable[[VenuePosition], VenuePosition | None]) -> None:
        def listed(self: Mt5Broker, **words: Any) -> AccountSnapshot:
            shown = whole(self, **words)
            changed = tuple(each for each in map(change, shown.positions) if each is not None)
            return replace(shown, positions=changed, margin_used=Decimal(0))

        monkeypatch.setattr(Mt5Broker, "snapshot", listed)

    return otherwise


def nothing(held: VenuePosition) -> None:
    """List no position."""
    assert held


def loss(order: TradeLedger) -> dict[str, Any]:
    """Return how an order was held against the day's loss."""
    found: dict[str, Any] = next(each for each in order.checks if each["name"] == "DAILY_LOSS")
    return found


@pytest.mark.parametrize("is_listed", [False, True])
def test_what_somebody_else_has_added_counts_while_the_list_is_from_before_it(
    place, request, settings, shows, is_listed
):
    """Our order of the same seconds counts for its own part alone; and nobody knows the stop of the whole by now."""
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    first, paper = place("0.01", "1.0840"), request.node.paper
    paper.control.manual_trade(paper.login, "EURUSD", mt5.ORDER_TYPE_BUY, "1", sl="1.0700")
    watch.look(account_id=first.account_id, at=now())
    small = {"quantity": Decimal("0.01"), "stop_loss": Decimal("1.0840")}

    shows(lambda held: replace(held, **small) if is_listed else None)

    # 5 % of 1.08490 on 100,000 units.
    assert Decimal(loss(place("20", "1.0840"))["used"]) >= Decimal("5424.50")


def test_a_stop_that_an_order_has_brought_counts_where_its_position_is_not_listed(place, settings, shows, monkeypatch):
    monkeypatch.setattr(facts, "LISTED_WITHIN", timedelta())
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    place(*HELD)
    place(*FAR)
    whole = loss(place("20", "1.0840"))["used"]

    shows(nothing)

    assert Decimal(whole) > Decimal("1771.25")
    assert loss(place("20", "1.0840"))["used"] == whole


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_position_that_was_turned_has_no_stop_of_its_other_side(
    place, request, settings, shows, is_ours, monkeypatch
):
    """Below the market the stop of what was long bounds nothing of what is short."""
    monkeypatch.setattr(facts, "LISTED_WITHIN", timedelta())
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    first, paper = place(*HELD), request.node.paper
    shows(nothing)
    if is_ours:
        place("1", "1.1000", Side.SELL)
    else:
        paper.control.manual_trade(paper.login, "EURUSD", mt5.ORDER_TYPE_SELL, "1", sl="1.1000")
        watch.look(account_id=first.account_id, at=now())

    held, check = BrokerPosition.objects.get(), loss(place("20", "1.0840"))

    assert (held.quantity, held.stop_loss) == (Decimal("-0.5"), Decimal("1.1") if is_ours else None)
    # 1.1000 may fill at 1.10055: 0.01555 from 1.08500 on 50,000 units.
    assert Decimal(check["used"]) >= Decimal("777.50") if is_ours else check["reason"] == "OPEN_RISK_NOT_BOUNDED"


def test_new_terms_of_a_waiting_order_count_while_the_terminal_lists_the_old_ones(place, request, settings):
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    first, paper = place("0.01", "1.0830", waits_at="1.0840"), request.node.paper
    paper.control.inject("orders_delay", seconds=9, times=None)

    def change(**wanted: str) -> str:
        prices = {name: Decimal(price) for name, price in wanted.items()}
        return terms.change(user=first.user, order_id=first.pk, terms=prices, reason="", at=now()).state

    assert change(stop_loss="1.0500") == "DONE"
    watch.look(account_id=first.account_id, at=now())
    order = place(*HELD)
    paper.control.calm()  # what was late stays so
    paper.control.inject("timeout_before_accept")
    assert change(stop_loss="1.0830") == "UNKNOWN"
    lost = first.changes.latest("pk")
    terms.resolve(change_id=lost.pk)
    lost.refresh_from_db()
    assert lost.state == "UNKNOWN"  # it is listed as before both
    lost.delete()
    paper.control.inject("orders_delay", seconds=9, times=None)
    assert change(take_profit="1.1000") == "DONE"

    first.refresh_from_db()
    (working,) = paper.truth()["working"]
    assert (first.stop_loss, working["sl"], working["tp"]) == (Decimal("1.05"), 105000, 110000)
    assert not Alert.objects.filter(kind="TERMS_MOVED").exists()
    assert order.restopped == BESIDE


def test_two_trades_that_end_where_they_began_hide_no_stop_of_the_first(place, request, settings):
    """The list is from before both, and shows as many lots as there are: with the stop that the first has replaced."""
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    held, paper = place(*HELD), request.node.paper
    paper.control.inject("positions_delay", seconds=9, times=None)
    place(*FAR)
    position = BrokerPosition.objects.get()
    closes.close(user=held.user, position=position, quantity=Decimal(FAR[0]), key=key(position), at=now())
    assert BrokerPosition.objects.get().quantity == Decimal("0.5")

    order = place("0.01", "1.0840")

    assert Decimal(loss(order)["used"]) >= Decimal("1771.25")


def test_somebody_else_s_two_trades_that_end_where_they_began_leave_a_stop_that_nobody_knows(place, request, settings):
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    held, paper = place(*HELD), request.node.paper
    paper.control.inject("positions_delay", seconds=9, times=None)
    paper.control.manual_trade(paper.login, "EURUSD", mt5.ORDER_TYPE_BUY, "0.01", sl="1.0500")
    paper.control.manual_trade(paper.login, "EURUSD", mt5.ORDER_TYPE_SELL, "0.01")
    watch.look(account_id=held.account_id, at=now())

    assert loss(place("0.01", "1.0840"))["reason"] == "OPEN_RISK_NOT_BOUNDED"


def test_fills_are_asked_for_only_where_a_list_shows_another_stop_than_they_have_brought(place, monkeypatch):
    """It is a round trip more: most orders in an instrument bring the stop that is there."""
    asked: list[datetime] = []

    def newest(_accounts: list[int], *, since: datetime) -> list[unlisted.Newest]:
        asked.append(since)
        return []

    monkeypatch.setattr(unlisted, "newest", newest)
    place(*HELD)
    place("0.01", HELD[1])
    place("0.01", "1.0839")
    assert asked == []

    place("0.01", "1.0840")
    assert len(asked) == 1


def test_a_stop_is_not_widened_as_if_it_were_tightened_while_the_list_is_from_before_an_order(place, request, settings):
    """The order has brought a nearer one to the whole: beside that what is asked for is wider."""
    settings.DAILY_LOSS_LIMIT = Decimal(3000)
    held, paper = place("0.5", "1.0500"), request.node.paper
    paper.control.inject("positions_delay", seconds=9, times=None)
    place("0.01", "1.0840")
    stop(scope=ControlScope.ACCOUNT, key=str(held.account_id))

    with pytest.raises(changes.ChangeRefused, match="tighter"):
        changes.change_stops(
            position_id=BrokerPosition.objects.get().pk, stops={"stop_loss": Decimal("1.0600")},
            actor=Actor.system("t"), reason="", at=now(),
        )  # fmt: skip

    (position,) = paper.truth()["positions"]
    assert position["sl"] == 108400


@pytest.mark.parametrize("place", ["hedging"], indirect=True)
@pytest.mark.parametrize("fault", [None, "timeout_after_accept"])
@pytest.mark.parametrize("asked", ["EURUSD", "XAUUSD"])
def test_what_floats_for_an_order_that_is_not_listed_yet_hides_no_loss(place, request, settings, fault, asked):
    """Its profit stands in the equity, and may be gone before its own stop is hit; whatever is asked for next."""
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    sold, paper = place("0.5", "1.1000", Side.SELL), request.node.paper
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=9000)
    if fault:
        paper.control.inject(fault)
    place(*HELD)
    paper.quote("EURUSD", "1.09490", "1.09500")
    paper.quote("XAUUSD", "2400.00", "2400.20")

    found = headroom.read(user=sold.user, account=sold.account, symbol=asked, at=now())
    used = next(each.used for each in found.checks if each.name == "DAILY_LOSS")

    # Sold at 1.08490, lost by 1.10055: 782.50. Bought at 1.08500, lost by 1.083458: 77.10.
    assert used is not None
    assert used >= Decimal("859.60")


@pytest.mark.parametrize("place", ["hedging"], indirect=True)
@pytest.mark.parametrize("has_tick", [True, False])
@pytest.mark.parametrize("is_waiting", [False, True])
def test_nobody_knows_what_floats_where_there_is_no_price(place, request, settings, monkeypatch, has_tick, is_waiting):
    """Of what waits nothing floats; and what only closes needs no such price."""
    settings.DAILY_LOSS_LIMIT = Decimal(5000)
    paper = request.node.paper
    paper.quote("XAUUSD", "2400.00", "2400.20")
    place("0.01", "1.0800")
    held = BrokerPosition.objects.get()
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=9000)
    if not is_waiting:
        paper.control.inject("timeout_after_accept")
    own = place("0.01", "1.0700", waits_at="1.0800" if is_waiting else None)
    TradeLedger.objects.filter(pk=own.pk).update(symbol="XAUUSD")
    instruments.get(account=own.account, broker=accounts.broker_of(own.account), symbol="XAUUSD", at=now())
    module = paper.desk._hands.module
    tick = module.symbol_info_tick

    def unpriced(name: str) -> Any:
        shown = tick(name)
        gone = {**shown._asdict(), "bid": 0.0, "ask": 0.0}
        return type(shown)(gone.values()) if name == "XAUUSD" and not has_tick else shown

    monkeypatch.setattr(module, "symbol_info_tick", unpriced)

    found = headroom.read(user=own.user, account=own.account, symbol="EURUSD", at=now())
    check = next(each for each in found.checks if each.name == "DAILY_LOSS")
    monkeypatch.setattr(module, "symbol_info_tick", lambda name: tick(name) if name != "XAUUSD" else 1 / 0)
    change = changes.change_stops(
        position_id=held.pk, stops={"stop_loss": Decimal("1.0810")}, actor=Actor.system("t"), reason="", at=now()
    )
    assert change.state == "DONE"
    closed = closes.close(user=own.user, position=held, quantity=None, key=key(held), at=now()).order
    TradeLedger.objects.filter(pk=own.pk).update(symbol="EURUSD")

    assert check.passed is (has_tick or is_waiting), check
    assert check.passed or check.reason == "QUOTE_MISSING"
    assert closed.status == "FILLED"


@pytest.mark.parametrize("place", ["hedging", "netting"], indirect=True)
@pytest.mark.parametrize("fault", [None, "timeout_after_accept"])
def test_a_stop_that_may_be_gone_counts_as_gone_wherever_the_price_has_come(place, request, settings, fault):
    """The list shows it still, and it takes the less from there, the nearer the price is to it."""
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    first, paper = place("0.5", "1.0400"), request.node.paper
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=9000)
    paper.quote("EURUSD", "1.08490", "1.08500")
    if fault:
        paper.control.inject(fault)
    changes.change_stops(
        position_id=BrokerPosition.objects.get().pk, stops={"stop_loss": None}, actor=Actor.system("t"), reason="",
        at=now(),
    )  # fmt: skip
    paper.quote("EURUSD", "1.05000", "1.05010")

    found = headroom.read(user=first.user, account=first.account, symbol="EURUSD", at=now())
    used = next(each.used for each in found.checks if each.name == "DAILY_LOSS")

    # Bought at 1.08500: 1750 are lost, and 5 % of 1.05000 on 50,000 units are to lose.
    assert used is not None
    assert Decimal("4375.00") <= used < Decimal("4376.00")


@pytest.mark.parametrize(("side", "is_missed"), [(Side.BUY, False), (Side.SELL, True)])
def test_a_position_lacks_what_the_newest_order_that_added_to_it_has_asked_for(
    place, request, settings, side, is_missed
):
    """Whichever order adds last sets the stop of the whole, and one without a stop takes it away: nobody's mishap."""
    settings.UNSTOPPED_MOVE, settings.DAILY_LOSS_LIMIT = Decimal("0.05"), Decimal(10_000)
    paper = request.node.paper
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=1000)
    if is_missed:
        paper.control.inject("stops_dropped")
    first = place("0.1", "1.0800")
    place("0.01", None, side)
    (position,) = paper.truth()["positions"]
    assert (position["sl"], BrokerPosition.objects.get().stops_unseen) == (0, True)
    time.sleep(1)

    watch.look(account_id=first.account_id, at=now())

    assert Alert.objects.filter(kind="STOPS_MISSING").exists() is is_missed
    assert BrokerPosition.objects.get().stop_loss == (Decimal("1.08") if is_missed else None)
