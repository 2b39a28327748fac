"""Every page, in both languages, wide and at phone width, light and dark: nothing serious, nothing too wide."""

from collections.abc import Callable

import pytest

from tests.browser.stage import DESKTOP, PHONE, Stage, Tab

NARROW = {"width": 320, "height": 640}


@pytest.fixture(scope="module")
def paths(ground: Stage) -> dict[str, str]:
    """Every page by its name, with orders of every kind behind them."""
    filled = ground.trade()
    waiting = ground.trade(type="LIMIT", limit_price="1.08300", quantity="0.01")
    refused = ground.trade(quantity="50")
    assert (filled["status"], waiting["status"], refused["status"]) == ("FILLED", "PENDING", "REJECTED")
    return {
        "overview": "/", "ticket": "/ticket", "positions": "/positions", "ledger": "/ledger", "security": "/security",
        "events": "/security/events",
        "nothing": "/ledger?symbol=NOTHING", "refusals": "/help/refusals", "filled": f"/orders/{filled['id']}",
        "account": f"/accounts/{ground.account}",
        "waiting": f"/orders/{waiting['id']}", "refused": f"/orders/{refused['id']}",
    }  # fmt: skip


@pytest.mark.threat(20)
@pytest.mark.parametrize(
    ("language", "size", "dark"),
    [
        ("en", DESKTOP, False), ("en", PHONE, True), ("en", DESKTOP, True),
        ("fr", DESKTOP, False), ("fr", PHONE, False), ("fr", PHONE, True),
    ],
)  # fmt: skip
def test_every_page_is_sound(tab: Callable[..., Tab], paths: dict[str, str], language: str, size, dark: bool) -> None:
    page = tab(language=language, size=size, dark=dark)
    for path in ("/enrol", "/reset", "/login"):
        page.go(path)
        assert page.findings() == [], path
        assert page.overflow() <= 0, path
    page.login()

    for name, path in paths.items():
        page.go(path)
        page.settle()
        assert page.page.locator("html").get_attribute("lang") == language, name
        assert page.page.locator("h1").count() == 1, name
        assert page.findings() == [], name
        assert page.overflow() <= 0, name


@pytest.mark.parametrize("language", ["en", "fr"])
def test_no_page_has_to_be_dragged_at_320_pixels(tab, paths, language):
    page = tab(language=language, size=NARROW).login()

    for name, path in paths.items():
        page.go(path)
        page.settle()
        assert page.overflow() <= 0, name


def test_a_filled_in_ticket_and_a_refused_one_are_sound(tab, paths):
    for size in (DESKTOP, PHONE):
        page = tab(size=size).login()
        for quantity, shown in (("0.02", ".worst"), ("50", ".note.bad"), ("x", ".note.bad")):
            page.go(f"/ticket?symbol=EURUSD&quantity={quantity}&stop_loss=1.07000")
            page.page.click("#ticket button:not([name])")
            page.page.wait_for_selector(f"#answer {shown}")
            page.settle()
            assert page.findings() == [], quantity
            assert page.overflow() <= 0


def test_open_forms_of_a_position_are_sound(tab, paths):
    page = tab(size=PHONE).login()
    page.go("/positions")
    page.settle()
    for summary in page.page.locator("summary").all():
        summary.click()

    assert page.findings() == []
    assert page.overflow() <= 0


def test_everything_is_reached_by_keyboard(tab, paths):
    page = tab().login()
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.className") == "skip"
    page.page.keyboard.press("Enter")
    assert page.page.evaluate("location.hash") == "#main"

    page.go("/ticket?symbol=EURUSD&quantity=0.01&stop_loss=1.07000")
    reached = set()
    for _ in range(40):
        page.page.keyboard.press("Tab")
        reached.add(page.page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
    assert {"account", "symbol", "side", "quantity", "type", "stop_loss", "take_profit"} <= reached
    assert "Show the worst case" in reached


def test_an_unknown_order_and_a_wrong_password_are_said_on_a_page(tab):
    page = tab()
    page.go("/login")
    page.page.fill("input[name=email]", "nobody@demo.example")
    page.page.fill("input[name=password]", "no such password")
    page.page.click("form[action='/login'] button")
    page.page.wait_for_selector("[role=alert]")
    assert page.findings() == []
    page.complaints.clear()  # the browser notes the 401 itself
    page.login()
    page.go("/orders/00000000-0000-4000-8000-000000000000")
    assert page.findings() == []
    assert "Not found" in page.page.inner_text("h1")
    page.complaints.clear()  # and the 404
