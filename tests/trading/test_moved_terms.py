"""What somebody moves by hand at the terminal is counted anew, kept, and people are told where it may cost more."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from risk.models import RiskAdjustment
from tests.fakes.paper import LOGIN
from tests.stops import stop
from tests.trading.conftest import brief
from tests.trading.desk import LIMIT, MARKET, act, place, position_of
from tests.trading.test_exposure import daily_loss
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BrokerPosition, ChangeRequest, TradeLedger
from trading.services import changes, facts, watch

# R = (1.08400 − 1.07900·0.9995)·1000 + 0.07 of fees, rounded up.
R = "5.61"


@pytest.fixture
def working(client, paper) -> int:
    """A working order, and its ticket."""
    place(client, LIMIT)
    (order,) = paper.truth()["working"]
    ticket: int = order["ticket"]
    return ticket


def move(paper: Any, ticket: int, **terms: str) -> None:
    """Move a working order by hand; what is not named stays."""
    usual = {"price": "1.08400", "sl": "1.07900", "tp": "1.09000"}
    paper.control.manual_modify(paper.login, ticket, **(usual | terms))


def test_a_working_order_as_it_was_accepted_counts_its_r(client, working):
    assert daily_loss(client)["used"] == R


@pytest.mark.parametrize(
    ("terms", "used"),
    [
        ({"sl": "1.06000"}, "24.6"),  # 1.08400 − 1.06000·0.9995 = 0.02453 on a thousand, and the fees
        ({"sl": "1.08000"}, R),  # tighter: no less than R
        ({"price": "1.08450", "sl": "1.07900"}, "6.11"),
        ({"price": "1.08300"}, R),
    ],
)
def test_a_working_order_moved_by_hand_counts_the_worse_of_both(client, paper, working, terms, used):
    move(paper, working, **terms)

    assert daily_loss(client)["used"] == used


def test_a_change_that_is_refused_leaves_what_was_moved_by_hand_counted(client, paper, account, working):
    move(paper, working, sl="1.06000")
    paper.control.inject("retcode", retcode=mt5.TRADE_RETCODE_INVALID)

    path = f"/trading/orders/{TradeLedger.objects.get().public_id}"
    assert act(client, path, {"take_profit": "1.09500"}, method="patch").json()["state"] == "REFUSED"

    assert daily_loss(client)["used"] == "24.6"
    watch.look(account_id=account.pk, at=now())
    assert TradeLedger.objects.earliest("pk").risk == Decimal("24.6")


def test_a_working_order_whose_stop_was_taken_away_has_no_bound(client, paper, working):
    move(paper, working, sl="0")

    assert daily_loss(client)["reason"] == "OPEN_RISK_NOT_BOUNDED"


def test_without_its_stop_the_configured_move_bounds_it(client, paper, working, settings):
    settings.UNSTOPPED_MOVE = Decimal("0.1")
    move(paper, working, sl="0")

    assert daily_loss(client)["used"] == "108.47"  # a tenth of 1,084 USD, and the fees


def look(account: Any) -> list[tuple[Decimal | None, Decimal | None]]:
    """Look at the account twice, and return what is kept of changed risks: the second look finds nothing new."""
    watch.look(account_id=account.pk, at=now())
    found = list(RiskAdjustment.objects.order_by("pk").values_list("before", "after"))
    watch.look(account_id=account.pk, at=now())
    assert RiskAdjustment.objects.count() == len(found)
    return found


def told() -> list[str]:
    return list(Alert.objects.filter(kind="TERMS_MOVED").order_by("pk").values_list("text", flat=True))


@pytest.fixture
def held(client, paper) -> int:
    """A position of 0.03 lots with a stop at 1.0800, and its ticket."""
    place(client, MARKET)
    (position,) = paper.truth()["positions"]
    ticket: int = position["ticket"]
    return ticket


def test_a_stop_widened_by_hand_is_kept_with_what_it_did_to_the_risk_and_told(paper, account, held, new_events):
    paper.control.manual_modify(paper.login, held, sl="1.0600")

    # 3,000 units from 1.08490 to 1.0800·0.9995 and to 1.0600·0.9995
    assert look(account) == [(Decimal("16.32"), Decimal("76.29"))]
    assert BrokerPosition.objects.get().stop_loss == Decimal("1.06")
    (text,) = told()
    assert "somebody has moved the position BUY 0.03 EURUSD" in text
    assert "76.29 USD from here; as it stood, 16.32." in text
    (event,) = (each for each in new_events() if each.action == "position.stops_moved")
    assert event.actor_id == "terminal"


def test_a_stop_tightened_by_hand_is_kept_and_nobody_woken(paper, account, held):
    paper.control.manual_modify(paper.login, held, sl="1.0830")

    assert look(account) == [(Decimal("16.32"), Decimal("7.33"))]
    assert told() == []


def test_a_stop_taken_away_by_hand_counts_all_that_it_could_lose(paper, account, held):
    paper.control.manual_modify(paper.login, held)

    assert look(account) == [(Decimal("16.32"), Decimal("3254.70"))]
    assert len(told()) == 1


def test_what_a_request_of_ours_is_changing_is_left_to_it(client, paper, account, held):
    paper.control.inject("timeout_after_accept")
    path = f"/trading/positions/{position_of(client)['id']}"
    assert act(client, path, {"stop_loss": "1.0700"}, method="patch").json()["state"] == "UNKNOWN"

    watch.look(account_id=account.pk, at=now())
    assert not RiskAdjustment.objects.exists()
    changes.resolve(change_id=ChangeRequest.objects.get().pk, at=now())

    assert RiskAdjustment.objects.get().kind == "STOP_CHANGE"
    assert len(look(account)) == 1
    assert told() == []


@pytest.fixture
def late(client, paper, held) -> Any:
    """Set stops of the position, on a terminal that lists what was set only seconds later."""
    paper.control.inject("positions_delay", seconds=9, times=None)
    path = f"/trading/positions/{position_of(client)['id']}"
    return lambda **stops: act(client, path, stops, method="patch")


def test_a_wider_stop_counts_while_the_terminal_lists_the_old_one(client, late):
    assert late(stop_loss="1.0600").json()["state"] == "DONE"

    # 0.30 of the spread; 3,000 units from 1.08490 to 1.0600·0.9995
    assert daily_loss(client)["used"] == "76.59"


def test_a_stop_listed_late_was_moved_by_nobody(paper, account, late):
    assert late(stop_loss="1.0840").json()["state"] == "DONE"

    watch.look(account_id=account.pk, at=now())

    assert (BrokerPosition.objects.get().stop_loss, told()) == (Decimal("1.084"), [])


def test_a_stop_is_not_wider_than_one_that_is_listed_no_more(paper, late, account):
    """Wider than the one that was just set, it is no nearer for what the list still shows."""
    assert late(stop_loss="1.0700").json()["state"] == "DONE"
    assert late(stop_loss="1.0840").json()["state"] == "DONE"
    stop()

    wider = late(stop_loss="1.0830")

    assert (wider.status_code, wider.json()["code"]) == (422, "change_refused")
    assert late(stop_loss="1.0845").json()["state"] == "DONE"
    assert paper.truth()["positions"][0]["sl"] == 108450


def test_a_lost_change_back_is_not_proven_by_a_list_from_before_both(client, paper, account, late):
    assert late(stop_loss="1.0700").json()["state"] == "DONE"
    paper.control.calm()  # what was late stays so
    paper.control.inject("timeout_before_accept")
    assert late(stop_loss="1.0800").json()["state"] == "UNKNOWN"

    changes.resolve(change_id=ChangeRequest.objects.latest("pk").pk, at=now())

    assert ChangeRequest.objects.latest("pk").state == "UNKNOWN"
    # 0.30 of the spread, 16.32 that the list shows, and what the wider stop has added
    assert daily_loss(client)["used"] == "46.61"


def test_a_target_leaves_the_stop_that_was_set_before_it_as_it_is(paper, late):
    """Both are sent, and the one that is not named is the newest that is known, not the one that is still listed."""
    assert late(stop_loss="1.0840").json()["state"] == "DONE"
    assert late(take_profit="1.1000").json()["state"] == "DONE"

    (position,) = paper.truth()["positions"]
    assert (position["sl"], position["tp"]) == (108400, 110000)


def test_somebody_else_s_position_with_its_first_stop_is_no_move(paper, account, held):
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.1", sl="1.0900")

    assert look(account) == []
    assert BrokerPosition.objects.get(quantity__lt=0).stop_loss == Decimal("1.09")


def test_a_position_that_is_being_given_its_stops_is_no_move(execute, paper, account):
    paper.control.inject("stops_dropped")
    execute(brief(quantity=Decimal("0.01")))

    assert look(account) == []
    assert told() == []


def test_a_working_order_moved_by_hand_reserves_the_worse_of_both_and_keeps_where_it_stands(paper, account, working):
    move(paper, working, price="1.08300", sl="1.06000")

    # R at 1.08400 and 1.07900; from 1.08300 to 1.06000·0.9995 on a thousand units, and the fees
    assert look(account) == [(Decimal(R), Decimal("23.60"))]
    order = TradeLedger.objects.get()
    assert (order.risk, order.reserved) == (Decimal("23.60"), Decimal("23.60"))
    assert (order.limit_price, order.stop_loss) == (Decimal("1.083"), Decimal("1.06"))
    assert "somebody has moved the order N" in told()[0]


def test_a_stop_limit_whose_trigger_was_touched_was_moved_by_nobody(client, paper, account):
    order = place(client, LIMIT | {"type": "STOP_LIMIT", "stop_price": "1.08600", "limit_price": "1.08550"})
    assert order["status"] == "PENDING", order
    paper.quote("EURUSD", "1.08595", "1.08605")
    (working,) = paper.truth()["working"]
    assert working["price"] == 108550

    used = daily_loss(client)["used"]

    assert (used, look(account), told()) == (order["reserved"], [], [])


def test_a_working_order_moved_nearer_keeps_its_r_and_nobody_is_woken(paper, account, working):
    move(paper, working, price="1.08300", sl="1.07950")

    assert look(account) == []
    order = TradeLedger.objects.get()
    assert (order.risk, order.limit_price, order.stop_loss) == (Decimal(R), Decimal("1.083"), Decimal("1.0795"))
    assert told() == []


def test_a_working_order_without_its_stop_reserves_all_of_it_and_still_wants_its_stop(paper, account, working):
    move(paper, working, sl="0")

    assert look(account) == [(Decimal(R), Decimal("1084.07"))]
    assert TradeLedger.objects.get().stop_loss == Decimal("1.079")
    assert len(told()) == 1


def test_a_stop_that_is_moved_further_still_is_told_anew(paper, account, held):
    paper.control.manual_modify(paper.login, held, sl="1.0790")
    watch.look(account_id=account.pk, at=now())
    paper.control.manual_modify(paper.login, held, sl="0")
    watch.look(account_id=account.pk, at=now())
    watch.look(account_id=account.pk, at=now())

    assert len(told()) == 2
    (standing,) = Alert.objects.filter(kind="TERMS_MOVED", closed_at__isnull=True)
    assert (standing.seen_count, standing.text) == (1, told()[1])


def test_a_stop_moved_back_by_hand_to_where_its_order_had_it_is_told(client, paper, account, monkeypatch):
    """It was tightened since: that the order has brought it once says nothing of who has set it now."""
    place(client, MARKET)
    act(client, f"/trading/positions/{position_of(client)['id']}", {"stop_loss": "1.0830"}, method="patch")
    monkeypatch.setattr(facts, "LISTED_WITHIN", timedelta(0))  # as if that were long ago
    watch.look(account_id=account.pk, at=now())
    (held,) = paper.truth()["positions"]
    paper.control.manual_modify(LOGIN, held["ticket"], sl=MARKET["stop_loss"])

    watch.look(account_id=account.pk, at=now())

    assert len(told()) == 1
    assert BrokerPosition.objects.get().stop_loss == Decimal(MARKET["stop_loss"])
