"""A compliance officer's work: find an order, read all that happened to it, export the proof, verify it elsewhere."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.stage import DESKTOP, PHONE, ROOT, Stage, Tab

VERIFIER = ROOT / "nexus_audit_verify.py"


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
        assert page.locator("#content a[href*='/take/'], #content a[href*='/decide/']").count() == 0
    officer.go("/admin/audit/event/")
    expect(page.locator("#result_list tbody tr").first).to_be_visible()
    officer.show(f"{mark}-5-audit")

    # Export, and proof on another machine: one file, the public key, nothing of ours.
    bundle = export(ground, tmp_path, order["id"])
    verdict = verify(bundle, ground.folder / "audit" / "public-key.pem")
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr

    # Whoever changes one byte is found out.
    forged = tmp_path / "forged.zip"
    data = bytearray(bundle.read_bytes())
    data[len(data) // 3] ^= 1
    forged.write_bytes(data)
    assert verify(forged, ground.folder / "audit" / "public-key.pem").returncode != 0


def export(ground: Stage, folder: Path, order_id: str) -> Path:
    """Export what is sealed about an order. The seal comes within seconds of the event."""
    for number in range(30):
        bundle = folder / f"bundle-{number}.zip"
        said = ground.manage(
            "audit_export", str(bundle), "--reason", "Asked by the regulator, case 17.", "--csv",
            "--object-type", "order", "--object-id", order_id,
        )  # fmt: skip
        if not said.startswith("0 events"):
            return bundle
        time.sleep(1)
    raise AssertionError(said)


def verify(bundle: Path, key: Path) -> "subprocess.CompletedProcess[str]":
    """Verify a bundle as a stranger would: with one file and a public key, in an empty environment."""
    command = [sys.executable, str(VERIFIER), str(bundle), "--public-key", str(key)]
    return subprocess.run(command, capture_output=True, text=True, env={}, check=False, timeout=60)
