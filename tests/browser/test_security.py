"""The security page in a real browser: a second factor from its picture to its codes, and a key that works."""

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.stage import DESKTOP, PHONE, Stage, Tab


@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("fr", PHONE)])
def test_a_second_factor_is_replaced_and_a_key_made(
    tab: Callable[..., Tab], ground: Stage, language: str, size: dict[str, int]
) -> None:
    mark = f"security-{language}-{'phone' if size == PHONE else 'wide'}"
    name = ground.hire(f"trader-{language}", "TRADER")
    mine: Tab = tab(language=language, size=size).log_in(name)
    page = mine.page
    mine.go("/security")
    mine.show(f"{mark}-1-security")

    mine.go("/security/second-factor")
    mine.show(f"{mark}-2-proof")
    page.fill("input[name=password]", ground.people[name]["password"])
    page.fill("input[name=code]", ground.code(name))
    page.click("main form button")
    expect(page.locator(".qr svg")).to_be_visible()
    secret = page.inner_text(".secret").replace(" ", "")
    assert re.fullmatch("[A-Z2-7]{32}", secret)
    mine.show(f"{mark}-3-picture")
    ground.seeds[name] = secret
    ground.shown.pop(name)
    page.fill("input[name=code]", ground.code(name))
    page.click("form[action='/security/second-factor/confirm'] button")
    expect(page.locator(".codes li")).to_have_count(10)
    mine.show(f"{mark}-4-recovery-codes")

    mine.go("/security/keys")
    mine.show(f"{mark}-5-no-keys")
    mine.go("/security/keys/new")
    page.fill("input[name=name]", "Night bot")
    page.check("input[name=scopes][value='account:read']")
    page.fill("textarea[name=networks]", "127.0.0.1")
    page.fill("input[name=code]", ground.code(name))
    mine.show(f"{mark}-6-new-key")
    page.click("main form.stack button")
    key = page.inner_text(".secret")
    mine.show(f"{mark}-7-the-key")
    head = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{ground.base}/api/v1", headers=head, trust_env=False, timeout=30) as bot:
        assert bot.get("/trading/accounts").status_code == 200
        mine.go("/security/keys")
        assert key not in page.content()
        for act in ("narrow", "rotate"):
            page.click(f"article a[href$='/{act}']")
            page.wait_for_url(f"**/{act}")
            mine.show(f"{mark}-8-{act}")
            mine.go("/security/keys")
        page.click("article summary")
        page.fill("input[name=reason]", "Retired.")
        mine.show(f"{mark}-9-keys")
        page.click("article form button")
        expect(page.locator("article form")).to_have_count(0)
        assert bot.get("/trading/accounts").status_code == 401
