"""An order that waited is sent only into the market that it was judged by."""

from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from accounts.models import User
from tests.client import ApiClient
from tests.trading.desk import LIMIT, MARKET, place
from trading.models import TradeLedger, TradingAccount
from trading.services import dispatch, instruments


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
