"""Real money, from the first login to the last refusal: HTTPS, an account that says it is real, and its trader."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import live_stage
from tests.browser.conftest import opening
from tests.browser.live_stage import LATER
from tests.browser.stage import DESKTOP, PHONE, Stage, Tab

WORDS = {
    "en": {
        "live": "LIVE", "unarmed": "Not armed", "wrong": "The code is not valid", "until": "Armed until",
        "send": "Send with real money: Buy 0.03 EURUSD", "filled": "Filled", "close": "Close",
        "at_market": "Close at the market", "disarm": "Disarm", "disarmed": "The account is disarmed",
    },
    "fr": {
        "live": "RÉEL", "unarmed": "Non armé", "wrong": "Le code n'est pas valide",
        "until": "Armé jusqu'au", "send": "0,03 EURUSD", "filled": "Exécuté", "close": "Clôturer",
        "at_market": "Clôturer au marché", "disarm": "Désarmer", "disarmed": "Le compte est désarmé",
    },
}  # fmt: skip
KEEP_SOURCES = """window.heardFrom = [];
window.EventSource = class extends EventSource {
  constructor(...given) { super(...given); heardFrom.push(this); }
};"""
# Another process may notice first that the sessions have ended: the page that is being left hears so.
TELL_OVER = """addEventListener("beforeunload", () => setTimeout(() => {
  heardFrom.at(-1).dispatchEvent(new MessageEvent("over"));
  console.debug("told");
}, 100))"""


@pytest.fixture(scope="module")
def live() -> Iterator[Stage]:
    """Nexus in production, with one trader and her account."""
    with live_stage.running() as stage:
        yield stage


@pytest.fixture
def tab(live: Stage, browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Open tabs; at the end none of them may have complained or broken the policy."""
    with opening(live, browser) as open_tab:
        yield open_tab


@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("fr", PHONE)])
def test_a_trader_arms_an_account_trades_with_real_money_and_disarms_it(
    tab: Callable[..., Tab], live: Stage, language: str, size: dict[str, int]
) -> None:
    words, mark = WORDS[language], f"live-{language}-{'phone' if size == PHONE else 'wide'}"
    mine: Tab = tab(language=language, size=size)
    page = mine.page
    recovery = [] if "trader" in live.seeds else first_day(mine, live, mark)
    if not recovery:
        mine.login()

    # Nobody could take it for paper, and nothing is opened on it by itself.
    mine.go("/")
    expect(page.locator(".strip.live")).to_contain_text(words["live"])
    expect(page.locator(".badge.live").first).to_have_text(words["live"])
    expect(page.locator(".strip.paper, .badge.paper")).to_have_count(0)
    expect(page.locator(".armed")).to_contain_text(words["unarmed"])
    mine.show(f"{mark}-2-unarmed")
    ticket(mine, language)
    expect(page.locator("#answer .note.bad a[href='/help/refusals#LIVE_NOT_ARMED']")).to_be_visible()
    expect(page.locator("#answer form")).to_have_count(0)
    mine.show(f"{mark}-3-refused")

    # Armed for an hour, by a code: a wrong one is told, and an order needs no second one for a quarter of an hour.
    if language == "en":
        live.manage("shell", "-v", "0", "-c", LATER)
    mine.follow("#answer a[href*='/arm?']")
    expect(page.locator("main .badge.live")).to_be_visible()
    mine.show(f"{mark}-4-arm")
    page.select_option("select[name=for_s]", "3600")
    page.fill("input[name=code]", "000000")
    mine.follow("form.stack button")
    expect(page.locator("form.stack .error")).to_contain_text(words["wrong"])
    expect(page.locator("input[name=code]")).to_have_value("")
    expect(page.locator("select[name=for_s]")).to_have_value("3600")
    mine.show(f"{mark}-5-wrong-code")
    mine.complaints.clear()  # the browser notes the 401 itself
    page.fill("input[name=code]", live.code("trader"))
    page.click("form.stack button")
    page.wait_for_url("**/ticket?*")
    expect(page.locator("input[name=quantity]")).to_have_value("0,03" if language == "fr" else "0.03")
    mine.go("/")
    expect(page.locator(".armed.on")).to_contain_text(words["until"])
    mine.show(f"{mark}-6-armed")
    ticket(mine, language)
    expect(page.locator("#answer button.danger")).to_contain_text(words["send"])

    # After that quarter of an hour an order asks for a fresh code first.
    if language == "en":
        live.manage("shell", "-v", "0", "-c", LATER)
        ticket(mine, language)
        expect(page.locator("#answer button.danger")).to_have_count(0)
        mine.show(f"{mark}-7-code-needed")
        mine.follow("#answer a[href^='/code']")
        mine.show(f"{mark}-8-code")
        page.fill("input[name=code]", recovery[0])  # her phone is elsewhere
        page.click("main form.stack button")
        page.wait_for_url("**/ticket?*")
        expect(page.locator("input[name=stop_loss]")).to_have_value("1.07")
        ticket(mine, language)
        expect(page.locator("#answer button.danger")).to_be_visible()
    mine.show(f"{mark}-9-worst-case")
    page.click("#answer button.danger")
    page.wait_for_url(re.compile("/orders/"))
    expect(page.locator(".note.good")).to_contain_text(words["filled"])
    expect(page.locator("main .badge.live").first).to_be_visible()
    mine.show(f"{mark}-10-filled")

    # Another tab has the next order ready to be sent. The position is closed, and the account disarmed, by no code.
    other: Tab = tab(language=language, size=size).login()
    ticket(other, language)
    expect(other.page.locator("#answer button.danger")).to_be_visible()
    mine.go("/positions")
    mine.show(f"{mark}-11-positions")
    card = page.locator("article[data-position]").last
    card.locator("summary", has_text=words["close"]).first.click()
    mine.show(f"{mark}-12-closing")
    card.get_by_role("button", name=words["at_market"]).click()
    page.wait_for_url(re.compile("/orders/"))
    expect(page.locator(".note.good")).to_contain_text(words["filled"])
    mine.go("/positions")
    expect(page.locator("article[data-position]")).to_have_count(0)
    mine.go("/")
    page.get_by_role("button", name=words["disarm"], exact=True).click()
    expect(page.locator(".note.good")).to_contain_text(words["disarmed"])
    expect(page.locator(".armed")).to_contain_text(words["unarmed"])
    mine.show(f"{mark}-13-disarmed")

    # What was ready is refused, and says why.
    other.page.click("#answer button.danger")
    other.page.wait_for_url(re.compile("/orders/"))
    expect(other.page.locator(".note.bad")).to_be_visible()
    expect(other.page.locator(".note.bad small")).to_have_text("")
    expect(other.page.locator("main a[href='/help/refusals#LIVE_NOT_ARMED']").first).to_be_visible()
    other.show(f"{mark}-14-refused")
    mine.go("/ledger")
    mine.show(f"{mark}-15-ledger")
    mine.go(f"/accounts/{live.account}")
    mine.show(f"{mark}-16-account")


