"""A deal that may be a lost order without its mark is shown to people, and never taken for the order."""

import io
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.models import F
from django.utils.timezone import now

from accounts.states import Role
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.fakes.paper import LOGIN
from tests.trading.conftest import TESTER
from tests.trading.test_nowhere import search
from tests.trading.test_resolution import age, resolve, tick
from trading import selectors
from trading.api import forms
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import CashMovement, Fill, TradeLedger
from trading.services import accounts, comparison, corrections, facts, history, resolution, watch
from trading.services.corrections import Origin
from trading.states import CorrectionKind, Delivery


@pytest.fixture
def lost(execute, paper):
    """An order to buy 0.1 EURUSD that never arrived, as nobody knows."""
    paper.control.inject("timeout_before_accept")
    order: TradeLedger = execute()
    assert order.delivery == Delivery.UNKNOWN
    return order


def look(account):
    watch.look(account_id=account.pk, at=now())


def alike(order):
    return [fill.venue_fill_id for fill in selectors.look_alikes([order]).get(order.pk, [])]


def volume(order):
    return f"{order.quantity.normalize():f}"


def test_a_deal_like_the_lost_order_and_without_a_name_is_evidence_and_no_more(lost, paper, account):
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, volume(lost))
    look(account)

    (deal,) = alike(lost)
    assert deal == Fill.objects.get().venue_fill_id
    assert [fill.venue_fill_id for fill in history.of(lost).look_alikes] == [deal]
    said = io.StringIO()
    call_command("unknown_orders", "list", stdout=said)
    assert f"nobody's name on it: deal {deal}" in said.getvalue()

    tick(paper)
    for seconds in (100, 300):
        age(lost, seconds)
        resolve(lost)
    assert (lost.delivery, lost.filled_quantity, Fill.objects.get().order_id) == (Delivery.UNKNOWN, 0, None)


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.COMPLIANCE])
def test_those_who_see_every_order_read_its_look_alikes_by_the_api_and_its_owner_does_not(
    lost, paper, account, client, role
):
    path = f"/trading/ledger/{lost.public_id}"
    watching = ApiClient().login(UserFactory.create(role=role))
    assert watching.get(path).json()["look_alikes"] == []
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, volume(lost))
    look(account)

    shown = watching.get(path).json()

    (deal,) = shown["look_alikes"]
    assert (deal["id"], deal["side"], deal["quantity"]) == (alike(lost)[0], "BUY", shown["quantity"])
    assert shown["fills"] == []
    assert set(forms.OneOrderView(lost).data) | {"look_alikes"} == set(shown)
    assert client.get(path).json() == {name: value for name, value in shown.items() if name != "look_alikes"}


@pytest.mark.parametrize("other", ["side", "quantity", "symbol", "program", "earlier", "later"])
def test_a_deal_that_differs_is_not_taken_for_the_lost_order(lost, paper, account, other):
    side, much, symbol = mt5.ORDER_TYPE_BUY, volume(lost), "EURUSD"
    match other:
        case "side":
            side = mt5.ORDER_TYPE_SELL
        case "quantity":
            much = volume(TradeLedger(quantity=lost.quantity + Decimal("0.01")))
        case "symbol":
            symbol = "USDJPY"
            paper.quote("USDJPY", "150.000", "150.010")
    if other == "program":
        paper.control.foreign_program_trade(LOGIN, symbol, side, much)
    else:
        paper.control.manual_trade(LOGIN, symbol, side, much)
    look(account)
    assert Fill.objects.count() == 1
    away = {"earlier": 62, "later": -62}.get(other, 0)
    TradeLedger.objects.update(sent_at=F("sent_at") + timedelta(seconds=away))

    assert alike(TradeLedger.objects.get()) == []


def test_one_that_the_broker_dates_a_moment_before_the_sending_keeps_absence_from_being_proven(lost, paper, account):
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, volume(lost))
    look(account)
    TradeLedger.objects.update(sent_at=F("sent_at") + timedelta(seconds=30))
    lost.refresh_from_db()
    assert not selectors.unexplained_fills(lost).exists()

    with_two_searches = facts.database_clock() - timedelta(seconds=240)
    for seconds in (100, 200):
        asked_at = with_two_searches + timedelta(seconds=240 + 30 + seconds)
        resolution._note_absence(order_id=lost.pk, asked_at=asked_at, is_moved=False, at=now())

    lost.refresh_from_db()
    assert lost.delivery == Delivery.UNKNOWN


@pytest.mark.parametrize("kind", [CorrectionKind.AUTOMATIC, CorrectionKind.DECIDED])
def test_what_our_books_were_moved_to_without_a_deal_may_be_the_order(lost, paper, account, kind):
    """A position whose deal is not listed: once our books hold it nothing differs, and nothing is explained."""
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY, volume(lost))
    shown = accounts.broker_of(account).snapshot(symbols=[])
    (difference,) = comparison.differences(account, shown.positions, quiet_since=facts.database_clock())
    with transaction.atomic():
        corrections.restate(account, difference, origin=Origin(kind, "No deal explains it.", TESTER, "1"), at=now())

    for _ in range(8):
        tick(paper)
        search(lost)

    assert (lost.delivery, lost.reserved) == (Delivery.UNKNOWN, lost.risk)


def test_what_the_venue_s_own_clock_wrote_is_kept_with_fills_and_money(execute, paper, account):
    execute()
    paper.control.balance(LOGIN, "100", 2, "deposit")
    look(account)

    fill, money = Fill.objects.get(), CashMovement.objects.latest("pk")
    (deal,) = [deal for deal in paper.truth()["deals"] if deal["type"] == 0]
    assert fill.is_nameless is False
    for ms, offset_s, at in (
        (fill.venue_time_ms, fill.venue_offset_s, fill.filled_at),
        (money.venue_time_ms, money.venue_offset_s, money.moved_at),
    ):
        assert offset_s in (7200, 10800)
        assert ms == round(at.timestamp() * 1000) + 1000 * offset_s
    assert str(deal["ticket"]) == fill.venue_fill_id
