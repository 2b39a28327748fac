"""Every page of the console by its name: what the tests visit, and what `make screenshots` renders."""

import re

from tests.browser.stage import Tab

RUNBOOKS = ("accounts", "audit", "orders", "people", "reconciliation", "stops")
FIXED = {
    "home": "/admin/", "stop": "/admin/stop/", "stops": "/admin/stops/", "reviews": "/admin/reviews/",
    "unknown": "/admin/orders/unknown/", "approvals": "/admin/approvals/", "alerts": "/admin/alerts/",
    "logins": "/admin/logins/", "tables": "/admin/tables/", "orders": "/admin/trading/tradeledger/",
    "events": "/admin/audit/event/", "accounts": "/admin/venues/accounts/", "positions": "/admin/venues/positions/",
    "users": "/admin/users/", "user-new": "/admin/users/new/", "keys": "/admin/keys/", "limits": "/admin/limits/",
    "limits-of": "/admin/limits/?scope=PLATFORM", "audit": "/admin/audit/",
    "verification": "/admin/audit/verification/", "verify": "/admin/audit/verification/now/",
    "exports": "/admin/audit/exports/", "searches": "/admin/searches/audit/?outcome=denied",
    "charts": "/admin/charts/?over=6h", "runbooks": "/admin/runbooks/",
    **{f"runbook-{name}": f"/admin/runbooks/{name}/" for name in RUNBOOKS},
}  # fmt: skip
SOON_MS = 90_000
# A day of readings with a gap of two hours, and a limit that was lowered on the way.
FILL = """
from django.db import connection
connection.cursor().execute('''
INSERT INTO account_reading (account_id, minute, equity, equity_low, loss_today, lost, loss_limit)
SELECT account.id, at, 10000 + 40 * sin(n / 90.0), 9990 + 40 * sin(n / 90.0), n / 10, n / 10, 1000 - 200 * (n / 700)
FROM (SELECT id FROM trading_account ORDER BY id LIMIT 1) account, generate_series(1, 1400) n,
     LATERAL (SELECT date_trunc('minute', now()) - (1400 - n) * interval '1 minute' AS at) timed
WHERE n NOT BETWEEN 600 AND 720 ON CONFLICT DO NOTHING''')
"""


def pages(tab: Tab, order: str) -> dict[str, str]:
    """Return the paths of all pages. Takes: a tab in the console, where what has no name of its own is looked up."""
    user = first(tab, "/admin/users/?role=TRADER", "/admin/users/[0-9a-f-]{36}/")
    return FIXED | {
        "order": f"/admin/orders/{order}/", "user": user, "user-role": f"{user}role/",
        "limit": first(tab, "/admin/limits/?scope=PLATFORM", "/admin/limits/PLATFORM/.*"),
        "event": first(tab, "/admin/audit/", "/admin/audit/events/[0-9]+/"),
        "account": f"/admin/venues/accounts/{tab.stage.account}/",
        "account-put-aside": f"/admin/venues/accounts/{tab.stage.account}/put-aside/",
        "account-charts": f"/admin/charts/{tab.stage.account}/?over=6h",
    }  # fmt: skip


def officers(tab: Tab) -> dict[str, str]:
    """Return the paths of the pages that an operator may not see. Takes: a tab of a compliance officer's console."""
    login = first(tab, "/admin/audit/?act=auth.login.succeeded", "/admin/audit/events/[0-9]+/")
    return {"export-ask": "/admin/audit/exports/ask/", "reveal": f"{login}reveal/"}


def first(tab: Tab, path: str, wanted: str) -> str:
    """Return where the first link of a page leads that fits."""
    tab.go(path)
    links: list[str | None] = tab.page.locator("#content a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    return next(link for link in links if link and re.fullmatch(wanted, link))


def until(mine: Tab, path: str, selector: str, *, gone: bool = False) -> None:
    """Load a page anew until something stands there, or stands there no more: what people do at night."""
    for _ in range(SOON_MS // 1500):
        mine.go(path)
        if (mine.page.locator(selector).count() == 0) is gone:
            return
        mine.page.wait_for_timeout(1500)
    raise AssertionError(f"{selector} on {path}:\n{mine.page.inner_text('#content')[:3000]}")
