"""An operator's bad night: somebody trades past us, the books differ, and two operators bring it back under control.

It has an installation of its own, where books are compared every five seconds: what it breaks is nobody else's.
"""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import stage
from tests.browser.conftest import opening
from tests.browser.consoles import until
from tests.browser.stage import DESKTOP, PHONE, Stage, Tab

REASON = "Somebody trades past us; seen on the broker's own statement."


@pytest.fixture(scope="module")
def night() -> Iterator[Stage]:
    """Nexus, comparing its books with the broker's every five seconds."""
    with stage.running(RECONCILIATION_INTERVAL="5") as running:
        yield running


@pytest.fixture
def tab(night: Stage, browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Open tabs on that installation; none may complain or break the policy."""
    with opening(night, browser) as open_tab:
        yield open_tab


def confirm(page: Page, *, code: str = "") -> None:
    """Give the reason, the code where one is asked for, and press the one button."""
    if page.locator("textarea[name=reason]").count():
        page.fill("textarea[name=reason]", REASON)
    if code:
        page.fill("input[name=otp]", code)
    page.click("form.act button[type=submit]")
    expect(page.locator(".messagelist")).to_be_visible()


def follow(mine: Tab, pattern: str) -> None:
    """Follow the first link to such an address."""
    links = mine.page.locator("#content a")
    shown = links.evaluate_all("all => all.map(each => each.getAttribute('href'))")
    href = next(found for found in shown if found and re.search(pattern, found))
    mine.follow(f"#content a[href='{href}']")


def release(first: Tab, second: Tab, path: str, names: tuple[str, str], mark: str) -> None:
    """Bring one stop to its end: the first proposes, the second approves when everything holds."""
    until(first, path, "section.panel .mark-late", gone=True)
    first.show(f"{mark}-what-must-hold")
    follow(first, "/propose/$")
    confirm(first.page, code=first.stage.code(names[0]))
    second.go(path)
    follow(second, "/approve/$")
    second.show(f"{mark}-second-person")
    confirm(second.page, code=second.stage.code(names[1]))


@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("fr", PHONE)])
def test_an_operators_bad_night(tab: Callable[..., Tab], night: Stage, language: str, size: dict[str, int]) -> None:
    mark = f"night-{language}-{'phone' if size == PHONE else 'wide'}"
    night.trade()
    # Two whose codes nobody else uses: each is good once in half a minute.
    names = night.hire(f"first-{language}", "OPERATOR"), night.hire(f"second-{language}", "OPERATOR")
    first: Tab = tab(language=language, size=size).enter_console(names[0])
    first.show(f"{mark}-01-home")

    # Somebody buys at the broker's own terminal, and its history tells nothing: nobody knows whose this is.
    night.manage("paper", "trade", "buy", "BTCUSD", "0.01", "--late", "3600")

    # The alert arrives, and is taken in hand.
    until(first, "/admin/alerts/", "text=DISCREPANCY_STOPPED")
    first.show(f"{mark}-02-alert")
    follow(first, "/take/$")
    confirm(first.page)

    # The difference is claimed, looked at, and decided: it is too large for one.
    first.go("/admin/reviews/")
    first.show(f"{mark}-03-queue")
    first.follow("#content tbody a")
    review = first.page.url
    follow(first, "/claim/$")
    confirm(first.page)
    expect(first.page.locator(".differs").first).to_be_visible()
    first.show(f"{mark}-04-both-sides")
    follow(first, "/decide/ACCEPT_BROKER/$")
    first.show(f"{mark}-05-decision")
    confirm(first.page, code=night.code(names[0]))

    second: Tab = tab(language=language, size=size).enter_console(names[1])
    second.go("/admin/approvals/")
    second.follow("#content tbody a")
    second.show(f"{mark}-06-approval")
    follow(second, "/approve/$")
    confirm(second.page, code=night.code(names[1]))
    first.go(review.removeprefix(night.base))
    assert first.page.locator("#content a[href*='/decide/']").count() == 0

    # Whoever it was may trade on: everything is stopped by one, without a code, and swept.
    first.page.keyboard.press("!")
    first.page.wait_for_url("**/admin/stop/")
    first.page.check("input[name=sweep][value=FLATTEN]")
    first.show(f"{mark}-07-stop")
    confirm(first.page)
    first.show(f"{mark}-08-stopped")
    assert first.page.title().startswith("[")
    refused = tab(language=language, size=size).login()
    expect(refused.page.locator("#state .stop").first).to_be_visible()
    refused.show(f"{mark}-09-what-the-trader-sees")

    # The sweep closes everything that stands at the broker, ours and the stranger's.
    for _ in range(60):
        held = positions(night)
        if not held:
            break
        first.page.wait_for_timeout(1000)
    assert not held

    # One proposes, another one lets it run again; what the machine stopped by itself, too.
    first.go("/admin/stops/")
    shown = first.page.locator("section.panel[id^=stop-] h2 a")
    stops = shown.evaluate_all("all => all.map(each => each.getAttribute('href'))")
    assert len(stops) == 2
    for number, path in enumerate(stops):
        release(first, second, path, names, f"{mark}-1{number}")
    first.go("/admin/")
    expect(first.page.locator("#brake.brake-ACTIVE")).to_be_visible()
    assert first.page.locator("#brake.brake-parts").count() == 0
    first.show(f"{mark}-20-runs-again")
    assert night.trade()["status"] == "FILLED"


def positions(night: Stage) -> list[str]:
    """Return what is open at the broker itself."""
    text = night.manage("paper", "positions")
    return [line for line in text.splitlines() if re.search(r"EURUSD|BTCUSD", line)]
