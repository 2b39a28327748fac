"""A compliance officer's work: find an order, read all that happened to it, have the log verified, export the proof,
and verify that elsewhere. All of it by the console's own pages.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.consoles import SOON_MS, until
from tests.browser.stage import DESKTOP, PHONE, ROOT, Stage, Tab

VERIFIER = ROOT / "nexus_audit_verify.py"
REASON = "Asked by the regulator, case 17."


@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("fr", PHONE)])
def test_an_order_is_found_read_exported_and_verified(
    tab: Callable[..., Tab], ground: Stage, tmp_path: Path, language: str, size: dict[str, int]
) -> None:
    order = ground.trade(quantity="0.05")
    refused = ground.trade(quantity="50")
    mark = f"compliance-{language}-{'phone' if size == PHONE else 'wide'}"
    officer: Tab = tab(language=language, size=size).enter_console("compliance")
    page = officer.page
    officer.show(f"{mark}-1-home")

    # Search: the ledger, narrowed to what was refused, and one order by its id.
    officer.go("/admin/trading/tradeledger/?status__exact=REJECTED")
    expect(page.locator("#result_list tbody tr").first).to_be_visible()
    officer.show(f"{mark}-2-ledger")
    officer.go(f"/admin/orders/{refused['id']}/")
    expect(page.locator(".failed").first).to_be_visible()
    officer.show(f"{mark}-3-refused")
    officer.go(f"/admin/orders/{order['id']}/")
    for kind in ("request", "sent", "answer", "fill"):
        expect(page.locator(f".line-{kind}").first).to_be_visible()
    officer.show(f"{mark}-4-timeline")

    # An officer sees, and changes nothing.
    for path in ("/admin/approvals/", "/admin/alerts/", "/admin/reviews/"):
        officer.go(path)
        expect(page.locator("#content a[href*='/take/'], #content a[href*='/decide/']")).to_have_count(0)

    # The log, searched by the order; one event of it is read once its seal has come.
    officer.go("/admin/audit/")
    page.fill("input[name=object_type]", "order")
    page.fill("input[name=object_id]", order["id"])
    page.click("form.search button[type=submit]")
    page.wait_for_url("**object_id=*")
    events = page.locator("#content a[href*='/audit/events/']")
    expect(events.first).to_be_visible()
    officer.show(f"{mark}-5-search")
    found = page.url.removeprefix(ground.base)
    event = events.first.get_attribute("href")
    assert event is not None
    until(officer, event, "#content .mark-ok")
    officer.show(f"{mark}-6-event")

    # Verified, now, by the worker.
    officer.go("/admin/audit/verification/")
    page.click("#content a[href$='/verification/now/']")
    page.wait_for_url("**/verification/now/")
    officer.show(f"{mark}-7-verify")
    page.fill("textarea[name=reason]", REASON)
    page.click("form.act button[type=submit]")
    page.wait_for_url("**/audit/verification/")
    expect(page.locator("#content td .mark-ok").first).to_have_text("clean", timeout=SOON_MS)
    expect(page.locator("#content a[href$='/verification/now/']")).to_be_visible(timeout=SOON_MS)
    officer.show(f"{mark}-8-verified")

    # Export what was found, see how far it is, and take it: proof on another machine, with one file and a public key.
    officer.go(found)
    bundle = export(officer, tmp_path, mark, ground)
    verdict = verify(bundle, ground.folder / "audit" / "public-key.pem")
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    assert events_of(verdict.stdout) >= 2  # admitted, and filled

    # Whoever changes one byte is found out.
    forged = tmp_path / "forged.zip"
    data = bytearray(bundle.read_bytes())
    data[len(data) // 3] ^= 1
    forged.write_bytes(data)
    assert verify(forged, ground.folder / "audit" / "public-key.pem").returncode != 0


def export(officer: Tab, folder: Path, mark: str, ground: Stage) -> Path:
    """Ask for a bundle of the search that is shown, wait for it on its page, and download it."""
    page = officer.page
    page.click("#content a[href*='/exports/ask/']")
    page.wait_for_url("**/exports/ask/**")
    expect(page.locator("input[name=object_type]")).to_have_value("order")
    page.check("input[name=with_csv]")
    page.fill("textarea[name=reason]", REASON)
    page.fill("input[name=otp]", ground.code("compliance"))
    officer.show(f"{mark}-9-ask")
    page.click("form.act button[type=submit]")
    page.wait_for_url(re.compile(r"/exports/\d+/$"))
    take = page.locator("#content a[href$='/take/']")
    expect(take).to_be_visible(timeout=SOON_MS)  # the page's own script brings it
    officer.show(f"{mark}-10-ready")
    take.click()
    page.wait_for_url("**/take/")
    page.fill("input[name=otp]", ground.code("compliance"))
    with page.expect_download() as coming:
        page.click("form.act button[type=submit]")
    bundle = folder / coming.value.suggested_filename
    coming.value.save_as(bundle)
    return bundle


def events_of(said: str) -> int:
    """Return how many events the verifier says the bundle holds."""
    found = re.search(r"(\d+) events", said)
    assert found is not None, said
    return int(found[1])


def verify(bundle: Path, key: Path) -> "subprocess.CompletedProcess[str]":
    """Verify a bundle as a stranger would: with one file and a public key, in an empty environment."""
    command = [sys.executable, str(VERIFIER), str(bundle), "--public-key", str(key)]
    return subprocess.run(command, capture_output=True, text=True, env={}, check=False, timeout=60)
