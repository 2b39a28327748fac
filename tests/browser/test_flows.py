"""What a trader does, in a real browser against the whole of Nexus: see, write, send, close, hear."""

import re

from playwright.sync_api import Route, expect

from tests.browser.stage import PHONE, WAIT_MS, Stage, Tab


def fill(tab: Tab, *, quantity: str = "0.02", stop: str = "1.07000") -> None:
    """Fill a ticket in and look at its worst case."""
    tab.go("/ticket")
    page = tab.page
    page.fill("input[name=symbol]", "EURUSD")
    page.fill("input[name=quantity]", quantity)
    page.fill("input[name=stop_loss]", stop)
    page.click("#ticket button:not([name])")
    page.wait_for_selector("#answer .worst, #answer .note.bad")


def test_an_order_is_written_shown_sent_and_answered(tab):
    mine = tab(size=PHONE).login()
    fill(mine)
    assert re.search(r"−\d+\.\d\d USD", mine.page.inner_text("#answer .worst"))
    assert "Loss of the day" in mine.page.inner_text("#answer .limits")

    mine.page.click("#answer form button")
    mine.page.wait_for_url(re.compile("/orders/"))

    expect(mine.page.locator(".note.good")).to_contain_text("Filled")
    answer = mine.page.url
    mine.page.go_back()  # the form as it was sent, or the ticket anew: neither makes a second order of the same form
    mine.page.goto(answer)
    expect(mine.page.locator(".note.good")).to_contain_text("Filled")


def test_the_worst_case_follows_what_is_typed(tab):
    mine = tab().login()
    fill(mine, quantity="0.02")
    before = mine.page.inner_text("#answer .worst")

    mine.page.fill("input[name=quantity]", "0.04")
    mine.page.press("input[name=quantity]", "Tab")

    expect(mine.page.locator("#answer .worst")).not_to_have_text(before, timeout=WAIT_MS)
    assert 'value="0.04"' in mine.page.inner_html("#answer form")


def test_what_is_refused_says_why_and_leads_to_its_explanation(tab):
    mine = tab(language="fr").login()
    fill(mine, quantity="50")
    link = mine.page.locator("#answer a", has_text="La position serait trop grande")

    link.click()

    mine.page.wait_for_url(re.compile("/help/refusals#POSITION_SIZE_EXCEEDS_LIMIT$"))
    expect(mine.page.locator("#POSITION_SIZE_EXCEEDS_LIMIT")).to_be_in_viewport()


def test_an_open_page_hears_of_an_order_that_somebody_else_sends(tab, ground: Stage):
    mine = tab().login()
    mine.settle()
    seen = mine.page.locator("#desk table.orders tbody tr").first.inner_text()

    ground.trade(action="SELL", stop_loss="1.10000")

    expect(mine.page.locator("#desk table.orders tbody tr").first).not_to_have_text(seen, timeout=WAIT_MS)
    expect(mine.page.locator("#desk table.orders tbody tr").first).to_contain_text("Filled")


def test_prices_and_profits_move_without_a_reload(tab, ground: Stage):
    ground.trade()
    mine = tab().login()
    mine.settle()
    mine.page.evaluate("window.stays = true")
    bid = mine.page.locator("[data-symbol=EURUSD] [data-live=bid]")
    profit = mine.page.locator("[data-position] [data-live=profit]").first
    was_bid, was_profit = bid.inner_text(), profit.inner_text()

    expect(bid).not_to_have_text(was_bid, timeout=60_000)
    expect(profit).not_to_have_text(was_profit, timeout=60_000)

    assert mine.page.evaluate("window.stays")
    assert re.fullmatch(r"1\.\d{5}", bid.inner_text())
    assert re.fullmatch(r"[+−]?\d+\.\d\d", profit.inner_text())


def test_a_position_is_closed_and_its_stop_changed(tab, ground: Stage):
    ground.trade(quantity="0.03")
    mine = tab().login()
    mine.go("/positions")
    mine.settle()
    card = mine.page.locator("article[data-position]").last
    place = card.get_attribute("id")
    card.locator("summary", has_text="Change the stops").click()
    card.locator("input[name=stop_loss]").fill("1.07100")
    ground.trade(quantity="0.01")  # news, while a form is open: it may not be taken away
    expect(card.locator("input[name=stop_loss]")).to_have_value("1.07100")

    card.get_by_role("button", name="Change the stops").click()

    expect(mine.page.locator(".note.good")).to_contain_text("The stops are changed.")
    card = mine.page.locator(f"#{place}")
    expect(card).to_contain_text("1.07100")
    card.locator("summary", has_text="Close").click()
    card.get_by_role("button", name="Close at the market").click()
    mine.page.wait_for_url(re.compile("/orders/"))
    expect(mine.page.locator(".note.good")).to_contain_text("Filled")
    mine.go("/positions")
    expect(mine.page.locator(f"#{place}")).to_have_count(0)


