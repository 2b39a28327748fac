"""The ticket: what is shown before an order is sent, that it is sent once, and the answer with its reasons."""

import re
from decimal import Decimal
from typing import Any

import pytest

from nexus.alerts.models import Alert
from risk.states import LimitKind
from tests.pages.conftest import Browser
from tests.trading.conftest import brief, limit
from trading.models import BrokerPosition, TradeLedger
from trading.services import accounts, facts
from trading.states import Side

HIDDEN = re.compile(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"')


def written(account: Any, **changes: str) -> dict[str, str]:
    """Return a ticket as somebody fills it in."""
    usual = {
        "account": str(account.public_id), "symbol": "EURUSD", "side": "BUY", "type": "MARKET", "quantity": "0.1",
        "stop_loss": "1.0800", "take_profit": "1.0900",
    }  # fmt: skip
    return usual | changes


def shown(browser: Browser, values: dict[str, str]) -> str:
    """Return what the ticket shows before it is sent."""
    answer = browser.send("/ticket/check", values, page="/ticket", is_part=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


def sending(text: str) -> dict[str, str]:
    """Return the form that the preview offers."""
    form = text[text.index('action="/ticket/send"') :]
    return {name: value for name, value in HIDDEN.findall(form) if name != "csrfmiddlewaretoken"}


def test_the_worst_case_and_the_room_are_shown_before_anything_is_sent(browser, account, paper, new_events):
    text = shown(browser, written(account))

    # 0.1 lot from 1.08500 with its deviation down to 1.0800 and its gap, and the commission: what an order reserves
    order = browser.send("/ticket/send", sending(text), page="/ticket")
    placed = TradeLedger.objects.get()
    assert f"{placed.risk:.2f} USD" in text
    assert "Loss of the day" in text
    assert "Send on paper" in text
    assert order["Location"] == f"/orders/{placed.public_id}"
    assert placed.status == "FILLED"


def test_looking_leaves_no_trace(browser, account, execute, paper, settings, new_events):
    settings.OPPOSITE_WINDOW_S = 600
    execute(brief(side=Side.SELL, stop_loss=Decimal("1.0900"), take_profit=None, entry_price=None))
    before = len(new_events())

    shown(browser, written(account))  # suspicious beside that order: somebody would be told if it were sent

    assert TradeLedger.objects.count() == 1
    assert len(paper.deals()) == 1
    assert not Alert.objects.filter(kind__startswith="SUSPICION").exists()
    assert not [event for event in new_events()[before:] if event.action.startswith("order.")]


def test_one_clock_dates_orders_whichever_server_is_asked(browser, account, paper, ahead):
    browser.send("/ticket/send", sending(shown(browser, written(account))), page="/ticket")
    path = f"/positions/{BrokerPosition.objects.get().public_id}/close"
    browser.send(path, {"quantity": "0.1", "key": "k" * 16}, page="/positions")

    assert TradeLedger.objects.filter(created_at__lte=facts.database_clock()).count() == 2


@pytest.mark.threat(15)
def test_a_form_sent_twice_is_one_order(browser, account, paper):
    values = sending(shown(browser, written(account)))

    first = browser.send("/ticket/send", values, page="/ticket")
    second = browser.send("/ticket/send", values, page="/ticket")

    assert first["Location"] == second["Location"]
    assert len(paper.deals()) == 1
    assert "there is no second one" in browser.get(second["Location"]).content.decode()


@pytest.mark.threat(16)
def test_a_form_with_other_values_under_its_key_is_refused(browser, account, paper):
    values = sending(shown(browser, written(account)))
    browser.send("/ticket/send", values, page="/ticket")

    answer = browser.send("/ticket/send", values | {"quantity": "0.2"}, page="/ticket")

    assert answer.status_code == 422
    assert len(paper.deals()) == 1


def test_without_a_key_nothing_is_sent(browser, account, paper):
    values = sending(shown(browser, written(account)))
    del values["key"]

    assert browser.send("/ticket/send", values, page="/ticket").status_code == 400
    assert not paper.deals()


def test_what_would_be_refused_cannot_be_sent_and_says_why(browser, account, trader):
    limit(LimitKind.DAILY_LOSS, "10", user=trader)

    text = shown(browser, written(account))

    assert "/ticket/send" not in text
    assert 'href="/help/refusals#DAILY_LOSS_EXCEEDS_LIMIT"' in text
    assert "The day&#x27;s loss could become too large" in text
    assert "Show a code" not in text, "a code would not help"


def test_a_refused_order_says_its_reasons_and_offers_another_try(browser, account, trader, paper):
    values = sending(shown(browser, written(account)))
    limit(LimitKind.DAILY_LOSS, "10", user=trader)  # after the look, before the sending

    answer = browser.send("/ticket/send", values, page="/ticket")
    text = browser.get(answer["Location"]).content.decode()

    assert not paper.deals()
    assert "Nothing reached the broker" in text
    assert 'href="/help/refusals#DAILY_LOSS_EXCEEDS_LIMIT"' in text
    again = re.search(r'href="(/ticket\?[^"]+)"', text)
    assert again is not None
    ticket = browser.get(again[1].replace("&amp;", "&")).content.decode()
    assert 'value="1.08"' in ticket
    assert 'value="0.1"' in ticket


def test_a_price_that_was_seen_holds_the_order(browser, account, paper):
    values = sending(shown(browser, written(account)))
    assert values["entry_price"] == "1.085"
    paper.quote("EURUSD", "1.09490", "1.09500")
    accounts.broker_of(account).snapshot(symbols=["EURUSD"])

    browser.send("/ticket/send", values, page="/ticket")

    assert not paper.deals()
    assert TradeLedger.objects.get().status == "REJECTED"


@pytest.mark.parametrize(
    ("language", "typed", "read"),
    [("en", "0.1", True), ("en", "0,1", False), ("en", "1e-1", False), ("en", "-0.1", False), ("fr", "0,1", True),
     ("fr", "0.1", True), ("fr", "1.000,5", False), ("en", "0.123", False), ("en", "0", False), ("en", "٣", False)],
)  # fmt: skip
def test_numbers_are_read_exactly_or_refused(trader, account, language, typed, read):
    text = shown(Browser(language=language).login(trader), written(account, quantity=typed))

    assert ("/ticket/send" in text) is read
    if read:
        assert sending(text)["quantity"] == "0.1"


def test_somebody_elses_account_cannot_be_named(stranger, account, paper):
    answer = stranger.send("/ticket/send", written(account) | {"key": "k" * 20, "entry_price": ""}, page="/security")

    assert answer.status_code == 400
    assert not paper.deals()


def test_what_was_refused_at_the_door_is_kept(browser, account, paper, new_events):
    values = sending(shown(browser, written(account)))
    browser.send("/ticket/send", values, page="/ticket")
    browser.send("/ticket/send", values | {"quantity": "0.2"}, page="/ticket")

    kept = [event for event in new_events() if event.action == "order.refused"]
    assert len(kept) == 1
    assert '"idempotency_key_mismatch"' in kept[0].canonical


def test_an_operator_has_no_ticket(account, paper, new_events):
    from accounts.states import Role  # noqa: PLC0415
    from tests.factories.accounts import UserFactory  # noqa: PLC0415

    browser = Browser().login(UserFactory.create(role=Role.OPERATOR))

    assert browser.get("/ticket").status_code == 403
    assert browser.send("/ticket/send", written(account)).status_code == 403
    assert [event.action for event in new_events()].count("order.refused") == 1
    assert 'href="/ticket"' not in browser.get("/security").content.decode()


# positions


def test_a_position_is_closed_in_part_and_once(browser, account, execute, paper):
    execute()
    position = BrokerPosition.objects.get()
    text = browser.get("/positions").content.decode()
    key = re.search(r'name="key" value="([0-9a-f]+)"', text)
    assert key is not None
    values = {"key": key[1], "quantity": "0.04"}
    path = f"/positions/{position.public_id}/close"

    first = browser.send(path, values)
    second = browser.send(path, values)

    assert first["Location"] == second["Location"]
    position.refresh_from_db()
    assert position.quantity == Decimal("0.06")
    assert browser.get(first["Location"]).status_code == 200


def test_a_positions_stop_is_changed_and_the_other_left(browser, account, execute, paper):
    execute()
    position = BrokerPosition.objects.get()
    was = {"was_stop_loss": "1.08", "was_take_profit": "1.09"}

    answer = browser.send(
        f"/positions/{position.public_id}/stops", {"stop_loss": "1.0810", "take_profit": "1.09"} | was
    )

    assert answer["Location"] == "/positions"
    assert "The stops are changed." in browser.get("/positions").content.decode()
    (held,) = accounts.broker_of(account).snapshot(symbols=[]).positions
    assert (held.stop_loss, held.take_profit) == (Decimal("1.081"), Decimal("1.09"))


def test_taking_the_stop_away_is_refused_in_words(browser, account, execute):
    execute()
    position = BrokerPosition.objects.get()
    was = {"was_stop_loss": "1.08", "was_take_profit": "1.09"}

    answer = browser.send(f"/positions/{position.public_id}/stops", {"stop_loss": "", "take_profit": "1.09"} | was)

    assert answer.status_code == 422
    assert "change_refused" in answer.content.decode()


@pytest.mark.threat(21)
def test_somebody_elses_position_and_order_are_not_there(stranger, execute):
    order = execute()
    position = BrokerPosition.objects.get()

    assert stranger.get(f"/orders/{order.public_id}").status_code == 404
    assert stranger.send(f"/orders/{order.public_id}/cancel", {}).status_code == 404
    assert stranger.send(f"/positions/{position.public_id}/close", {"quantity": "0.1"}).status_code == 404
    assert str(position.public_id) not in stranger.get("/positions").content.decode()


def test_a_working_order_is_canceled(browser, account, paper):
    text = shown(browser, written(account, type="LIMIT", limit_price="1.0820", stop_loss="1.0800", take_profit=""))
    page = browser.send("/ticket/send", sending(text), page="/ticket")["Location"]
    assert "Cancel the order" in browser.get(page).content.decode()

    browser.send(f"{page}/cancel", {})

    assert TradeLedger.objects.get().status == "CANCELED"
    after = browser.get(page).content.decode()
    assert "The order is canceled." in after
    assert f'action="{page}/cancel"' not in after
