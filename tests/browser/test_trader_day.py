"""A trader's day: log in with a code, trade, see it live, close, export."""

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from playwright.sync_api import expect

from tests.browser.stage import DESKTOP, PHONE, WAIT_MS, Stage, Tab

WORDS = {
    "en": {"filled": "Filled", "close": "Close", "at_market": "Close at the market"},
    "fr": {"filled": "Exécuté", "close": "Clôturer", "at_market": "Clôturer au marché"},
}


def in_signs(text: str, language: str) -> str:
    """Return a number as a page of that language writes it."""
    return text.replace(".", ",") if language == "fr" else text


@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("en", PHONE), ("fr", DESKTOP), ("fr", PHONE)])
def test_a_traders_day(tab: Callable[..., Tab], ground: Stage, language: str, size: dict[str, int]) -> None:
    words, mark = WORDS[language], f"day-{language}-{'phone' if size == PHONE else 'wide'}"
    mine: Tab = tab(language=language, size=size)
    page = mine.page

    # The morning: password and code, and what is held.
    mine.go("/login")
    mine.show(f"{mark}-1-login")
    mine.log_in()
    expect(page.locator(".strip.paper")).to_be_visible()
    mine.show(f"{mark}-2-overview")
    watching: Tab = tab(language=language, size=size).login()
    watching.settle()
    newest = watching.page.locator("#desk table.orders tbody tr").first
    seen = newest.inner_text()

    # An order: its worst case first, then its answer.
    mine.go("/ticket")
    page.fill("input[name=symbol]", "EURUSD")
    page.fill("input[name=quantity]", in_signs("0.03", language))
    page.fill("input[name=stop_loss]", in_signs("1.07000", language))
    page.click("#ticket button:not([name])")
    page.wait_for_selector("#answer .worst")
    assert re.search(rf"−\d+{re.escape(in_signs('.', language))}\d\d USD", page.inner_text("#answer .worst"))
    expect(page.locator("#answer .limits li").first).to_be_visible()
    mine.show(f"{mark}-3-worst-case")
    page.click("#answer form button")
    page.wait_for_url(re.compile("/orders/"))
    expect(page.locator(".note.good")).to_contain_text(words["filled"])
    mine.show(f"{mark}-4-answer")
    order = page.url.rsplit("/", 1)[1]

    # The other open page has heard of it by itself, and its profit moves.
    expect(newest).not_to_have_text(seen, timeout=WAIT_MS)
    profit = watching.page.locator("[data-position] [data-live=profit]").first
    before = profit.inner_text()
    expect(profit).not_to_have_text(before, timeout=60_000)
    watching.show(f"{mark}-5-live")

    # Closed at the market.
    mine.go("/positions")
    mine.settle()
    card = page.locator("article[data-position]").last
    place = card.get_attribute("id")
    card.locator("summary", has_text=words["close"]).first.click()
    mine.show(f"{mark}-6-closing")
    card.get_by_role("button", name=words["at_market"]).click()
    page.wait_for_url(re.compile("/orders/"))
    expect(page.locator(".note.good")).to_contain_text(words["filled"])
    closing = page.url.rsplit("/", 1)[1]
    mine.go("/positions")
    expect(page.locator(f"#{place}")).to_have_count(0)

    # The evening: the ledger as a file, the same in both languages.
    mine.go("/ledger?symbol=EURUSD&status=FILLED")
    mine.show(f"{mark}-7-ledger")
    with page.expect_download() as download:
        page.click("a[download]")
    header, *lines = download.value.path().read_text(encoding="utf-8").splitlines()
    rows = {line.split(",")[0]: dict(zip(header.split(","), line.split(","), strict=False)) for line in lines}
    assert {order, closing} <= rows.keys()
    assert {rows[each]["status"] for each in (order, closing)} == {"FILLED"}
    assert {Decimal(rows[each]["quantity"]) for each in (order, closing)} == {Decimal("0.03")}