def first_day(mine: Tab, live: Stage, mark: str) -> list[str]:
    """Log in with a password alone, want to arm, be led to a second factor, and log in again with a code.

    Returns the recovery codes.
    """
    page, who = mine.page, live.people["trader"]
    page.add_init_script(KEEP_SOURCES)
    mine.go("/login")
    page.fill("input[name=email]", who["email"])
    page.fill("input[name=password]", who["password"])
    page.click("form[action='/login'] button")
    page.wait_for_url(live.base + "/")
    cookies = {each["name"]: each for each in page.context.cookies()}
    assert cookies["__Host-nexus_sid"]["secure"]
    assert cookies["__Host-nexus_sid"]["httpOnly"]
    mine.follow(".armed a")
    expect(page.locator(".note.warn")).to_be_visible()
    mine.show(f"{mark}-1a-factor-first")
    page.fill("input[name=password]", who["password"])
    page.click("main form button")
    expect(page.locator(".qr svg")).to_be_visible()
    live.seeds["trader"] = page.inner_text(".secret").replace(" ", "")
    page.fill("input[name=code]", live.code("trader"))
    hold_until_told(page)  # the codes are shown once: nothing takes their page away
    page.click("form[action='/security/second-factor/confirm'] button")
    expect(page.locator(".codes li")).to_have_count(10)
    recovery = page.locator(".codes li").all_inner_texts()
    mine.follow("form[action='/logout'] button")
    mine.log_in()
    return recovery


def hold_until_told(page: Page) -> None:
    """Keep the answer back until the page that is being left has heard that its session is over."""
    told: list[str] = []
    page.on("console", lambda said: told.append(said.text))
    page.evaluate(TELL_OVER)

    def late(route: Route) -> None:
        answer = route.fetch()
        if not told:
            page.wait_for_event("console")
        route.fulfill(response=answer)

    page.route("**/second-factor/confirm", late)


def ticket(mine: Tab, language: str) -> None:
    """Fill in a ticket, and wait for its answer."""
    page = mine.page
    mine.go("/ticket")
    page.fill("input[name=symbol]", "EURUSD")
    page.fill("input[name=quantity]", "0,03" if language == "fr" else "0.03")
    page.fill("input[name=stop_loss]", "1,07" if language == "fr" else "1.07")
    page.click("#ticket button:not([name])")
    page.wait_for_selector("#answer .worst")
    mine.settle()
