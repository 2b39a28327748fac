"""(i) Every list page over ten million orders and ten million audit events: how long, and how many statements.

`measure` runs beside the stage; everything below `main` in a process of its own, over Django and its own client, which
goes through all of a request but the socket. The first paint of the dashboard is asked of a real browser.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nexus.local.folder import ROOT
from tests.bench import bulk
from tests.bench.parts import Run

ROWS = 10_000_000
TIMEOUT_S = 900.0
ASKED = 3  # times after the first, which the plans and the cache still have to be made for
LIMIT_MS, LIMIT_STATEMENTS = 300, 10
# One thing whole, or everything at a glance: these are no lists.
WHOLE = re.compile(r"/admin/(charts/.*|(orders|users|venues/accounts|audit/events)/[0-9a-f-]+/)?$|/admin/charts/")
HOPELESS_MS = 2_000  # is not asked again
WORST_SHOWN = 20
SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
HOST = "127.0.0.1"


def measure(run: Run) -> None:
    """Make the rows, and let the process below ask for the pages."""
    rows = int(os.environ.get("BENCH_ROWS") or ROWS)
    bulk.load(run.stage.database, rows=rows, say=run.say)
    command = [sys.executable, "-m", "tests.bench.paging"]
    log = run.stage.folder / "paging.log"
    with log.open("wb") as errors:
        done = subprocess.run(
            command, env=run.stage.env | {"BENCH_ROWS": str(rows)}, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors,
            text=True, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"tests.bench.paging ended with code {done.returncode}:\n{log.read_text()[-3000:]}")
    *lines, last = done.stdout.strip().splitlines()
    for line in lines:
        run.say(f"  {line}")
    answer = json.loads(last)
    run.figures |= answer["figures"] | {"pages_rows": rows}
    if CHROMIUM.exists():
        run.stage.start_web()
        run.figures |= _painted(run, answer["cookie"])


def _painted(run: Run, cookie: dict[str, str]) -> dict[str, float]:
    """Open the dashboard in browsers that have seen nothing of it, and ask each when it first painted."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - no other part needs a browser

    base, paints = f"http://{HOST}:{run.stage.port}", []
    with sync_playwright() as play:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        for _ in range(ASKED + 1):
            context = browser.new_context()
            context.add_cookies([{**cookie, "url": base}])  # type: ignore[typeddict-item]
            page = context.new_page()
            page.goto(f"{base}/", wait_until="load")
            assert page.url == f"{base}/", page.url
            paints.append(page.evaluate(
                "new Promise(done => new PerformanceObserver(list => done(list.getEntries()[0].startTime))"
                ".observe({type: 'paint', buffered: true}))"))  # fmt: skip
            context.close()
        browser.close()
    run.say(f"  the dashboard's first paint: {statistics.median(paints[1:]):.0f} ms, the very first {paints[0]:.0f}")
    return {
        "dashboard_first_paint_ms": round(statistics.median(paints[1:])),
        "dashboard_first_ever_ms": round(paints[0]),
    }


