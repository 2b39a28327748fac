"""Real money: seen as such at a glance, armed with a code and no other way, and disarmed at once."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.stage import DESKTOP, PHONE, Stage, Tab

NAME = "real-money"
# The demo's account as another one of somebody else's, marked live. Nothing of the test is sent to a broker.
LINK = """
import uuid
from accounts.models import User
from trading.models import TradingAccount
account = TradingAccount.objects.order_by('pk').first()
account.pk, account.public_id, account.user = None, uuid.uuid4(), User.objects.get(email='{name}@demo.example')
account.name, account.venue_account, account.is_live = 'Real money', '5999', True
account.save()
print('account=' + str(account.public_id))
"""
ASIDE = "from trading.models import TradingAccount; TradingAccount.objects.filter(is_live=True).update(is_active=False)"
WORDS = {"en": ("LIVE", "Armed until"), "fr": ("RÉEL", "Armé jusqu")}


@pytest.fixture(scope="module")
def account(ground: Stage) -> Iterator[str]:
    """A live account, and who owns it; put aside at the end, so that nobody watches it any longer."""
    ground.hire(NAME, "TRADER")
    said = ground.manage("shell", "-v", "0", "-c", LINK.format(name=NAME))
    yield said.strip().rpartition("account=")[2]
    ground.manage("shell", "-v", "0", "-c", ASIDE)


@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("fr", PHONE)])
def test_real_money_is_armed_by_a_code_and_disarmed(
    tab: Callable[..., Tab], ground: Stage, account: str, language: str, size: dict[str, int]
) -> None:
    live, armed = WORDS[language]
    mark = f"arming-{language}-{'phone' if size == PHONE else 'wide'}"
    mine: Tab = tab(language=language, size=size).login(NAME)
    page = mine.page
    way = page.locator(f"a[href='/accounts/{account}/arm']")

    expect(page.locator(".strip.live")).to_contain_text(live)
    expect(way).to_be_visible()
    mine.show(f"{mark}-1-not-armed")
    mine.follow(f"a[href='/accounts/{account}/arm']")
    mine.show(f"{mark}-2-arm")

    # No code, no arming: the page says so, and the account stays as it was.
    page.fill("input[name=code]", "000000")
    mine.follow("main form button.danger")
    expect(page.locator("[id^=error], .error, .errorlist").first).to_be_visible()
    mine.show(f"{mark}-3-wrong-code")
    mine.complaints.clear()  # the browser notes the 401 itself

    page.fill("input[name=code]", ground.code(NAME))
    mine.follow("main form button.danger")
    expect(page).to_have_url(re.compile(r"/$"))
    expect(page.locator("p.armed")).to_contain_text(armed)
    expect(way).to_have_count(0)
    mine.show(f"{mark}-4-armed")

    mine.follow(f"form[action='/accounts/{account}/disarm'] button")
    expect(way).to_be_visible()
    expect(page.locator("p.armed")).not_to_contain_text(armed)
