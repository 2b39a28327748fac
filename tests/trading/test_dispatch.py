"""An order that waited is sent only into the market that it was judged by."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from accounts.models import User
from nexus.audit.types import Actor
from risk.states import LimitKind
from tests.client import ApiClient
from tests.trading.conftest import limit
from tests.trading.desk import LIMIT, MARKET, place
from trading.models import TradeLedger, TradingAccount
from trading.services import cancels, dispatch, facts, headroom, instruments


def accepted(client: ApiClient, body: dict[str, Any]) -> TradeLedger:
    """Leave an order to the worker."""
    return TradeLedger.objects.get(public_id=place(client, body, prefer="respond-async")["id"])


def send(order: TradeLedger) -> TradeLedger:
    """Be the worker once."""
    dispatch.dispatch(order_id=order.pk, at=now())
    order.refresh_from_db()
    return order


@pytest.mark.parametrize(
    ("body", "bid", "ask"),
    [(MARKET, "1.08512", "1.08523"), (MARKET | {"action": "SELL", "stop_loss": "1.0900"}, "1.08467", "1.08490")],
)
def test_a_price_that_has_left_the_collar_since_is_rejected_by_us(client, paper, body, bid, ask):
    order = accepted(client, body)  # judged at 1.08490 / 1.08500, with 0.00022 to either side
    paper.quote("EURUSD", bid, ask)

    send(order)

    assert (order.status, order.rejected_by, order.reason) == ("REJECTED", "LOCAL", "PRICE_OUTSIDE_COLLAR")
    assert (order.attempts, order.reserved, paper.deals()) == (0, 0, [])


def test_a_price_inside_the_collar_is_taken_and_slippage_counts_from_the_judgement(client, paper):
    order = accepted(client, MARKET)
    paper.quote("EURUSD", "1.08510", "1.08520")

    send(order)

    assert (order.status, order.average_price) == ("FILLED", Decimal("1.0852"))
    assert (order.reference_bid, order.reference_ask) == (Decimal("1.0849"), Decimal("1.085"))
    assert (order.fills.get().slippage or 0) > 0


@pytest.mark.parametrize("body", [MARKET, LIMIT])
@pytest.mark.parametrize(
    ("bid", "ask", "reason"),
    [("1.07000", "1.08500", "SPREAD_EXCEEDS_LIMIT"), ("0.90000", "0.90010", "QUOTE_JUMPED")],
)
def test_a_price_that_cannot_be_trusted_sends_nothing(client, paper, body, bid, ask, reason):
    order = accepted(client, body)
    paper.quote("EURUSD", bid, ask)

    send(order)

    assert (order.status, order.rejected_by, order.reason) == ("REJECTED", "LOCAL", reason)
    assert (paper.deals(), paper.truth()["working"]) == ([], [])


def test_an_order_waits_while_its_instrument_cannot_be_asked_for(client, paper, monkeypatch):
    order = accepted(client, MARKET)
    monkeypatch.setattr(instruments, "KEPT", instruments.KEPT * 0)
    paper.control.inject("server_disconnect", seconds=0)

    assert send(order).delivery == "QUEUED"


@pytest.mark.parametrize(
    ("put", "reason"),
    [
        (lambda account: User.objects.filter(pk=account.user_id).update(is_active=False), "USER_NOT_ACTIVE"),
        (lambda account: TradingAccount.objects.filter(pk=account.pk).update(is_active=False), "ACCOUNT_NOT_USABLE"),
    ],
)
def test_what_waits_is_not_sent_for_a_user_or_an_account_that_was_switched_off_meanwhile(
    client, paper, account, put, reason
):
    order = accepted(client, MARKET)
    put(account)

    send(order)

    assert (order.status, order.rejected_by, order.reason) == ("REJECTED", "LOCAL", reason)
    assert (order.attempts, order.reserved, paper.deals()) == (0, 0, [])


@pytest.mark.parametrize("body", [MARKET, LIMIT])
def test_what_waits_is_not_sent_once_another_order_on_the_instrument_is_lost(client, paper, body):
    lost, waiting = accepted(client, MARKET), accepted(client, body | {"quantity": "0.02"})
    paper.control.inject("timeout_after_accept")
    assert send(lost).delivery == "UNKNOWN"

    send(waiting)

    assert (waiting.rejected_by, waiting.reason) == ("LOCAL", "UNKNOWN_ORDER_ON_INSTRUMENT")
    assert (waiting.attempts, waiting.reserved) == (0, 0)
    assert len(paper.truth()["requests"]) == 1


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (LimitKind.DAILY_LOSS, "10", "DAILY_LOSS_EXCEEDS_LIMIT"),  # it has reserved 15 USD and more
        (LimitKind.DAILY_VALUE, "3000", "DAILY_VALUE_EXCEEDS_LIMIT"),
        (LimitKind.DAILY_QUANTITY, "0.02", "DAILY_QUANTITY_EXCEEDS_LIMIT"),
        (LimitKind.POSITION_SIZE, "2999", "POSITION_SIZE_EXCEEDS_LIMIT"),
        (LimitKind.ORDER_QUANTITY_MAX, "0.02", "ORDER_QUANTITY_MAX_EXCEEDS_LIMIT"),
        (LimitKind.TRADE_VALUE_MAX, "3000", "TRADE_VALUE_MAX_EXCEEDS_LIMIT"),
        (LimitKind.TRADE_VALUE_MIN, "4000", "TRADE_VALUE_BELOW_MINIMUM"),
    ],
)
def test_what_waits_is_held_by_a_limit_that_was_lowered_meanwhile(client, paper, trader, kind, value, reason):
    order = accepted(client, MARKET)
    limit(kind, value, user=trader)

    send(order)

    assert (order.status, order.rejected_by, order.reason) == ("REJECTED", "LOCAL", reason)
    assert (order.attempts, order.reserved, paper.deals()) == (0, 0, [])
    shown = order.events.get(to="REJECTED/DONE").evidence  # why, beside the checks that it was admitted by
    assert (shown["name"], shown["reason"], Decimal(shown["limit"])) == (kind, reason, Decimal(value))


def test_a_price_that_waits_is_held_by_a_collar_that_was_tightened_meanwhile(client, paper, trader):
    order = accepted(client, LIMIT)  # 0.0009 of the price below it
    limit(LimitKind.PRICE_COLLAR, "0.0005", user=trader)

    assert send(order).reason == "PRICE_OUTSIDE_COLLAR"


def test_a_lowered_limit_with_room_for_what_waits_lets_it_pass(client, paper, trader):
    order = accepted(client, MARKET)
    for kind, value in [
        (LimitKind.DAILY_LOSS, "20"), (LimitKind.POSITION_SIZE, "3000"), (LimitKind.POSITION_COUNT, "1"),
        (LimitKind.ORDERS_PER_DAY, "1"), (LimitKind.ORDERS_PER_HOUR, "1"), (LimitKind.ORDERS_PER_SECOND, "1"),
    ]:  # fmt: skip
        limit(kind, value, user=trader)

    assert send(order).status == "FILLED"


def test_a_lowered_limit_counts_what_was_sent_before_an_order_that_was_accepted_first(client, paper, trader):
    first = accepted(client, MARKET)
    place(client, MARKET | {"quantity": "0.04"})
    limit(LimitKind.DAILY_LOSS, "30", user=trader)  # room for the first alone, and not for both

    assert send(first).reason == "DAILY_LOSS_EXCEEDS_LIMIT"


ROOM_FOR_ONE = [
    (LimitKind.DAILY_LOSS, "20"), (LimitKind.DAILY_VALUE, "4000"), (LimitKind.DAILY_QUANTITY, "0.03"),
    (LimitKind.POSITION_SIZE, "3000"), (LimitKind.POSITION_COUNT, "1"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), ROOM_FOR_ONE)
def test_of_two_that_wait_and_have_no_room_together_the_first_is_sent(client, paper, trader, kind, value):
    first, second = accepted(client, MARKET), accepted(client, MARKET)
    limit(kind, value, user=trader)

    assert send(first).status == "FILLED"
    assert send(second).reason == f"{kind}_EXCEEDS_LIMIT"


@pytest.mark.parametrize(("kind", "value"), ROOM_FOR_ONE)
def test_of_two_that_are_judged_at_once_the_first_is_sent(client, paper, trader, monkeypatch, kind, value):
    """Each before the other is over: the second counts the first, and is not counted by it."""
    first, second = accepted(client, MARKET), accepted(client, MARKET)
    limit(kind, value, user=trader)
    judged = headroom.read

    def meanwhile(**given):
        found = judged(**given)
        monkeypatch.undo()
        send(second)
        return found

    monkeypatch.setattr(headroom, "read", meanwhile)

    assert send(first).delivery == "QUEUED"  # what it has read may have the second in it, or not
    second.refresh_from_db()
    assert second.reason == f"{kind}_EXCEEDS_LIMIT"
    assert send(first).status == "FILLED"


def test_what_waits_for_the_other_side_or_for_something_else_leaves_no_room_in_a_position(client, paper, trader):
    first = accepted(client, MARKET)
    accepted(client, MARKET | {"action": "SELL", "stop_loss": "1.0900"})
    limit(LimitKind.POSITION_SIZE, "2999", user=trader)

    assert send(first).reason == "POSITION_SIZE_EXCEEDS_LIMIT"


def test_what_is_given_up_while_what_waits_is_judged_leaves_no_room_twice(client, paper, trader, monkeypatch):
    """Canceled before the reading, and listed before that: it is in neither, and must not be taken off."""
    first, second = accepted(client, MARKET), accepted(client, MARKET)
    place(client, MARKET)
    limit(LimitKind.DAILY_QUANTITY, "0.05", user=trader)
    judged = headroom.read

    def canceled_before(**given):
        monkeypatch.undo()
        cancels.request(order_id=second.pk, actor=Actor.system("t"), reason="", at=now())
        return judged(**given)

    monkeypatch.setattr(headroom, "read", canceled_before)

    assert send(first).delivery == "QUEUED"
    assert send(first).reason == "DAILY_QUANTITY_EXCEEDS_LIMIT"


def test_what_waits_stays_while_nobody_can_tell_what_a_lowered_limit_leaves(client, paper, trader, monkeypatch):
    order = accepted(client, MARKET)
    limit(LimitKind.DAILY_LOSS, "900", user=trader)
    monkeypatch.setattr(facts, "read", lambda **_: facts.Missing("BROKER_UNAVAILABLE", "A test."))

    assert send(order).delivery == "QUEUED"


def test_whatever_waits_was_judged_by_every_limit_there_is_with_a_figure(client, paper):
    checks = {each["name"]: each for each in accepted(client, MARKET).checks}

    for kind in LimitKind:
        assert None not in (checks[kind]["limit"], checks[kind]["asked"]), kind


@pytest.mark.parametrize("kind", sorted(set(LimitKind) - {LimitKind.ORDERS_PER_SECOND}))
def test_what_was_never_held_against_a_limit_is_not_sent_and_its_age_ends_it(client, paper, trader, kind):
    """As one that a server of an older version has admitted, which knew of no such limit."""
    order = accepted(client, MARKET)
    TradeLedger.objects.filter(pk=order.pk).update(checks=[each for each in order.checks if each["name"] != kind])
    if kind is LimitKind.ORDER_QUANTITY_MAX:  # the platform sets none
        limit(kind, "100", user=trader)

    assert send(order).delivery == "QUEUED"

    TradeLedger.objects.filter(pk=order.pk).update(created_at=now() - timedelta(seconds=6))
    assert (send(order).status, order.reason, order.reserved) == ("REJECTED", "INTENT_TOO_OLD", 0)
    assert paper.deals() == []


def test_a_limit_that_is_lowered_while_what_waits_is_judged_has_it_judged_again(client, paper, trader, monkeypatch):
    order = accepted(client, MARKET)
    limit(LimitKind.DAILY_LOSS, "900", user=trader)
    judged = headroom.read

    def lowered_after(**given):
        found = judged(**given)
        monkeypatch.undo()
        limit(LimitKind.DAILY_LOSS, "10", user=trader)
        return found

    monkeypatch.setattr(headroom, "read", lowered_after)

    assert send(order).reason == "DAILY_LOSS_EXCEEDS_LIMIT"