def main(rows: int) -> dict[str, Any]:
    """Ask for every page, print the slowest, and return the figures and the trader's cookie."""
    from django.test import Client  # noqa: PLC0415 - Django is set up below, and in this process alone

    from tests.bench import nowire  # noqa: PLC0415

    nowire.install()
    operator, trader = Client(SERVER_NAME=HOST), Client(SERVER_NAME=HOST)
    _enter(operator, trader)
    found = [
        _ask(client, path)
        for client, paths in ((operator, _console(operator, rows)), (trader, _dashboard(rows)))
        for path in paths
    ]
    found.sort(key=lambda each: each["ms"], reverse=True)
    for each in found[:WORST_SHOWN]:
        print(_words(each))
    print("most statements:")
    by_statements = sorted(found, key=lambda each: each["statements"], reverse=True)
    for each in by_statements[:WORST_SHOWN]:
        print(_words(each))
    failed = [each for each in found if each["status"] != 200]
    for each in failed:
        print("FAILED", _words(each))
    own = {each["path"]: each["ms"] for each in found}
    cookie = next(each for each in trader.cookies.values() if each.key.endswith(("sessionid", "nexus_sid")))
    return {
        "cookie": {"name": cookie.key, "value": cookie.value},
        "figures": {
            "pages_asked": len(found),
            "pages_failed": len(failed),
            "pages_slowest_ms": found[0]["ms"],
            "pages_slowest_first_ms": max(each["first_ms"] for each in found),
            "pages_slowest_queries": by_statements[0]["statements"],
            "pages_list_slowest_queries": max(each["statements"] for each in found if not WHOLE.match(each["path"])),
            "pages_over_300_ms": sum(each["ms"] > LIMIT_MS for each in found),
            "pages_over_10_queries": sum(each["statements"] > LIMIT_STATEMENTS for each in found),
            "pages_ledger_p50_ms": own["/ledger"],
            "pages_orders_p50_ms": own["/admin/trading/tradeledger/"],
            "pages_audit_p50_ms": own["/admin/audit/"],
            "pages_home_p50_ms": own["/admin/"],
            "pages_dashboard_p50_ms": own["/"],
        },
    }


def _words(each: dict[str, Any]) -> str:
    return (
        f"{each['ms']:8.1f} ms, first {each['first_ms']:8.1f}, {each['statements']:3} statements,"
        f" {each['status']}  {each['path']}"
    )


def _ask(client: Any, path: str) -> dict[str, Any]:
    from django.db import connections, reset_queries  # noqa: PLC0415

    times, status = [], 0
    for _ in range(ASKED + 1):
        begun = time.perf_counter()
        answer = client.get(path)
        status = answer.status_code
        times.append(1000 * (time.perf_counter() - begun))
        if status != 200 or times[-1] > HOPELESS_MS:
            break
    for each in connections.all():
        each.force_debug_cursor = True
    reset_queries()
    client.get(path)
    # What opens and closes transactions is logged without parameters; it is no question to the database.
    statements = [
        line["sql"]
        for each in connections.all()
        for line in each.queries_log
        if not re.match("BEGIN|COMMIT|SAVEPOINT|RELEASE|ROLLBACK", line["sql"] or "")
    ]
    for each in connections.all():
        each.force_debug_cursor = False
    median = statistics.median(times[1:] or times)
    if os.environ.get("BENCH_SQL") and (len(statements) > LIMIT_STATEMENTS or median > LIMIT_MS):
        for line in statements:
            print(f"{path}  {line}", file=sys.stderr)
    return {
        "path": path, "status": status, "ms": round(median, 1), "first_ms": round(times[0], 1),
        "statements": len(statements),
    }  # fmt: skip


def _enter(operator: Any, trader: Any) -> None:
    """Log both in by the forms, the operator with a code."""
    import base64  # noqa: PLC0415

    from django.utils.timezone import now  # noqa: PLC0415
    from django_otp.oath import hotp  # noqa: PLC0415

    from accounts import selectors as people  # noqa: PLC0415
    from accounts.services import second_factor  # noqa: PLC0415
    from tests.bench.prepare import PASSWORD  # noqa: PLC0415

    user = people.user_by_email("operator@bench.example")
    assert user is not None
    second_factor.install_demo(user=user, secret=SEED, at=now())
    code = f"{hotp(base64.b32decode(SEED), int(time.time()) // 30, 6):06d}"
    operator.post("/admin/login/?next=/admin/", {"username": user.email, "password": PASSWORD, "code": code})
    trader.post("/login", {"email": "direct-0@bench.example", "password": PASSWORD})
    for client, path in ((operator, "/admin/"), (trader, "/")):
        assert client.get(path).status_code == 200, path


