"""New terms whose answer was lost, on an order that fills before anybody has found them."""

from decimal import Decimal

from django.utils.timezone import now

from nexus.alerts.models import Alert
from risk.models import RiskAdjustment
from risk.states import AdjustmentKind
from tests.trading.desk import LIMIT, act, place
from trading.models import ChangeRequest, TradeLedger
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


def test_a_stop_of_new_terms_is_no_hand(client, paper, account):
    placed = place(client, FAR)
    paper.control.inject("timeout_after_accept")
    act(client, f"/trading/orders/{placed['id']}", {"stop_loss": "1.07000"}, method="patch")
    paper.quote("EURUSD", "1.08080", "1.08090")
    watch.look(account_id=account.pk, at=now())
    for change_id in changes.due():
        terms.resolve(change_id=change_id)
    watch.look(account_id=account.pk, at=now())
    order = TradeLedger.objects.get(public_id=placed["id"])
    assert order.status == "FILLED"
    assert kinds() == []
