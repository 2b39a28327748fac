"""`make screenshots`: render each page into docs/screenshots/, as a client would see it."""

import sys
from pathlib import Path

from tests.browser import stage
from tests.browser.stage import DESKTOP, PHONE, ROOT, Stage, Tab

FOLDER = ROOT / "docs" / "screenshots"


def main() -> int:
    """Render every page in both languages, some at phone width and one in the dark."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    with stage.running() as ground, stage.chromium() as browser:
        filled = ground.trade(action="SELL", quantity="0.03", stop_loss="1.10000")
        waiting = ground.trade(type="LIMIT", limit_price="1.08300", quantity="0.05")
        refused = ground.trade(quantity="5")
        for language in ("en", "fr"):
            for name, size in (("", DESKTOP), ("-phone", PHONE)):
                _login(stage.new_tab(browser, ground, language=language, size=size), f"login-{language}{name}")
                tab = stage.new_tab(browser, ground, language=language, size=size).login()
                for page, path in [
                    *_pages(filled["id"], waiting["id"], refused["id"]),
                    ("account", f"/accounts/{ground.account}"),
                ]:
                    tab.go(path)
                    _take(tab, f"{page}-{language}{name}")
                _ticket(tab, f"ticket-{language}{name}", language=language)
                tab.page.context.close()
        dark = stage.new_tab(browser, ground, dark=True).login()
        _take(dark, "overview-en-dark")
        _ticket(dark, "ticket-en-dark", language="en")
        _stopped(ground, dark)
    print(f"{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER.relative_to(ROOT)}.")
    return 0


def _pages(filled: str, waiting: str, refused: str) -> list[tuple[str, str]]:
    return [
        ("overview", "/"), ("positions", "/positions"), ("ledger", "/ledger"), ("security", "/security"),
        ("refusals", "/help/refusals"), ("order-filled", f"/orders/{filled}"), ("order-waiting", f"/orders/{waiting}"),
        ("order-refused", f"/orders/{refused}"),
    ]  # fmt: skip


def _login(tab: Tab, name: str) -> None:
    tab.go("/login")
    _take(tab, name)
    tab.page.context.close()


def _ticket(tab: Tab, name: str, *, language: str) -> None:
    """Fill a ticket in, so that its worst case shows."""
    tab.go("/ticket?symbol=EURUSD&quantity=0.05&stop_loss=1.08000&take_profit=1.09500")
    tab.page.click("#ticket button:not([name])")
    tab.page.wait_for_selector("#answer .worst")
    _take(tab, name)


def _stopped(ground: Stage, tab: Tab) -> None:
    """Stop the trader's own account, and show what his open page says."""
    tab.go("/")
    tab.settle()
    ground.post("/trading/disable", {"reason": "Enough for today."})
    tab.page.wait_for_selector("#state .stop")
    _take(tab, "overview-en-stopped")


def _take(tab: Tab, name: str) -> None:
    tab.settle()
    is_long = "refusals" in name
    tab.page.screenshot(path=Path(FOLDER, f"{name}.png"), full_page=not is_long)


if __name__ == "__main__":
    sys.exit(main())