def _console(client: Any, rows: int) -> list[str]:
    """Return the console's pages: those of our own, and every table with what narrows it, deep inside too."""
    from accounts import selectors as people  # noqa: PLC0415
    from nexus.audit.models import Event  # noqa: PLC0415
    from nexus.console import urls  # noqa: PLC0415
    from nexus.console.acts import Act  # noqa: PLC0415
    from trading.models import TradeLedger, TradingAccount  # noqa: PLC0415

    own = [f"/admin/{route}" for route, page, _ in urls.PAGES if "<" not in route and not issubclass(page, Act)]
    order = TradeLedger.objects.filter(client_order_id=f"m{rows // 2}").get()
    middle, account = (
        Event.objects.filter(object_id=str(rows // 2), object_type="order").first(),
        TradingAccount.objects.first(),
    )
    trader = people.user_by_email("direct-0@bench.example")
    assert middle is not None
    assert account is not None
    assert trader is not None
    at = middle.recorded_at.strftime("%Y-%m-%dT%H:%M:%S")
    own += [
        "/admin/", "/admin/tables/", f"/admin/orders/{order.public_id}/", f"/admin/users/{trader.public_id}/",
        f"/admin/venues/accounts/{account.public_id}/", f"/admin/charts/{account.public_id}/?over=6h",
        f"/admin/audit/events/{middle.pk}/", f"/admin/audit/?before={middle.pk}", "/admin/audit/?outcome=denied",
        f"/admin/audit/?actor={trader.email}", f"/admin/audit/?actor={trader.email}&outcome=denied",
        "/admin/audit/?act=auth.login.succeeded", "/admin/audit/?act=nothing.of_the_kind",
        f"/admin/audit/?act=auth.login.succeeded&actor={trader.email}&before={middle.pk}",
        f"/admin/audit/?object_type=order&object_id={rows // 3}", f"/admin/audit/?from_at={at}",
        f"/admin/audit/?to_at={at}",
        f"/admin/audit/?to_at={at}&outcome=failure", "/admin/users/?role=TRADER", "/admin/limits/?scope=PLATFORM",
        "/admin/searches/audit/?outcome=denied",
    ]  # fmt: skip
    return [path for path in own if "live/" not in path] + list(_tables(rows))


def _tables(rows: int) -> Iterator[str]:
    """Ask each table for its first page, pages deep inside, all that its filters offer, and two searches."""
    from django.contrib import admin  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415

    from nexus.core.operator import RecordAdmin  # noqa: PLC0415

    for model, table in admin.site._registry.items():
        assert isinstance(table, RecordAdmin)
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        yield path
        if table.is_keyset:
            yield f"{path}?before={rows // 2}"
            yield f"{path}?after={rows // 2}"
        for each in table.list_filter:
            if not isinstance(each, str):
                continue
            for value, _ in getattr(model._meta.get_field(each), "flatchoices", ()):
                yield f"{path}?{each}__exact={value}"
        if table.search_fields:
            yield f"{path}?q=nothing-of-the-kind"
            yield f"{path}?q=m{rows // 2}"
    yield "/admin/audit/event/?q=order:77"
    yield "/admin/audit/event/?q=auth.login.succeeded"


def _dashboard(rows: int) -> list[str]:
    """Return the pages of the trader who has a tenth of all orders."""
    from django.utils.timezone import now  # noqa: PLC0415

    from trading.models import TradeLedger  # noqa: PLC0415

    number = rows // 2 // bulk.HOT * bulk.HOT
    order = TradeLedger.objects.get(client_order_id=f"m{number}")
    today, then = now().date(), order.created_at.date()
    return [
        "/", "/positions", "/ticket", "/security", "/security/events", "/security/keys", "/ledger",
        f"/ledger?before={order.public_id}", "/ledger?status=FILLED", "/ledger?status=REJECTED",
        "/ledger?status=UNKNOWN",
        "/ledger?status=CANCELED", "/ledger?symbol=EURUSD", "/ledger?symbol=NOTHING", f"/ledger?since={today}",
        f"/ledger?since={then}&until={then}", f"/ledger?until={then}&status=EXPIRED",
        f"/accounts/{order.account.public_id}", f"/orders/{order.public_id}",
    ]  # fmt: skip


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(main(int(os.environ.get("BENCH_ROWS") or ROWS))))
