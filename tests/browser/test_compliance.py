"""A compliance officer's work: find an order, read all that happened to it, have the log verified, export the proof,
and verify that elsewhere. All of it by the console's own pages.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Error, expect

from tests.browser.consoles import SOON_MS, first, until
from tests.browser.stage import DESKTOP, PHONE, ROOT, Stage, Tab

VERIFIER = ROOT / "nexus_audit_verify.py"
WRONG_CODE = {"en": "wait for the next one", "fr": "attendez le suivant"}
REASON = "Asked by the regulator, case 17."


@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("fr", PHONE)])
def test_an_order_is_found_read_exported_and_verified(
    tab: Callable[..., Tab], ground: Stage, tmp_path: Path, language: str, size: dict[str, int]
) -> None:
    order = ground.trade(quantity="0.05")
    refused = ground.trade(quantity="50")
    mark = f"compliance-{language}-{'phone' if size == PHONE else 'wide'}"
    name = ground.hire(f"auditor-{language}", "COMPLIANCE")
    officer: Tab = tab(language=language, size=size).enter_console(name)
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
    bundle = export(officer, name, tmp_path, mark)
    verdict = verify(bundle, ground.folder / "audit" / "public-key.pem")
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    assert events_of(verdict.stdout) >= 2  # admitted, and filled

    # Whoever changes one byte is found out.
    forged = tmp_path / "forged.zip"
    data = bytearray(bundle.read_bytes())
    data[len(data) // 3] ^= 1
    forged.write_bytes(data)
    assert verify(forged, ground.folder / "audit" / "public-key.pem").returncode != 0


@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("fr", PHONE)])
def test_personal_data_is_shown_once_and_the_log_says_who_looked(
    tab: Callable[..., Tab], ground: Stage, language: str, size: dict[str, int]
) -> None:
    mark = f"reveal-{language}-{'phone' if size == PHONE else 'wide'}"
    why = f"A person asks what we know of them, case {mark}."
    name = ground.hire(f"officer-{language}", "COMPLIANCE")  # whose codes nobody else has used
    officer: Tab = tab(language=language, size=size).enter_console(name)  # this login is in the log itself
    page = officer.page
    event = first(officer, "/admin/audit/?act=auth.login.succeeded", "/admin/audit/events/[0-9]+/")
    officer.go(event)
    expect(page.locator("#content")).not_to_contain_text("127.0.0.1")
    officer.show(f"{mark}-1-event")
    officer.follow("#content a[href$='/reveal/']")
    officer.show(f"{mark}-2-ask")
    before = page.locator("input[name=version]").input_value()

    # Without a right code nothing is shown, and the log is told of no look.
    reason(officer, why, "000000")
    expect(page.locator(".errornote")).to_contain_text(WRONG_CODE[language])
    expect(page.locator("input[name=version]")).to_have_value(before)
    officer.show(f"{mark}-3-wrong-code")
    officer.complaints.clear()  # the browser notes the 401 itself

    reason(officer, why, ground.code(name))
    expect(page.locator("#content dl.facts code", has_text="127.0.0.1")).to_be_visible()
    officer.show(f"{mark}-4-shown")

    # Neither loading the page again nor going back to it shows it again.
    page.evaluate("location.reload()")
    expect(page.locator("form.act")).to_be_visible()
    expect(page.locator("#content")).not_to_contain_text("127.0.0.1")
    officer.show(f"{mark}-5-again")
    officer.complaints.clear()  # and the 409
    officer.follow(f"#content a[href='{event}']")
    with pytest.raises(Error, match="ERR_CACHE_MISS"):  # the browser has kept nothing of it either
        page.go_back()
    page.wait_for_url("chrome-error://**")

    # The look is an event: who, at what, and why.
    officer.go("/admin/audit/?act=audit.pii_revealed")
    officer.follow("#content a[href*='/audit/events/']")
    facts = page.locator("#content")
    expect(facts).to_contain_text(why)
    expect(facts).to_contain_text(event.rstrip("/").rsplit("/", 1)[1])
    expect(facts).to_contain_text(ground.people[name]["email"])
    officer.show(f"{mark}-6-look")


def reason(officer: Tab, why: str, code: str) -> None:
    """Fill in the form of an act, and send it."""
    officer.page.fill("textarea[name=reason]", why)
    officer.page.fill("input[name=otp]", code)
    officer.follow("form.act button[type=submit]")


def export(officer: Tab, name: str, folder: Path, mark: str) -> Path:
    """Ask for a bundle of the search that is shown, wait for it on its page, and download it."""
    page = officer.page
    page.click("#content a[href*='/exports/ask/']")
    page.wait_for_url("**/exports/ask/**")
    expect(page.locator("input[name=object_type]")).to_have_value("order")
    page.check("input[name=with_csv]")
    page.fill("textarea[name=reason]", REASON)
    page.fill("input[name=otp]", officer.stage.code(name))
    officer.show(f"{mark}-9-ask")
    page.click("form.act button[type=submit]")
    page.wait_for_url(re.compile(r"/exports/\d+/$"))
    take = page.locator("#content a[href$='/take/']")
    expect(take).to_be_visible(timeout=SOON_MS)  # the page's own script brings it
    officer.show(f"{mark}-10-ready")
    take.click()
    page.wait_for_url("**/take/")
    page.fill("input[name=otp]", officer.stage.code(name))
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