def test_a_form_that_is_opened_while_news_come_stays_open(tab, ground: Stage):
    """The answer was on its way when it was opened."""
    ground.trade(quantity="0.01")
    mine = tab().login()
    mine.go("/positions")
    mine.settle()
    held: list[Route] = []
    mine.page.route(
        lambda url: url.endswith("/positions"), lambda route: held.append(route) if not held else route.continue_()
    )
    ground.trade(quantity="0.01")
    expect(mine.page.locator("#positions.htmx-request")).to_have_count(1, timeout=WAIT_MS)

    card = mine.page.locator("article[data-position]").first
    card.locator("summary", has_text="Close").click()
    with mine.page.expect_response(lambda answer: answer.url.endswith("/positions")):
        held[0].continue_()
    expect(mine.page.locator("#positions.htmx-request")).to_have_count(0, timeout=WAIT_MS)

    expect(card.get_by_role("button", name="Close at the market")).to_be_visible()
    count = mine.page.locator("article[data-position]").count()
    card.locator("summary", has_text="Close").click()  # closed again: now the news may come in
    expect(mine.page.locator("article[data-position]")).to_have_count(count + 1)


def test_a_working_order_is_canceled(tab, ground: Stage):
    order = ground.trade(type="LIMIT", limit_price="1.08300", quantity="0.01")
    mine = tab().login()
    mine.go(f"/orders/{order['id']}")

    mine.page.get_by_role("button", name="Cancel the order").click()

    expect(mine.page.locator("#order .status").first).to_have_text("Canceled")


def test_the_ledger_is_narrowed_and_downloaded(tab, ground: Stage):
    ground.trade(quantity="50")
    mine = tab().login()
    mine.go("/ledger")
    mine.page.select_option("select[name=status]", "REJECTED")
    mine.page.get_by_role("button", name="Show").click()
    mine.page.wait_for_url(re.compile("status=REJECTED"))
    expect(mine.page.locator("table.orders .status").first).to_have_text("Rejected")
    assert set(mine.page.locator("table.orders .status").all_inner_texts()) == {"Rejected"}

    with mine.page.expect_download() as download:
        mine.page.click("a[download]")

    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("id,account,live,created_at")
    assert len(lines) >= 2
    assert all(",REJECTED," in line for line in lines[1:])


def test_the_language_is_changed_on_the_page(tab):
    mine = tab().login()
    mine.page.get_by_role("button", name="Français").click()
    expect(mine.page.locator("h1")).to_have_text("Aperçu")
    expect(mine.page.locator("html")).to_have_attribute("lang", "fr")
    mine.settle()
    expect(mine.page.locator("[data-live=equity]").first).to_have_text(re.compile(r"^\d{1,3}(\u202f\d{3})*,\d\d$"))


def test_a_page_that_hears_nothing_says_so(tab):
    mine = tab().login()
    mine.settle()

    mine.page.context.set_offline(True)
    mine.page.evaluate("window.dispatchEvent(new Event('pagehide'))")  # the stream stops as at a lost link

    expect(mine.page.locator("#pulse")).to_have_text("Disconnected: reconnecting", timeout=WAIT_MS)
    expect(mine.page.locator("body")).to_have_class(re.compile("stale"))
    mine.page.context.set_offline(False)
    mine.complaints.clear()  # the browser notes what it could not ask for meanwhile


def test_an_ended_session_leads_to_the_login(tab, ground: Stage):
    mine = tab().login("operator")
    mine.settle()

    ground.post("/auth/revoke-all", role="operator")

    mine.page.wait_for_url(re.compile("/login"), timeout=60_000)


def test_a_page_whose_session_is_over_for_the_events_alone_does_not_load_for_ever(tab, ground: Stage):
    mine = tab().login()
    mine.settle()
    allowed = {"access-control-allow-origin": ground.base, "access-control-allow-credentials": "true"}
    over = {"headers": allowed | {"content-type": "text/event-stream"}, "body": "event: over\ndata: {}\n\n"}
    loads: list[str] = []
    mine.page.on("request", lambda asked: loads.append(asked.url) if asked.is_navigation_request() else None)
    mine.page.route("**/events", lambda route: route.fulfill(**over))

    mine.page.evaluate("location.reload()")

    expect(mine.page.locator("#pulse")).to_have_text("Disconnected: reconnecting", timeout=WAIT_MS)
    paths = [each.removeprefix(ground.base) for each in loads]
    assert paths == ["/", "/login", "/"]  # looked once whether it must log in


def test_a_broker_that_goes_silent_and_comes_back_is_seen(tab, ground: Stage):
    mine = tab().login()
    mine.settle()
    card = mine.page.locator("section.account")
    with ground.silent_broker():
        # By the page's own watch, or by the server when news has the desk drawn anew meanwhile.
        expect(mine.page.locator("section.account:is(.stale, [data-blind])")).to_have_count(1, timeout=60_000)
        mine.page.reload()
        expect(card).to_contain_text("The broker cannot be asked now", timeout=60_000)
        assert mine.findings() == []

    expect(mine.page.locator("[data-live=equity]")).to_have_text(re.compile(r"\d\.\d\d$"), timeout=60_000)
    expect(card).not_to_have_class(re.compile(r"\bstale\b"), timeout=60_000)
