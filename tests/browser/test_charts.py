"""Charts in a real browser: drawn under the policy, with their tables, wide and on a phone, light and dark."""

import os
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from tests.browser.consoles import FILL
from tests.browser.stage import DESKTOP, PHONE, ROOT, Stage, Tab

PAINTED = """(plot) => {
  const canvas = plot.querySelector("canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return data.some((value, index) => index % 4 === 3 && value > 0);
}"""


@pytest.fixture(scope="module")
def history(ground: Stage) -> Stage:
    """An installation that has run for a day."""
    ground.trade()
    env = {**os.environ, "NEXUS_DATA_DIR": str(ground.folder)}
    command = [sys.executable, "-m", "nexus.local", "manage", "shell", "-v0", "-c", FILL]
    subprocess.run(command, env=env, cwd=ROOT, check=True, capture_output=True)
    return ground


def operator(tab: Tab) -> Tab:
    """Enter the console."""
    kept = tab.stage.sessions.get("console")
    if kept:
        tab.page.context.add_cookies(kept)
        return tab
    tab.go("/admin/login/")
    person = tab.stage.people["operator"]
    tab.page.fill("input[name=username]", person["email"])
    tab.page.fill("input[name=password]", person["password"])
    tab.page.fill("input[name=code]", tab.stage.code("operator"))
    tab.page.click("#login-form [type=submit]")
    tab.page.wait_for_selector("#brake")
    tab.stage.sessions["console"] = [c for c in tab.page.context.cookies() if c["name"].endswith("sessionid")]
    return tab


def assert_drawn(tab: Tab, *, count: int) -> None:
    """See that every chart has been painted, and that its table can be opened."""
    plots = tab.page.locator(".plot:not([hidden])")
    expect(plots).to_have_count(count)
    expect(tab.page.locator(".chart-table")).to_have_count(count)
    for number in range(count):
        tab.page.wait_for_function(PAINTED, arg=plots.nth(number).element_handle())
    assert tab.overflow() <= 0
    tab.page.locator(".chart-table summary").first.click()
    assert tab.page.locator(".chart-table table").first.is_visible()
    assert tab.overflow() <= 0


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)])
def test_the_trader_sees_his_account_over_time(tab, history, size, dark):
    mine = tab(size=size, dark=dark).login()
    mine.go("/")
    mine.follow(f"a[href='/accounts/{history.account}']")

    assert_drawn(mine, count=3)
    assert mine.findings() == []
    assert mine.page.locator(".chart-table td[colspan]").first.inner_text().endswith("nothing was seen")
    mine.follow("text=30 days")
    assert_drawn(mine, count=3)


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, True), (PHONE, False)])
def test_the_operator_sees_all_accounts_and_one(tab, history, size, dark):
    mine = operator(tab(size=size, dark=dark))
    mine.go("/admin/charts/?over=6h")

    assert_drawn(mine, count=4)
    mine.follow(f"a[href='/admin/charts/{history.account}/']")
    assert_drawn(mine, count=5)
    assert [each for each in mine.findings() if 'class="role"' not in each] == []


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)])
def test_an_alert_s_link_leads_to_its_section_below_the_strip(tab, history, size, dark):
    mine = operator(tab(size=size, dark=dark))
    mine.go("/admin/runbooks/orders/#late_fill")

    strip = mine.page.locator("#brake").bounding_box()
    heading = mine.page.locator("#late_fill").bounding_box()
    assert strip is not None
    assert heading is not None
    assert strip["y"] + strip["height"] <= heading["y"] < size["height"] / 2
    assert mine.overflow() <= 0
    assert [each for each in mine.findings() if 'class="role"' not in each] == []


def test_a_theme_that_is_changed_draws_anew(tab, history):
    mine = operator(tab())
    mine.go("/admin/charts/")
    first = mine.page.locator(".plot:not([hidden])").first
    mine.page.wait_for_function(PAINTED, arg=first.element_handle())
    before = first.locator("canvas").evaluate("(canvas) => canvas.toDataURL()")

    mine.page.evaluate("document.documentElement.dataset.theme = 'dark'")

    anew = "(before) => document.querySelector('.plot canvas').toDataURL() !== before"
    mine.page.wait_for_function(anew, arg=before)


def test_without_scripts_the_tables_say_the_same(tab, history, browser):
    mine = tab().login()
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies(mine.page.context.cookies())
    page = context.new_page()
    page.goto(f"{history.base}/accounts/{history.account}")

    assert page.locator(".plot").first.is_hidden()
    page.locator(".chart-table summary").first.click()
    assert page.locator(".chart-table tbody tr").count() > 100
    context.close()
