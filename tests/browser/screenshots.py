"""`make screenshots`: render each page into docs/screenshots/, as a client would see it."""

import sys
from pathlib import Path

from playwright.sync_api import Browser, FloatRect

from tests.browser import consoles, stage
from tests.browser.stage import DESKTOP, PHONE, ROOT, Stage, Tab

FOLDER = ROOT / "docs" / "screenshots"
TALLEST = 1800  # pixels of a long page that are shown: the rest is more of the same
KINDS = (("en", "", DESKTOP), ("en", "-phone", PHONE), ("fr", "", DESKTOP))
FRENCH_PHONE = ("overview", "ledger", "order-refused")  # in French on a phone, too: where it is narrowest
NIGHT = ("home", "alerts", "stop", "reviews", "account", "runbook-reconciliation")  # in French and on a phone, too
SHOWN = (
    "home", "stop", "stops", "reviews", "review", "alerts", "order", "orders", "accounts", "account",
    "positions", "users", "user", "user-role", "limits", "limit", "audit", "event", "verification",
    "charts", "account-charts", "runbooks", "runbook-reconciliation",
)  # fmt: skip


def main() -> int:
    """Render every page: the dashboard in both languages and on a phone, the console, and what a bad night shows."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    with stage.running(RECONCILIATION_INTERVAL="5") as ground, stage.chromium() as browser:
        ground.manage("shell", "-v0", "-c", consoles.FILL)
        filled = ground.trade(action="SELL", quantity="0.03", stop_loss="1.10000")
        waiting = ground.trade(type="LIMIT", limit_price="1.08300", quantity="0.05")
        refused = ground.trade(quantity="5")
        for language, name, size in (*KINDS, ("fr", "-phone", PHONE)):
            _login(stage.new_tab(browser, ground, language=language, size=size), f"login-{language}{name}")
            tab = stage.new_tab(browser, ground, language=language, size=size).login()
            for page, path in _pages(ground, filled["id"], waiting["id"], refused["id"]).items():
                if (language, name) in {each[:2] for each in KINDS} or page in FRENCH_PHONE:
                    tab.go(path)
                    _take(tab, f"{page}-{language}{name}")
            _ticket(tab, f"ticket-{language}{name}", language=language)
            tab.page.context.close()
        dark = stage.new_tab(browser, ground, dark=True).login()
        _take(dark, "overview-en-dark")
        _ticket(dark, "ticket-en-dark", language="en")
        _night(browser, ground, filled["id"])
        _stopped(ground, dark)
    print(f"{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER.relative_to(ROOT)}.")
    return 0


def _pages(ground: Stage, filled: str, waiting: str, refused: str) -> dict[str, str]:
    return {
        "overview": "/", "positions": "/positions", "ledger": "/ledger", "account": f"/accounts/{ground.account}",
        "security": "/security", "keys": "/security/keys", "key-new": "/security/keys/new",
        "second-factor": "/security/second-factor", "refusals": "/help/refusals",
        "order-filled": f"/orders/{filled}", "order-waiting": f"/orders/{waiting}",
        "order-refused": f"/orders/{refused}",
    }  # fmt: skip


def _login(tab: Tab, name: str) -> None:
    tab.go("/login")
    _take(tab, name)
    tab.go("/enrol")
    _take(tab, name.replace("login", "first-password"))
    tab.page.context.close()


def _ticket(tab: Tab, name: str, *, language: str) -> None:
    """Fill a ticket in, so that its worst case shows."""
    tab.go("/ticket?symbol=EURUSD&quantity=0.05&stop_loss=1.08000&take_profit=1.09500")
    tab.page.click("#ticket button:not([name])")
    tab.page.wait_for_selector("#answer .worst")
    _take(tab, name)


def _night(browser: Browser, ground: Stage, order: str) -> None:
    """Let somebody trade past us, and show the console as it is then."""
    tab = stage.new_tab(browser, ground)
    tab.go("/admin/")
    _take(tab, "console-login-en")
    tab.enter_console("operator")
    ground.sessions["operator"] = tab.page.context.cookies()
    _verify(tab)
    ground.manage("paper", "trade", "buy", "BTCUSD", "0.01", "--late", "3600")
    consoles.until(tab, "/admin/alerts/", "text=DISCREPANCY_STOPPED")
    consoles.until(tab, "/admin/reviews/", "#content tbody a")
    paths = consoles.pages(tab, order) | {
        "review": consoles.first(tab, "/admin/reviews/", "/admin/reviews/[0-9a-f-]{36}/")
    }
    for name in SHOWN:
        tab.go(paths[name])
        _take(tab, f"console-{name}-en")
    for language, mark, size, names in (
        ("en", "-phone", PHONE, NIGHT), ("fr", "", DESKTOP, NIGHT), ("fr", "-phone", PHONE, ("home", "alerts")),
    ):  # fmt: skip
        other = stage.new_tab(browser, ground, language=language, size=size).login("operator")
        for name in names:
            other.go(paths[name])
            _take(other, f"console-{name}-{language}{mark}")
        other.page.context.close()
    officer = stage.new_tab(browser, ground).enter_console("compliance")
    for name, path in consoles.officers(officer).items():
        officer.go(path)
        _take(officer, f"console-{name}-en")


def _verify(tab: Tab) -> None:
    """Have the log verified, and wait for the verdict."""
    tab.go("/admin/audit/verification/now/")
    tab.page.fill("textarea[name=reason]", "A look at how it stands.")
    tab.page.click("form.act button[type=submit]")
    tab.page.wait_for_selector("#content .mark-ok:has-text('clean')", timeout=consoles.SOON_MS)


def _stopped(ground: Stage, tab: Tab) -> None:
    """Stop the trader's own account, and show what his open page says."""
    tab.go("/")
    tab.settle()
    ground.post("/trading/disable", {"reason": "Enough for today."})
    tab.page.wait_for_selector("#state .stop")
    _take(tab, "overview-en-stopped")


def _take(tab: Tab, name: str) -> None:
    """Keep a picture of the page, of a long one its beginning."""
    tab.settle()
    size = tab.page.viewport_size
    assert size is not None
    tall = tab.page.evaluate("document.scrollingElement.scrollHeight")
    clip = FloatRect(x=0, y=0, width=size["width"], height=max(size["height"], min(int(tall), TALLEST)))
    tab.page.screenshot(path=Path(FOLDER, f"{name}.png"), full_page=True, clip=clip)


if __name__ == "__main__":
    sys.exit(main())
