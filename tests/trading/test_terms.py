"""New terms of a working order are judged as a new order is, and what they are worth is kept."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F

from risk.models import RiskAdjustment, UserDailyStats
from risk.states import LimitKind
from tests.client import ApiClient
from tests.trading.conftest import limit
from tests.trading.desk import LIMIT, MARKET, act, place
from trading.models import ChangeRequest, TradeLedger, TradingAccount
from trading.services import changes, facts, terms
from trading.states import ChangeState

# Worth 1,086 USD; 0.5 % from the bid of 1.08490 is 1.09032.
SELL = {
    "symbol": "EURUSD", "action": "SELL", "quantity": "0.01", "type": "LIMIT", "limit_price": "1.08600",
    "stop_loss": "1.09500", "take_profit": "1.08000",
}  # fmt: skip


@pytest.fixture
def path(client) -> str:
    return f"/trading/orders/{place(client, SELL)['id']}"


def patch(client: ApiClient, path: str, **wanted: Any) -> tuple[int, str]:
    """Ask for new terms, and return the status and what became of them in words."""
    answer = act(client, path, wanted, method="patch")
    return answer.status_code, answer.json().get("state") or answer.json()["detail"]


def working(paper) -> tuple[int, int]:
    """Return the price and the stop of the one working order as the broker holds them, in points."""
    (order,) = paper.truth()["working"]
    return order["price"], order["sl"]


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (LimitKind.TRADE_VALUE_MAX, "1088.99", "TRADE_VALUE_MAX_EXCEEDS_LIMIT"),
        (LimitKind.DAILY_VALUE, "1088.99", "DAILY_VALUE_EXCEEDS_LIMIT"),
        (LimitKind.PRICE_COLLAR, "0.003", "PRICE_OUTSIDE_COLLAR"),
    ],
)
def test_new_terms_are_held_against_the_limits_of_a_new_order(client, trader, paper, path, kind, value, reason):
    limit(kind, value, user=trader)

    status, words = patch(client, path, limit_price="1.08900")

    assert (status, reason in words) == (422, True), words
    assert (working(paper)[0], ChangeRequest.objects.count()) == (108600, 0)


def test_new_terms_that_just_fit_pass_and_their_value_is_kept_and_given_back(client, trader, path):
    for kind in (LimitKind.TRADE_VALUE_MAX, LimitKind.DAILY_VALUE):
        limit(kind, "1089", user=trader)

    assert patch(client, path, limit_price="1.08900") == (200, "DONE")

    assert TradeLedger.objects.get().value == UserDailyStats.objects.get().value_admitted == Decimal(1089)
    act(client, f"{path}/cancel")
    assert place(client, SELL | {"limit_price": "1.08900"})["status"] == "PENDING"  # all of the day is free again


@pytest.mark.parametrize(("free", "passes"), [("10.88", False), ("10.89", True)])
def test_new_terms_need_the_margin_of_the_order_once(client, settings, path, free, passes):
    settings.MARGIN_BUFFER = 1 - Decimal(free) / 100_000

    status, words = patch(client, path, limit_price="1.08900")

    assert (status == 200, "MARGIN_EXCEEDS_FREE" in words) == (passes, not passes), words


def test_new_terms_are_not_judged_by_a_price_that_jumped(client, paper):
    order = place(client, LIMIT)
    paper.quote("EURUSD", "1.20000", "1.20010")

    status, words = patch(client, f"/trading/orders/{order['id']}", stop_loss="1.0780")

    assert (status, "QUOTE_JUMPED" in words) == (422, True), words


def test_an_account_put_aside_changes_nothing(client, path):
    TradingAccount.objects.update(is_active=False)

    status, words = patch(client, path, stop_loss="1.0940")

    assert (status, "ACCOUNT_NOT_USABLE" in words) == (422, True), words


def test_a_lost_order_on_the_instrument_holds_back_what_adds_and_lets_a_stop_be_tightened(client, paper, path):
    paper.control.inject("timeout_before_accept")
    assert place(client, MARKET)["delivery"] == "UNKNOWN"

    status, words = patch(client, path, limit_price="1.08700")
    assert (status, "UNKNOWN_ORDER_ON_INSTRUMENT" in words) == (422, True), words
    status, words = patch(client, path, stop_loss="1.09600")
    assert (status, "UNKNOWN_ORDER_ON_INSTRUMENT" in words) == (422, True), words
    assert patch(client, path, stop_loss="1.09400") == (200, "DONE")


def test_a_stop_may_not_be_taken_away_or_put_on_the_wrong_side(client, path):
    assert "STOP_LOSS_REQUIRED" in patch(client, path, stop_loss=None)[1]
    assert "STOP_LOSS_WRONG_SIDE" in patch(client, path, stop_loss="1.0850")[1]


def test_a_stop_is_tightened_though_the_market_has_left_the_collar(client, paper, path):
    paper.quote("EURUSD", "1.07490", "1.07500")

    assert patch(client, path, stop_loss="1.09400") == (200, "DONE")
    assert working(paper) == (108600, 109400)


def test_a_stop_of_an_order_that_is_changed_is_kept_with_what_it_did_to_the_risk(client, paper, path):
    """R = (1.09500·1.0005 − 1.08600)·1000 + 0.07 of fees = 9.62, and 1.00 more of it for each 0.001."""
    assert patch(client, path, stop_loss="1.09600") == (200, "DONE")
    assert patch(client, path, take_profit="1.08100") == (200, "DONE")
    assert patch(client, path, stop_loss="1.09700", limit_price="1.08700") == (200, "DONE")
    paper.control.inject("retcode")
    assert patch(client, path, stop_loss="1.09400") == (200, "REFUSED")

    order = TradeLedger.objects.get()
    kept = RiskAdjustment.objects.order_by("pk").values_list("kind", "order_id", "before", "after", "reason")
    assert list(kept) == [
        ("STOP_CHANGE", order.pk, Decimal("9.62"), Decimal("10.62"), "stop-loss 1.095 → 1.096"),
        ("STOP_CHANGE", order.pk, Decimal("10.62"), Decimal("10.62"), "stop-loss 1.096 → 1.097"),
    ]


def test_a_lost_change_of_an_order_s_stop_is_kept_once_it_is_found(client, paper, path):
    paper.control.inject("timeout_after_accept")
    assert patch(client, path, stop_loss="1.09600") == (202, "UNKNOWN")
    assert not RiskAdjustment.objects.exists()

    for _ in range(2):
        for change_id in changes.due():
            terms.resolve(change_id=change_id)

    assert RiskAdjustment.objects.values_list("before", "after").get() == (Decimal("9.62"), Decimal("10.62"))


def test_terms_moved_at_the_terminal_are_not_put_back(client, paper, path):
    (order,) = paper.truth()["working"]
    paper.control.manual_modify(paper.login, order["ticket"], price="1.08800", sl="1.09400", tp="1.08000")

    assert patch(client, path, take_profit="1.08100") == (200, "DONE")

    assert working(paper) == (108800, 109400)
    assert TradeLedger.objects.values_list("limit_price", "stop_loss").get() == (Decimal("1.088"), Decimal("1.094"))


def test_a_change_that_another_has_overtaken_is_not_sent(client, paper, path, monkeypatch):
    real, others = facts.read, [{"stop_loss": "1.09400"}]

    def read(**what: Any) -> Any:
        found = real(**what)
        if others:
            assert patch(client, path, **others.pop()) == (200, "DONE")
        return found

    monkeypatch.setattr(facts, "read", read)

    assert patch(client, path, take_profit="1.08100")[0] == 409
    assert (working(paper), ChangeRequest.objects.count()) == ((108600, 109400), 1)


@pytest.fixture
def lost(client, paper, path) -> tuple[int, int]:
    """A change to a higher price whose answer was lost long ago, and the ticket of its order."""
    paper.control.inject("timeout_before_accept")
    assert patch(client, path, limit_price="1.08900") == (202, "UNKNOWN")
    assert TradeLedger.objects.get().value == Decimal(1089)
    ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(hours=1))
    (order,) = paper.truth()["working"]
    return changes.due()[0], order["ticket"]


def test_a_lost_change_is_refused_when_the_broker_shows_the_old_terms(lost):
    terms.resolve(change_id=lost[0])

    assert ChangeRequest.objects.get().state == "REFUSED"
    assert TradeLedger.objects.get().value == UserDailyStats.objects.get().value_admitted == Decimal(1086)


def test_a_lost_change_ends_with_the_worse_reserved_when_the_broker_shows_other_terms(client, lost, paper, path):
    """Somebody else has set them: nobody could change this order any more while we waited for ours to appear."""
    change_id, ticket = lost
    before = TradeLedger.objects.values("risk", "reserved", "value").get()
    paper.control.manual_modify(paper.login, ticket, price="1.08800", sl="1.09500", tp="1.08000")

    terms.resolve(change_id=change_id)

    assert ChangeRequest.objects.get().state == "REFUSED"
    assert TradeLedger.objects.values("risk", "reserved", "value").get() == before
    assert patch(client, path, limit_price="1.08700") == (200, "DONE")


def test_a_search_that_ends_late_settles_nothing_over_a_newer_change(client, paper, path, monkeypatch):
    """It has read the broker before somebody else settled its change and the order was changed once more."""
    paper.control.inject("timeout_after_accept")
    assert patch(client, path, limit_price="1.08900") == (202, "UNKNOWN")
    (change_id,) = changes.due()
    real, between = terms._settle, [True]

    def settle_late(*what: Any, **named: Any) -> Any:
        if between:
            between.clear()
            terms.resolve(change_id=change_id)
            assert patch(client, path, limit_price="1.09000") == (200, "DONE")
        return real(*what, **named)

    monkeypatch.setattr(terms, "_settle", settle_late)
    terms.resolve(change_id=change_id)

    order = TradeLedger.objects.get()
    assert (order.limit_price, order.value) == (Decimal("1.09"), Decimal(1090))


def test_an_answer_after_a_search_that_found_nothing_is_the_truth(client, paper, path, monkeypatch):
    """The broker took long to accept: meanwhile the search had given the change up."""
    real = terms._settle

    def settle_late(request: ChangeRequest, **named: Any) -> ChangeRequest:
        real(request, state=ChangeState.REFUSED, answer=None)
        return real(ChangeRequest.objects.get(), **named)

    monkeypatch.setattr(terms, "_settle", settle_late)

    assert patch(client, path, limit_price="1.08900") == (200, "DONE")
    assert TradeLedger.objects.get().value == Decimal(1089)


@pytest.fixture
def triggered(client, paper) -> str:
    """A stop limit whose trigger was touched: at the broker it is a limit order at 1.08550 now."""
    body = SELL | {"action": "BUY", "type": "STOP_LIMIT", "stop_price": "1.08600", "limit_price": "1.08550"}
    order = place(client, body | {"stop_loss": "1.08000", "take_profit": "1.09500"})
    paper.quote("EURUSD", "1.08590", "1.08600")
    assert working(paper) == (108550, 108000)
    return f"/trading/orders/{order['id']}"


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        ({"stop_loss": "1.08100"}, (108550, 108100)),
        ({"limit_price": "1.08450"}, (108450, 108000)),
        ({"limit_price": "1.08500", "stop_loss": None, "take_profit": None}, None),
    ],
)
def test_a_stop_limit_that_was_triggered_is_changed_as_the_limit_order_that_it_is(
    client, paper, triggered, wanted, held
):
    status, words = patch(client, triggered, **wanted)

    if held is None:
        assert (status, "STOP_LOSS_REQUIRED" in words) == (422, True), words
        return
    assert (status, words) == (200, "DONE")
    assert working(paper) == held
    order = TradeLedger.objects.get()
    assert (order.limit_price * 100_000, order.stop_loss * 100_000) == held
    assert order.stop_price == Decimal("1.08600")  # what it was; who looks at it sees where it waited


def test_a_change_whose_answer_was_lost_is_found_also_once_the_trigger_was_touched(client, paper):
    body = SELL | {"action": "BUY", "type": "STOP_LIMIT", "stop_price": "1.08600", "limit_price": "1.08550"}
    order = place(client, body | {"stop_loss": "1.08000", "take_profit": "1.09500"})
    paper.control.inject("timeout_after_accept")
    assert patch(client, f"/trading/orders/{order['id']}", limit_price="1.08560") == (202, "UNKNOWN")
    paper.quote("EURUSD", "1.08590", "1.08600")
    assert working(paper) == (108560, 108000)

    terms.resolve(change_id=ChangeRequest.objects.get().pk)

    assert ChangeRequest.objects.get().state == ChangeState.DONE
    assert TradeLedger.objects.get().limit_price == Decimal("1.08560")


def test_nor_has_it_a_trigger_any_more(client, paper, triggered):
    assert patch(client, triggered, stop_price="1.08700")[0] == 422
    assert working(paper) == (108550, 108000)
