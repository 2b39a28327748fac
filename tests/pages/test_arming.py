"""From a ticket with real money to what it lacks, and back to the same ticket."""

import html
import re

from tests.factories.second_factor import enrolled, fresh_code
from tests.pages.conftest import Browser
from tests.trading.test_arming import live

__all__ = ["live"]


def asked(browser: Browser, account_id: str) -> str:
    """Return what a ticket's answer says."""
    ticket = {
        "account": account_id, "symbol": "EURUSD", "side": "SELL", "quantity": "0.10", "type": "MARKET",
        "stop_loss": "1.09500",
    }  # fmt: skip
    answer = browser.send("/ticket/check", ticket, page="/ticket", is_part=True)
    return html.unescape(answer.content.decode())


def led(said: str) -> str:
    """Return where the button of the refusal leads."""
    found = re.search(r'<a class="button" href="([^"]+)"', said)
    assert found is not None, said
    return found[1]


def test_an_unarmed_ticket_leads_to_arming_and_back_and_needs_no_second_code(trader, live):
    enrolled(trader)
    browser = Browser()
    browser.http.force_login(trader)
    account_id = str(live.public_id)

    before = asked(browser, account_id)
    assert "#LIVE_NOT_ARMED" in before
    assert "#STEP_UP_REQUIRED" in before
    path = led(before)
    assert path.startswith(f"/accounts/{account_id}/arm?next=")
    *_, shown = re.findall(r'name="next" value="([^"]+)"', browser.get(path).content.decode())
    values = {"for_s": "3600", "code": fresh_code(trader), "next": html.unescape(shown)}
    armed = browser.send(path.partition("?")[0], values, page=path)

    ticket = browser.get(armed["Location"]).content.decode()
    assert re.search(r'value="SELL"[^>]* checked', ticket)
    assert 'value="0.1"' in ticket
    after = asked(browser, account_id)
    assert "#LIVE_NOT_ARMED" not in after
    assert "#STEP_UP_REQUIRED" not in after


def test_an_armed_ticket_without_a_code_lately_leads_to_one_and_back(trader, live):
    enrolled(trader)
    browser = Browser()
    browser.http.force_login(trader)
    type(live).objects.filter(pk=live.pk).update(armed_until="2999-01-01T00:00Z")

    path = led(asked(browser, str(live.public_id)))

    assert path.startswith("/code?next=%2Fticket%3F")
    assert "side%3DSELL" in path


def test_arming_leads_to_no_other_site(trader, live):
    enrolled(trader)
    browser = Browser()
    browser.http.force_login(trader)
    path = f"/accounts/{live.public_id}/arm"

    values = {"for_s": "3600", "code": fresh_code(trader), "next": "https://elsewhere.example/"}

    assert browser.send(path, values, page=path)["Location"] == "/"
