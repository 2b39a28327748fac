"""The last of all: nothing is opened on the trader's account after it."""

from playwright.sync_api import expect

from tests.browser.stage import WAIT_MS, Stage
from tests.browser.test_flows import fill


def test_a_stop_is_said_on_every_open_page(tab, ground: Stage):
    mine = tab().login()
    mine.settle()

    ground.post("/trading/disable", {"reason": "Enough for today."})

    expect(mine.page.locator("#state .stop")).to_contain_text("Enough for today.", timeout=WAIT_MS)
    assert mine.findings() == []
    fill(mine)
    expect(mine.page.locator("#answer .note.bad")).to_contain_text("Trading is stopped")
    assert mine.page.locator("#answer form").count() == 0
