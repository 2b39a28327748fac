"""New terms whose answer was lost, on an order that fills before anybody has found them."""

from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.core.errors import Refused
from risk.models import RiskAdjustment, UserDailyStats
from risk.states import AdjustmentKind
from tests.fakes.paper import LOGIN
from tests.trading.desk import LIMIT, act, ask_about_everything, place
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import BrokerPosition, ChangeRequest, TradeLedger
from trading.services import changes, terms, watch

FAR = LIMIT | {"limit_price": "1.08100", "stop_loss": "1.07500"}


def kinds() -> list[str]:
    rows = Alert.objects.filter(kind__in=("HIGH_SLIPPAGE", "TERMS_MOVED", "STOPS_MISSING"))
    return sorted(rows.values_list("kind", flat=True))


def test_a_fill_at_new_terms_is_no_slippage(client, paper, account, settings):
    settings.SLIPPAGE_THRESHOLD = Decimal("0.002")
    placed = place(client, FAR)
    paper.control.inject("timeout_after_accept")
    act(client, f"/trading/orders/{placed['id']}", {"limit_price": "1.08450"}, method="patch")
    paper.quote("EURUSD", "1.08430", "1.08440")
    watch.look(account_id=account.pk, at=now())
    for change_id in changes.due():
        terms.resolve(change_id=change_id)
    watch.look(account_id=account.pk, at=now())
    order = TradeLedger.objects.get(public_id=placed["id"])
    assert order.status == "FILLED"
    slippage = order.fills.get().slippage
    assert slippage is not None
    assert (slippage <= 0, kinds()) == (True, [])
    assert not RiskAdjustment.objects.filter(kind=AdjustmentKind.SLIPPAGE).exists()
    # At the old terms nothing would have filled.
    assert (ChangeRequest.objects.get().state, order.limit_price) == ("DONE", Decimal("1.08450"))


def test_of_an_order_that_fills_at_both_terms_nobody_knows_which_it_had(client, paper, account):
    placed = place(client, FAR)
    paper.control.inject("timeout_after_accept")
    act(client, f"/trading/orders/{placed['id']}", {"limit_price": "1.08200"}, method="patch")
    paper.quote("EURUSD", "1.08080", "1.08090")
    watch.look(account_id=account.pk, at=now())

    for change_id in changes.due():
        terms.resolve(change_id=change_id)

    order, change = TradeLedger.objects.get(public_id=placed["id"]), ChangeRequest.objects.get()
    assert (order.status, change.state, order.limit_price) == ("FILLED", "REFUSED", Decimal("1.08100"))
    assert change.answer == "The order has ended, and nobody knows whether it had the new terms by then."


def test_a_fill_that_new_terms_rule_out_says_that_they_never_came(client, paper, account):
    placed = place(client, FAR)
    paper.control.inject("timeout_before_accept")
    act(client, f"/trading/orders/{placed['id']}", {"limit_price": "1.08050"}, method="patch")
    paper.quote("EURUSD", "1.08070", "1.08080")
    watch.look(account_id=account.pk, at=now())

    for change_id in changes.due():
        terms.resolve(change_id=change_id)

    order, change = TradeLedger.objects.get(public_id=placed["id"]), ChangeRequest.objects.get()
    assert (order.status, change.state, order.limit_price) == ("FILLED", "REFUSED", Decimal("1.08100"))
    assert change.answer == "The order has filled at a price that the new terms rule out."


@pytest.mark.parametrize(
    ("fault", "asked", "stands"),
    [
        ("timeout_after_accept", "1.07000", "1.07000"),
        ("timeout_before_accept", "1.07000", "1.07500"),
        ("timeout_after_accept", "1.07800", "1.07800"),
        ("timeout_before_accept", "1.07800", "1.07500"),
    ],
)
def test_a_stop_of_an_order_with_either_terms_is_no_hand(client, paper, account, new_events, fault, asked, stands):
    placed = place(client, FAR)
    paper.control.inject(fault)
    act(client, f"/trading/orders/{placed['id']}", {"stop_loss": asked}, method="patch")
    paper.quote("EURUSD", "1.08080", "1.08090")
    watch.look(account_id=account.pk, at=now())
    for change_id in changes.due():
        terms.resolve(change_id=change_id)
    watch.look(account_id=account.pk, at=now())

    assert TradeLedger.objects.get(public_id=placed["id"]).status == "FILLED"
    assert BrokerPosition.objects.get().stop_loss == Decimal(stands)
    assert kinds() == []
    assert not RiskAdjustment.objects.filter(kind=AdjustmentKind.EXTERNAL).exists()
    assert "position.stops_moved" not in {event.action for event in new_events()}


def test_a_stop_moved_by_hand_to_where_old_terms_had_it_is_told(client, paper, account):
    placed = place(client, FAR)
    act(client, f"/trading/orders/{placed['id']}", {"stop_loss": "1.07800"}, method="patch")
    paper.quote("EURUSD", "1.08080", "1.08090")
    for _ in range(2):
        watch.look(account_id=account.pk, at=now())
    (held,) = paper.truth()["positions"]
    paper.control.manual_modify(LOGIN, held["ticket"], sl="1.07500", tp="1.09000")

    watch.look(account_id=account.pk, at=now())

    assert (kinds(), BrokerPosition.objects.get().stop_loss) == (["TERMS_MOVED"], Decimal("1.07500"))


@pytest.mark.parametrize("is_over", [False, True], ids=["before its end", "after its end"])
@pytest.mark.parametrize("is_done", [False, True], ids=["refused", "done"])
def test_an_answer_that_comes_after_the_end_of_its_order_has_the_same_consequences(
    client, paper, account, monkeypatch, is_done, is_over
):
    """What was held for the worse of both terms is given back to the day, and no stop stands that never did."""
    placed = place(client, FAR)
    before = TradeLedger.objects.get()

    def end() -> None:
        (working,) = paper.truth()["working"]
        paper.control.manual_cancel(LOGIN, working["ticket"])
        ask_about_everything()
        assert TradeLedger.objects.get().status == "CANCELED"

    def answer(*_: Any) -> None:
        if is_over:
            end()
        if not is_done:
            raise Refused("Too late.", code="10013")

    monkeypatch.setattr(Mt5Broker, "change_order", answer)
    new = {"limit_price": "1.08200", "stop_loss": "1.07000"}
    act(client, f"/trading/orders/{placed['id']}", new, method="patch")
    if not is_over:
        end()

    order, change = TradeLedger.objects.get(), ChangeRequest.objects.get()
    terms_of = {name: Decimal(change.after[name]) for name in ("limit_price", "stop_loss", "risk", "value")}
    if not is_done:
        terms_of = {name: getattr(before, name) for name in terms_of}
    assert {name: getattr(order, name) for name in terms_of} == terms_of
    assert (change.state, order.reserved) == ("DONE" if is_done else "REFUSED", 0)
    assert UserDailyStats.objects.get().value_admitted == order.value
